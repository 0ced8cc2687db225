"""A thousand workers, and hosts that allow a handful of processes. (What fails of those in which way: tests/fault.)"""
import os
import signal
import uuid
from pathlib import Path

import pytest

import catalogue
from catalogue import Origin
from command import QUIET, Running, fetch, run
from layouts import stored_files
from processes import children, wait_until
from raw_server import RawServer

GROUPS = Path("/sys/fs/cgroup")


@pytest.mark.parametrize("forked", [1, 100])
def test_a_signal_is_obeyed_while_a_thousand_workers_are_forked(forked, out):
    with Origin("--files", 5000, "--lag", 20) as origin:
        with Running("fetch", *QUIET, "--workers", 1000, "--connections", 1, origin.url, out) as running:
            wait_until(lambda: len(children(running.pid)) > forked, "some of them forked")
            running.signal(signal.SIGTERM)
            done = running.ended(code=4, seconds=10).says("stopped on request")
            assert done.summary["listed"] == done.summary["stored"]
        assert fetch(origin.url, out, "--workers", 2, "--pipeline", 16).summary["stored"] == 5000
    assert stored_files(out) == catalogue.files(5000)


@pytest.fixture
def limited_to():
    """Gives what puts a process, before it starts the program, into a group that may have so many."""
    parent = GROUPS / "pids" if (GROUPS / "pids").is_dir() else GROUPS
    group = parent / f"gigafetch-{uuid.uuid4().hex}"
    try:
        group.mkdir()
        (group / "pids.max").write_text("max")
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no control group can be made here: {error}")

    def prepare(most):
        (group / "pids.max").write_text(str(most))
        return lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    yield prepare
    wait_until(lambda: not (group / "cgroup.procs").read_text(), "the group empty")
    group.rmdir()


@pytest.mark.parametrize("most, host", [(1, "127.0.0.1"), (2, "127.0.0.1"), (3, "127.0.0.1"), (5, "127.0.0.1"),
                                        (7, "127.0.0.1"), (5, "localhost")])
def test_a_limit_on_processes_is_told_and_ends_the_run(most, host, limited_to, out):
    files = {f"file{i}": b"x" for i in range(20)}
    with RawServer(files) as server:
        url = server.url.replace("127.0.0.1", host)
        done = run("fetch", "--json", "--workers", 4, url, out, code=1, preexec_fn=limited_to(most))
        done.says(f"the limit on processes and threads is {most} (", "pids.max", "raise it", "fewer --workers")
        assert "deaths in a row" not in done.err and done.summary["exit"] == 1
        assert fetch(url, out, "--workers", 4, preexec_fn=limited_to("max")).summary["stored"] == 20
    assert stored_files(out) == files
