"""Two runs on one job, or in one output folder, are impossible, whatever becomes of the lock file."""
import contextlib
import os
import shutil
import signal

import pytest

import catalogue
from command import QUIET, Running, fetch, run, verify
from layouts import stored_files
from processes import at_work, wait_until
from raw_server import RawServer, pages_of

WHOLE = catalogue.files(200)


@pytest.fixture
def server():
    with RawServer(WHOLE, pages_of(list(WHOLE), 50)) as server:
        server.lag = 0.2
        yield server


@contextlib.contextmanager
def started(server, out, *options):
    with Running("fetch", *QUIET, "--workers", 2, "--connections", 2, *options, server.url, out) as running:
        at_work(running.pid, 2)
        wait_until(lambda: next(out.glob("file*"), None), "a file stored")
        yield running


def is_refused(running, *args):
    run(*args, code=1).says(f"another run (pid {running.pid}) works on", f"kill {running.pid}")


@pytest.mark.parametrize("left", [None, b"", b"1\n", b"999999999\n"], ids=["nothing", "empty", "init", "dead"])
def test_a_run_whose_lock_file_is_removed_goes_on_and_a_second_one_is_refused(left, server, out):
    lock = out / ".gigafetch" / "lock"
    with started(server, out) as running:
        lock.unlink()
        if left is not None:
            lock.write_bytes(left)
        is_refused(running, "fetch", server.url, out)
        is_refused(running, "verify", server.url, out)
        is_refused(running, "fetch", "--restart", server.url, out)
        server.lag = 0.0
        assert running.ended(code=0).summary["stored"] == len(WHOLE)
    assert stored_files(out) == WHOLE
    assert fetch(server.url, out).summary["stored"] == len(WHOLE)
    verify(server.url, out)


def test_a_state_folder_put_in_place_of_a_runs_own_lets_nobody_else_in(server, out):
    with started(server, out) as running:
        (out / ".gigafetch").rename(out.parent / "aside")
        is_refused(running, "fetch", "--force", server.url, out)
        server.lag = 0.0
        assert running.ended(code=0).summary["stored"] == len(WHOLE)
    shutil.rmtree(out / ".gigafetch")
    (out.parent / "aside").rename(out / ".gigafetch")
    assert stored_files(out) == WHOLE
    verify(server.url, out)


def test_a_run_with_another_state_folder_is_kept_out_of_an_output_folder_in_use(server, out, tmp_path):
    with started(server, out, "--state", tmp_path / "one") as running:
        is_refused(running, "fetch", "--force", "--state", tmp_path / "two", server.url, out)
        server.lag = 0.0
        assert running.ended(code=0).summary["stored"] == len(WHOLE)
    assert stored_files(out) == WHOLE


def test_the_folders_are_free_when_the_last_of_a_killed_run_is_gone(server, out):
    with started(server, out) as running:
        (out / ".gigafetch" / "lock").unlink()
        os.kill(running.pid, signal.SIGKILL)
        running.ended(code=-signal.SIGKILL)
    server.lag = 0.0
    assert fetch(server.url, out).summary["stored"] == len(WHOLE)
    assert stored_files(out) == WHOLE
