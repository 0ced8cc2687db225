"""System calls that fail (by strace's fault injection): no false success, a clear end, and the same command goes on."""
import os
import resource

import pytest

from command import dead_letters, fetch, verify
from layouts import stored_files
from raw_server import RawServer

FILES = {f"d{i % 3}/f{i:03}": f"body {i}\n".encode() * (i + 1) for i in range(300)}
LATE = "120..140"  # of a worker's own calls: no process makes so many before it is at work


@pytest.fixture(scope="module")
def server():
    with RawServer(FILES) as server:
        yield server


def failing(call, error, when=None):
    """A command line to run gigafetch by, and its environment: no leak check works under ptrace(2)."""
    fault = f"inject={call}:error={error}" + (f":when={when}" if when else "")
    return {"prefix": ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", fault],
            "env": {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}}


def finishes(server, out):
    assert fetch(server.url, out, "--workers", 2).summary["stored"] == len(FILES)
    assert stored_files(out) == FILES
    verify(server.url, out, "--content")


@pytest.mark.parametrize("error, words", [("EIO", "Input/output error"), ("ENOSPC", "No space left")])
def test_a_failed_sync_of_the_file_system_is_no_success(error, words, server, out):
    done = fetch(server.url, out, "--workers", 2, code=1, **failing("syncfs", error))
    done.says("cannot sync", words, "fetched again by the next run")
    assert done.summary["exit"] == 1
    finishes(server, out)


def test_a_run_that_needs_no_sync_makes_none(server, out):
    fetch(server.url, out, "--workers", 2, "--durability", "process", **failing("syncfs", "EIO"))


@pytest.mark.parametrize("call, words", [
    ("fdatasync", "ledger"), ("renameat", "ledger"), ("flock", "lock"), ("ftruncate", "lock"),
    ("socketpair", "socketpair"), ("bind", "socket"), ("signalfd4", "signalfd"),
])
def test_what_fails_before_the_first_request_is_named(call, words, server, out):
    asked = len(server.requests)
    fetch(server.url, out, "--workers", 2, code=1, **failing(call, "EIO")).says(words, "Input/output error")
    assert len(server.requests) == asked
    finishes(server, out)


@pytest.mark.parametrize("error, words", [
    ("ENOSPC", "No space left"), ("EIO", "Input/output error"), ("EROFS", "Read-only"), ("EDQUOT", "quota"),
])
@pytest.mark.parametrize("depth", [1, 16])
def test_a_disk_that_fails_stops_the_run(error, words, depth, server, out):
    done = fetch(server.url, out, "--workers", 2, "--pipeline", depth, code=1, **failing("openat", error, LATE))
    done.says("worker", words)
    assert stored_files(out).items() <= FILES.items()
    assert done.summary["stored"] <= len(stored_files(out))
    finishes(server, out)


@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOMEM"])
@pytest.mark.parametrize("depth", [1, 16])
def test_what_runs_out_for_a_moment_costs_no_file(error, depth, server, out):
    summary = fetch(server.url, out, "--workers", 1, "--pipeline", depth, **failing("openat", error, LATE)).summary
    assert summary["requests"] > len(FILES) + 1
    assert stored_files(out) == FILES


def test_a_file_that_the_file_system_refuses_fails_alone(server, out):
    fetch(server.url, out, "--workers", 1, code=3, **failing("openat", "EPERM", LATE))
    letters = dead_letters(out)
    assert len(letters) == 21 and {letter["class"] for letter in letters.values()} == {"store-error"}
    assert all("Operation not permitted" in letter["error"] for letter in letters.values())
    assert stored_files(out) == {name: body for name, body in FILES.items() if name not in letters}
    finishes(server, out)


@pytest.mark.parametrize("sink, code", [("files", 3), ("tar", 1)])
def test_what_is_beyond_a_limit_on_file_sizes_is_told_as_that(sink, code, out):
    """A file is one that fails; a shard cannot do without the rest."""
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    files = {"large": b"l" * 300_000, **{f"f{i}": b"x" for i in range(100)}}
    with RawServer(files) as server:
        done = fetch(server.url, out, "--workers", 1, "--retries", 0, "--sink", sink, code=code, preexec_fn=limited)
        told = dead_letters(out)["large"]["error"] if code == 3 else done.err
        assert "File too large; let files grow larger (ulimit -f)" in told
        if code == 3:
            assert stored_files(out).keys() == files.keys() - {"large"}
        fetch(server.url, out, "--workers", 1, "--sink", sink, *(["--retry-failed"] if code == 3 else []))
        verify(server.url, out, "--content")


def test_a_file_that_cannot_be_synced_does_not_count(server, out):
    fault = failing("fdatasync", "EIO", "50..60")
    done = fetch(server.url, out, "--workers", 1, "--durability", "file", code=1, **fault)
    done.says("worker 0", "cannot sync", "Input/output error")
    finishes(server, out)


def test_each_file_is_synced_when_asked_for(server, out, tmp_path):
    trace = tmp_path / "trace"
    prefix = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=fdatasync"]
    environment = failing("syncfs", "EIO")["env"]
    fetch(server.url, out, "--workers", 2, "--durability", "file", prefix=prefix, env=environment)
    assert trace.read_text().count("fdatasync(") >= len(FILES)
