"""Row 6: every nth system call of a run fails, in every way; no false success, and the same command finishes."""
import os

import pytest

import catalogue
from catalogue import Origin
from command import fetch, run, verify
from oracle import check_counts_add_up, check_whole, scaled

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


@pytest.fixture(scope="module")
def origin():
    with Origin("--files", FILES, "--size", 3000, "--page-size", 10) as origin:
        yield origin


def faulty(calls, error, nth, trace):
    return {**os.environ, "LD_PRELOAD": SHIM, "GIGAFETCH_TRACE": str(trace),
            "GIGAFETCH_FAULTS": f"calls={calls};error={error};nth={nth};count=1"}


@pytest.mark.parametrize("call, error", CASES)
def test_the_nth_call_fails(call, error, origin, tmp_path):
    calls, _ = CALLS[call]
    ends = {}
    for nth in range(1, MOST, scaled(4, 1) if call == "open" else 1):  # the short form leaves some out
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
        verify(origin.url, out)
    else:
        raise AssertionError(f"more than {MOST} calls")
    print(f"\n{call} {error}: {sum(ends.values())} runs, ended with {ends}")
