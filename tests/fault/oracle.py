"""What a run must have come to, worked out anew: bodies are a function of seed and name, and the origin counts."""
import json
import os
import urllib.request
from pathlib import Path

import catalogue
from command import dead_letters
from layouts import joined_tail
from processes import wait_until
from scale import scaled  # noqa: F401
from shards import check_readable, check_tidy, members, packed, shards

SINKS = {"files": [], "tar": ["--sink", "tar"], "zstd": ["--sink", "tar", "--zstd", 1]}


def in_shards(out):
    """Name to bytes of what stands in the shards (layout fanout): all of them whole, each name in one of them, once."""
    check_tidy(out)
    check_readable(out)
    assert all(members(shard) for shard in shards(out)), "an empty shard"
    return {joined_tail(path): body for path, body in packed(out).items()}


def stored(out, layout="fanout"):
    """Name to bytes of what lies in the output folder."""
    if shards(out):
        return in_shards(out)
    found = {}
    prefix = 6 if layout == "fanout" else 0
    for folder, folders, files in os.walk(out):
        if ".gigafetch" in folders:
            folders.remove(".gigafetch")
        for file in files:
            path = Path(folder) / file
            found[str(path.relative_to(out))[prefix:]] = path.read_bytes()
    return found


def check_whole(out, files, layout="fanout"):
    """Every file, right to the last byte, and nothing else; no failure stands."""
    found = stored(out, layout)
    lost = files.keys() - found.keys()
    extra = found.keys() - files.keys()
    wrong = [name for name in files.keys() & found.keys() if files[name] != found[name]]
    swapped = [name for name in wrong if found[name] in set(files.values())]
    assert not (lost or extra or wrong), \
        f"{len(lost)} lost, {len(extra)} extra, {len(wrong)} wrong ({len(swapped)} hold another's bytes)"
    assert dead_letters(out) == {}


def check_counts_add_up(summary):
    settled = sum(summary[key] for key in ("stored", "failed", "rejected", "duplicates"))
    assert summary["listed"] == settled, summary


def requests_seen(origin):
    """What an origin started with --count has been asked for."""
    with urllib.request.urlopen(origin.url + "/count", timeout=30) as answer:
        return json.load(answer)


def wait_for_answers(origin, count):
    wait_until(lambda: requests_seen(origin)["answered"] >= count, f"{count} answers", seconds=90)


FILES = 20_000
_WHOLE = {}


def files_of(count=FILES, size=100):
    if (count, size) not in _WHOLE:
        _WHOLE[count, size] = catalogue.files(count, size)
    return _WHOLE[count, size]
