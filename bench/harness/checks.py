"""Whether a run did what it was asked to: every file there, of the right size, a sample of the bodies right.

Each check takes a job and what the command printed, gives the number of files done, and raises Wrong.
"""
import os
import re
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

SAMPLE = 20


class Wrong(Exception):
    """What a run did not do."""


def _sampled(job):
    """Names across the whole, with the bodies as the origin has them."""
    for name in job.names[::max(1, len(job.names) // SAMPLE)][:SAMPLE]:
        with urllib.request.urlopen(f"{job.url}/get/{urllib.parse.quote(name)}") as answer:
            yield name, answer.read()


def _compare(job, found):
    """`found`: name to size."""
    if len(found) != len(job.names):
        raise Wrong(f"{len(found)} files stored, not {len(job.names)}")
    if missing := next((name for name in job.names if name not in found), None):
        raise Wrong(f"{missing} is not there")
    if wrong := next((name for name, size in found.items() if size != job.served.size), None):
        raise Wrong(f"{wrong} has {found[wrong]} bytes, not {job.served.size}")


def files(job, _):
    _compare(job, {entry.name: entry.stat().st_size for entry in os.scandir(job.folder) if entry.is_file()})
    for name, body in _sampled(job):
        if (Path(job.folder) / name).read_bytes() != body:
            raise Wrong(f"{name} holds something else")
    return len(job.names)


def packed(job, _):
    """What bench/floor appends: a block of name and zeros, and the body padded to blocks, for each file."""
    padded = (job.served.size + 511) // 512 * 512
    stored = (Path(job.folder) / "packed").read_bytes()
    places = {stored[at:at + 512].rstrip(b"\0").decode(): at + 512 for at in range(0, len(stored), 512 + padded)}
    _compare(job, dict.fromkeys(places, job.served.size))
    for name, body in _sampled(job):
        if stored[places[name]:places[name] + padded] != body.ljust(padded, b"\0"):
            raise Wrong(f"{name} holds something else")
    return len(job.names)


def shards(job, _):
    """Shards as GNU tar reads them."""
    found = {}
    sample, bodies = dict(_sampled(job)), {}
    for shard in sorted(Path(job.folder).glob("*.tar*")):
        if shard.suffix not in (".tar", ".zst"):
            continue
        tar = ["tar", *(["--zstd"] if shard.suffix == ".zst" else []), "-f", shard]
        listed = subprocess.run([*tar, "-tv"], capture_output=True, text=True)
        if listed.returncode != 0:
            raise Wrong(f"{shard.name}: {listed.stderr.strip()[-200:]}")
        for line in listed.stdout.splitlines():
            fields = line.split(maxsplit=5)
            found[fields[5]] = int(fields[2])
        here = [name for name in sample if name in found and name not in bodies]
        if here:
            content = subprocess.run([*tar, "-xO", *here], capture_output=True, check=True).stdout
            in_order = sorted(here, key=list(found).index)
            bodies |= {name: content[at * job.served.size:][:job.served.size] for at, name in enumerate(in_order)}
    _compare(job, found)
    if wrong := next((name for name, body in sample.items() if bodies[name] != body), None):
        raise Wrong(f"{wrong} holds something else")
    return len(job.names)


def wrk(_, output):
    """wrk stores nothing: it says how many whole answers it has seen, and of which status."""
    done = re.search(r"(\d+) requests in ", output)
    if not done or re.search(r"Non-2xx|Socket errors", output):
        raise Wrong(output.strip()[-200:])
    return int(done[1])
