"""What is in the shards of packed output, as other programs read them."""
import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

from layouts import fanout_tail, joined_tail, path_of

END = bytes(1024)  # of an archive
FILE = re.compile(r"worker-(\d\d+)-(\d{6,})\.tar(\.zst)?")


def shards(out):
    """Paths of the shards, in order."""
    return sorted(path for path in Path(out).iterdir() if FILE.fullmatch(path.name))


def indexes(out):
    return sorted(Path(out).glob("worker-*.idx"))


def tool(*argv, **more):
    """Its standard output; it must end well and have nothing to complain of."""
    if "input" not in more:
        more.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(list(map(str, argv)), capture_output=True, **more)
    assert done.returncode == 0 and done.stderr == b"", f"{argv}: {done.returncode} {done.stderr[-2000:]}"
    return done.stdout


def unpacked(shard):
    """The archive's bytes."""
    return tool("zstd", "-dcq", shard) if shard.suffix == ".zst" else shard.read_bytes()


def members(shard):
    """(path, body) of each member, by Python's tarfile. The archive ends where it should and as it should."""
    raw = unpacked(shard)
    found, end = [], 0
    with tarfile.open(fileobj=io.BytesIO(raw), encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            assert member.isreg() and (member.mode, member.uid, member.gid) == (0o644, 0, 0), member
            found.append((member.name, archive.extractfile(member).read()))
            end = member.offset_data + (member.size + 511) // 512 * 512
    assert raw[end:] == END, f"{shard}: {len(raw)} bytes, and the last member ends at {end}"
    return found


def packed(out):
    """Path to body of all members; each stands in one shard, once."""
    found = {}
    for shard in shards(out):
        for path, body in members(shard):
            assert path not in found, f"twice: {path}, also in {shard}"
            found[path] = body
    return found


ESCAPES = dict(zip(b"abfnrtv\\", b"\a\b\f\n\r\t\v\\"))


def listed_by(program, shard):
    """The paths as tar(1) or bsdtar(1) tells them, byte for byte."""
    if program == "tar":
        return sorted(tool("tar", "--quoting-style=literal", "-tf", shard).split(b"\n")[:-1])
    escaped = tool("bsdtar", "-tf", shard, env={**os.environ, "LC_ALL": "C.UTF-8"}).split(b"\n")[:-1]
    plain = lambda found: bytes([ESCAPES.get(found[1][0]) or int(found[1], 8)])
    return sorted(re.sub(rb"\\([abfnrtv\\]|[0-7]{3})", plain, path) for path in escaped)


def check_readable(out):
    """Every program there is reads every shard, and finds the same in it. How many members."""
    count = 0
    for shard in shards(out):
        if shard.suffix == ".zst":
            tool("zstd", "-tq", shard)
        paths = sorted(path.encode("utf-8", "surrogateescape") for path, _ in members(shard))
        assert listed_by("tar", shard) == paths, shard
        assert listed_by("bsdtar", shard) == paths, shard
        count += len(paths)
    return count


def check_packed(out, files, layout="tree"):
    """The shards hold these files (name to bytes), each once, and nothing else."""
    found = packed(out)
    if layout == "fanout":
        found = {joined_tail(path): body for path, body in found.items()}
        expected = {fanout_tail(name): body for name, body in files.items()}
    else:
        expected = {path_of(layout, name): body for name, body in files.items()}
    lost, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    wrong = [path for path in found.keys() & expected.keys() if found[path] != expected[path]]
    assert not (lost or extra or wrong), f"lost {sorted(lost)[:5]}, extra {sorted(extra)[:5]}, wrong {wrong[:5]}"


def check_tidy(out):
    """Nothing but shards and their indexes lies in the folder; no index without its shard."""
    names = {path.name for path in Path(out).iterdir()} - {".gigafetch"}
    mine = {path.name for path in shards(out)}
    strays = {name for name in names - mine if re.sub(r"\.idx$", "", name) not in
              {re.sub(r"\.tar(\.zst)?$", "", shard) for shard in mine}}
    assert not strays, strays
