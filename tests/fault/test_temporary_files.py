"""The temporary files of verify, on a disk that is full or has none without names: a clear end, and nothing is left."""
import os

import pytest

from catalogue import Origin
from command import dead_letters, fetch, verify
from oracle import SINKS, scaled
from shards import indexes, shards

SHIM = os.environ["GIGAFETCH_SHIM"]
FILES = 400
MOST = 1000    # no verify of so few files makes more calls of one kind
WITHOUT_NAME = "/.gigafetch/#"    # as the system calls such a file
MAKING = "/.gigafetch/."          # where it is asked for one


@pytest.fixture(scope="module")
def origin():
    with Origin("--files", FILES, "--page-size", 100) as origin:
        yield origin


def lose_a_shard(out):
    shards(out)[0].unlink()


def add_a_file(out):
    (out / "extra").write_bytes(b"x")


def flip_a_body(out):
    for index in indexes(out):
        index.unlink()
    raw = bytearray(shards(out)[0].read_bytes())
    raw[512 + 50] ^= 1
    shards(out)[0].write_bytes(raw)


# Sink, what is done to the copy, options of verify; each needs temporary files of another kind.
CASES = {
    "names": ("tar", lose_a_shard, []),
    "content": ("tar", lose_a_shard, ["--content"]),
    "pages": ("tar", flip_a_body, []),
    "extra": ("files", add_a_file, []),
}
EACH_CASE = pytest.mark.parametrize("case", CASES)


def copy(case, origin, out):
    """A damaged copy, and the options that verify it."""
    sink, damage, options = CASES[case]
    shard_size = ["--shard-size", 15_000] if sink == "tar" else []  # so that one that is lost leaves others
    fetch(origin.url, out, *SINKS[sink], *shard_size, "--workers", 2, "--batch", 20)
    damage(out)
    return [*options, "--workers", 2]


def faulty(calls, error, path, nth=1, count=1, trace=""):
    return {**os.environ, "LD_PRELOAD": SHIM, "GIGAFETCH_TRACE": str(trace),
            "GIGAFETCH_FAULTS": f"calls={calls};error={error};path={path};nth={nth};count={count}"}


def in_state(out):
    return {path.name for path in (out / ".gigafetch").iterdir()} - {"verify.jsonl"}


def verdict(out, done):
    return done.summary["extra"], done.summary["failed"], dead_letters(out, "verify.jsonl").keys()


@EACH_CASE
@pytest.mark.parametrize("calls, error, words", [
    ("write", "ENOSPC", "No space left"), ("write", "EDQUOT", "quota"), ("write", "short", "No space left"),
    ("openat", "ENOSPC", "No space left"),
])
def test_a_full_disk_ends_it_with_what_to_do(calls, error, words, case, origin, out, tmp_path):
    options = copy(case, origin, out)
    whole = verdict(out, verify(origin.url, out, *options, code=3))
    before, trace = in_state(out), tmp_path / "trace"
    path = WITHOUT_NAME if calls == "write" else MAKING
    for nth in range(1, MOST, scaled(41, 1)):  # the short form leaves some out
        trace.unlink(missing_ok=True)
        done = verify(origin.url, out, *options, code=None, env=faulty(calls, error, path, nth, trace=trace))
        if "injected" not in trace.read_text():
            break
        assert done.code == 1, f"{nth}: {done}"
        done.says("temporary file", words, "verify again", f"room in '{out}/.gigafetch'")
        assert done.out == "" and in_state(out) == before, f"{nth}: {done}"
    else:
        raise AssertionError(f"more than {MOST} calls")
    assert nth > 1, "it made no such call"
    assert verdict(out, verify(origin.url, out, *options, code=3)) == whole


@EACH_CASE
def test_another_failure_is_named_without_that_advice(case, origin, out):
    done = verify(origin.url, out, *copy(case, origin, out), code=1, env=faulty("write", "EIO", WITHOUT_NAME))
    done.says("cannot write a temporary file in the state folder", "Input/output error")
    assert "verify again" not in done.err


@EACH_CASE
def test_a_disk_without_files_that_have_no_names_serves_as_well(case, origin, out, tmp_path):
    options = copy(case, origin, out)
    whole = verdict(out, verify(origin.url, out, *options, code=3))
    before, trace = in_state(out), tmp_path / "trace"
    env = faulty("openat", "EOPNOTSUPP", MAKING, count=0, trace=trace)
    (out / ".gigafetch" / "temporary").write_bytes(b"left by one that was killed")
    assert verdict(out, verify(origin.url, out, *options, code=3, env=env)) == whole
    assert "injected" in trace.read_text() and in_state(out) == before
