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
EXACT = 2_000_000  # above so many, names are checked by the number in them


class Wrong(Exception):
    """What a run did not do."""


class Tally:
    """Takes what is stored, in any order, and compares it with what is served."""

    def __init__(self, job):
        self.size, self.files = job.served.size, job.served.files
        self.names = job.names if self.files <= EXACT else None
        self.seen = bytearray(self.files)
        self.every = max(1, self.files // SAMPLE)
        self.sample = []

    def add(self, name, size):
        try:
            index = int(name[4:14])  # file0000012345-9e3779b9
            known = index < self.files and (self.names is None or self.names[index] == name)
        except ValueError:
            known = False
        if not known or self.seen[index]:
            raise Wrong(f"{name} is there {'twice' if known else 'and was not listed'}")
        if size != self.size:
            raise Wrong(f"{name} has {size} bytes, not {self.size}")
        self.seen[index] = 1
        if index % self.every == 0:
            self.sample.append(name)

    def complete(self):
        """The number of files."""
        stored = self.seen.count(1)
        if stored != self.files:
            raise Wrong(f"{stored} files stored, not {self.files}; {self.seen.index(0)} of {self.files} is missing")
        return stored


def _served(job, name):
    with urllib.request.urlopen(f"{job.url}/get/{urllib.parse.quote(name)}") as answer:
        return answer.read()


def _compare(job, bodies):
    """`bodies`: name to what is stored."""
    for name, body in bodies.items():
        if body != _served(job, name):
            raise Wrong(f"{name} holds something else")


def files(job, _):
    tally = Tally(job)
    with os.scandir(job.folder) as entries:
        for entry in entries:
            if entry.is_file():
                tally.add(entry.name, entry.stat().st_size)
    _compare(job, {name: (Path(job.folder) / name).read_bytes() for name in tally.sample})
    return tally.complete()


def packed(job, _):
    """What bench/floor appends: a block of name and zeros, and the body padded to blocks, for each file."""
    stored = (Path(job.folder) / "packed").read_bytes()
    tally, size = Tally(job), job.served.size
    each = 512 + (size + 511) // 512 * 512
    bodies = {}
    for at in range(0, len(stored), each):
        name = stored[at:at + 512].rstrip(b"\0").decode()
        tally.add(name, size)
        if tally.sample[-1:] == [name]:
            bodies[name] = stored[at + 512:at + each].rstrip(b"\0")
    _compare(job, bodies)
    return tally.complete()


def shards(job, _):
    """Shards as GNU tar reads them."""
    tally = Tally(job)
    for shard in sorted(path for path in Path(job.folder).iterdir() if path.name.endswith((".tar", ".tar.zst"))):
        tar = ["tar", *(["--zstd"] if shard.suffix == ".zst" else []), "-f", shard]
        before = len(tally.sample)
        quick = {**os.environ, "TZ": "UTC0"}  # and owners as numbers: looking them up takes longer than reading
        with subprocess.Popen([*tar, "-tv", "--numeric-owner"], stdout=subprocess.PIPE, text=True, env=quick) as listing:
            for line in listing.stdout:
                fields = line.split(maxsplit=5)
                tally.add(fields[5].rstrip("\n"), int(fields[2]))
        if listing.returncode != 0:
            raise Wrong(f"tar does not read {shard.name}: exit {listing.returncode}")
        if here := tally.sample[before:]:  # they come out in the order in which they lie there
            content = subprocess.run([*tar, "-xO", *here], stdout=subprocess.PIPE, check=True).stdout
            size = job.served.size
            _compare(job, {name: content[at * size:][:size] for at, name in enumerate(here)})
    return tally.complete()


def wrk(_, output):
    """wrk stores nothing: it says how many whole answers it has seen, and of which status."""
    done = re.search(r"(\d+) requests in ", output)
    if not done or re.search(r"Non-2xx|Socket errors", output):
        raise Wrong(output.strip()[-200:])
    return int(done[1])
