"""Where the system makes no more processes or threads, a run ends and says so: nobody aborts, nothing is lost."""
import os
import signal

import pytest

from command import Running, fetch, run
from oracle import check_whole
from processes import at_work
from raw_server import HANG, RawServer

SHIM = os.environ["GIGAFETCH_SHIM"]
FILES = {f"file{i}": b"x" * i for i in range(20)}
LIMIT = "the limit on processes and threads is"


def faulty(call, nth, trace, count=0):
    return {**os.environ, "LD_PRELOAD": SHIM, "GIGAFETCH_TRACE": str(trace),
            "GIGAFETCH_FAULTS": f"calls={call};error=EAGAIN;nth={nth};count={count}"}


@pytest.mark.parametrize("call, nth, what", [
    ("fork", 1, "cannot fork gigafetch:coord"), ("fork", 2, "cannot fork gigafetch:w00"),
    ("fork", 4, "cannot fork gigafetch:w02"), ("pthread_create", 1, "cannot start the threads"),
    ("pthread_create", 4, "cannot start the threads")])
def test_a_process_or_thread_that_cannot_be_made_ends_the_run_with_the_limit(call, nth, what, out, tmp_path):
    with RawServer(FILES) as server:
        trace = tmp_path / "trace"
        done = run("fetch", "--json", "--workers", 3, server.url, out, code=1, env=faulty(call, nth, trace))
        done.says(what, "Resource temporarily unavailable", LIMIT, "raise it", "fewer --workers")
        assert "injected" in trace.read_text() and "died" not in done.err and done.summary["exit"] == 1
        assert fetch(server.url, out, "--workers", 3).summary["stored"] == len(FILES)
    check_whole(out, FILES, layout="tree")


def test_a_worker_that_cannot_be_replaced_ends_the_run_with_the_limit(out, tmp_path):
    with RawServer({"file": b"x"}).on_file("file", HANG) as server:
        env = faulty("fork", 4, tmp_path / "trace")
        with Running("fetch", "--json", "--workers", 2, server.url, out, env=env) as running:
            os.kill(at_work(running.pid, 2)["gigafetch:w01"], signal.SIGKILL)
            running.ended(code=1).says("died: killed by signal 9", "cannot fork gigafetch:w01", LIMIT)


@pytest.mark.parametrize("command", ["ls", "fetch"])
def test_a_host_that_cannot_be_looked_up_for_want_of_threads_is_told_with_the_limit(command, out, tmp_path):
    """In a worker or `ls` that is trouble with the origin, which passes or ends the run in time."""
    with RawServer(FILES) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        env = faulty("pthread_create", 1, tmp_path / "trace", count=1)
        if command == "ls":
            assert run("ls", url, env=env).says(LIMIT).out.split() == list(FILES)
        else:
            # The coordinator's own threads are struck first, since it starts them before it lists.
            run("fetch", "--workers", 1, url, out, code=1, env=env).says(LIMIT)
