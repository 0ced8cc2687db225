"""Row 6: every nth system call of a run fails, in every way; no false success, and the same command finishes."""
import os

import pytest

import catalogue
from catalogue import Origin
from command import fetch, run, verify
from conftest_shared import remove
from oracle import SINKS, check_counts_add_up, check_whole, scaled
from raw_server import FIN, RawServer, chunked, pages_of
from scale import LONG

SHIM = os.environ["GIGAFETCH_SHIM"]
FILES = 40
WHOLE = catalogue.files(FILES, 3000)
MOST = 400             # no run of so few files makes more calls of one kind

CALLS = {
    "open": ("open,openat,openat2,mkdir,mkdirat", ["ENOSPC", "EIO", "EMFILE", "EINTR"]),
    "write": ("write,pwrite,writev", ["ENOSPC", "EIO", "EINTR", "short"]),
    "sync": ("fdatasync,fsync,syncfs", ["EIO", "ENOSPC"]),
    "name": ("renameat,unlinkat,ftruncate,close", ["EIO", "ENOSPC", "EINTR"]),
}
CASES = [(call, error) for call, (_, errors) in CALLS.items() for error in errors]
STEPS = {"open": 7, "write": 3, "sync": 1, "name": 5}  # the short form leaves some out, each error others


@pytest.fixture(scope="module")
def origin():
    with Origin("--files", FILES, "--size", 3000, "--page-size", 10) as origin:
        yield origin


def faulty(calls, error, nth, trace):
    return {**os.environ, "LD_PRELOAD": SHIM, "GIGAFETCH_TRACE": str(trace),
            "GIGAFETCH_FAULTS": f"calls={calls};error={error};nth={nth}"}


@pytest.mark.parametrize("call, error", CASES)
def test_the_nth_call_fails(call, error, origin, tmp_path):
    calls, _ = CALLS[call]
    ends = {}
    step = scaled(STEPS[call], 1)
    for nth in range(1 + CALLS[call][1].index(error) % step, MOST, step):
        out, trace = tmp_path / f"out{nth}", tmp_path / f"trace{nth}"
        done = run("fetch", "--json", "--progress", "none", "--workers", 2, "--connections", 4, "--batch", 7,
                   "--layout", "fanout", origin.url, out, code=None, env=faulty(calls, error, nth, trace))
        if "injected" not in trace.read_text():
            break
        ends[done.code] = ends.get(done.code, 0) + 1
        assert done.code in (0, 1, 3), f"{call} {nth} {error}: {done}"
        if done.code == 0:
            check_whole(out, WHOLE)
            check_counts_add_up(done.summary)
        else:
            assert "gigafetch" in done.err and len(done.err) > 20, f"{call} {nth} {error}: {done}"
        # What a run says of a file that it stored stays true for the next one.
        again = fetch(origin.url, out, "--layout", "fanout", "--workers", 2)
        assert again.summary["stored"] == FILES, f"{call} {nth} {error}: {again}"
        check_whole(out, WHOLE)
        if LONG or nth % 2 == 0:
            verify(origin.url, out)
        remove(out)
    else:
        raise AssertionError(f"more than {MOST} calls")
    print(f"\n{call} {error}: {sum(ends.values())} runs, ended with {ends}")


# Small files, and some too large to be gathered, whose length is told only by their end; one of those
# breaks off at first.
LARGE = {name: catalogue.body_of(name, 530_000 + size) for name, size in (("large0", 0), ("large1", 1), ("large2", 512))}
MIXED = catalogue.files(20, 3000) | LARGE
PACKED_CALLS = {
    "open": ("openat", "/worker-", ["ENOSPC", "EMFILE"]),
    "write": ("write,pwrite", "/worker-", ["ENOSPC", "EIO", "EINTR", "short"]),
    "overwrite": ("pwrite", "/worker-", ["EIO", "short"]),
    "sync": ("fdatasync,syncfs", "", ["EIO"]),
    "cut": ("ftruncate,unlinkat", "/worker-", ["EIO"]),
    "ledger": ("write,renameat", "/ledger", ["ENOSPC", "short"]),
}
PACKED_CASES = [(sink, call, error) for call, (_, _, errors) in PACKED_CALLS.items() for error in errors
                for sink in ("tar", "zstd")]
SHORT_CASES = [case for at, case in enumerate(PACKED_CASES) if at % 4 in (0, 3)]  # the sinks in turn


@pytest.fixture(scope="module")
def mixed():
    with RawServer(MIXED, pages_of(list(MIXED), 10)) as server:
        for name, body in LARGE.items():
            whole = chunked(body, 4096)
            server.on_file(name, *([[whole[:528_000], FIN]] if name == "large1" else []), whole)
        yield server


@pytest.mark.parametrize("sink, call, error", scaled(SHORT_CASES, PACKED_CASES))
def test_the_nth_call_on_a_shard_fails(sink, call, error, mixed, tmp_path):
    """Whatever became of the shards, the next run makes each name stand in one of them, once."""
    calls, path, _ = PACKED_CALLS[call]
    options = ["--layout", "fanout", "--workers", 2, *SINKS[sink], "--shard-size", "20K", "--durability", "file"]
    ends = {}
    step = scaled(6 if call in ("write", "ledger") else 3, 1)
    first = 1 + SHORT_CASES.index((sink, call, error)) % 3 if step > 1 and call in ("open", "write") else 1
    for nth in range(first, MOST, step):
        out, trace = tmp_path / f"out{nth}", tmp_path / f"trace{nth}"
        mixed.counts.clear()
        env = faulty(f"{calls};path={path}", error, nth, trace)
        done = run("fetch", "--json", "--progress", "none", "--connections", 4, "--batch", 7, *options, mixed.url, out,
                   code=None, env=env)
        if "injected" not in trace.read_text():
            break
        ends[done.code] = ends.get(done.code, 0) + 1
        assert done.code in (0, 1, 3), f"{sink} {call} {nth} {error}: {done}"
        if done.code == 0:
            check_counts_add_up(done.summary)
        else:
            assert "gigafetch" in done.err and len(done.err) > 20, f"{sink} {call} {nth} {error}: {done}"
        again = fetch(mixed.url, out, *options)
        assert again.summary["stored"] == len(MIXED), f"{sink} {call} {nth} {error}: {again}"
        check_whole(out, MIXED)
        verify(mixed.url, out, "--workers", 2)
        remove(out)
    else:
        raise AssertionError(f"more than {MOST} calls")
    assert ends
    print(f"\n{sink} {call} {error}: {sum(ends.values())} runs, ended with {ends}")


@pytest.mark.parametrize("sink, error", [("tar", "EMFILE"), ("zstd", "ENFILE")])
def test_every_third_shard_finds_no_descriptor(sink, error, tmp_path):
    """A want that passes is waited out: nothing fails, and nothing is lost."""
    out, trace = tmp_path / "out", tmp_path / "trace"
    env = faulty("openat;path=.tar", error, 1, trace)
    env["GIGAFETCH_FAULTS"] += ";every=3;count=0"
    with Origin("--files", 300, "--size", 3000, "--page-size", 50) as origin:
        done = run("fetch", "--json", "--progress", "none", "--connections", 4, "--batch", 7, "--workers", 2,
                   "--layout", "fanout", *SINKS[sink], "--shard-size", "10K", origin.url, out, code=0, env=env)
        assert trace.read_text().count("injected") > 5
        check_counts_add_up(done.summary)
        check_whole(out, catalogue.files(300, 3000))
        verify(origin.url, out)
