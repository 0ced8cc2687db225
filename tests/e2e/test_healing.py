"""Whoever dies or falls silent is replaced, and the run ends complete; what cannot be mended ends it."""
import contextlib
import ctypes
import json
import os
import signal

import pytest

import catalogue
from catalogue import Origin
from command import ONCE, QUIET, Running, dead_letters, fetch
from layouts import stored_files
from processes import at_work, comm, children, is_alive, wait_until
from raw_server import HANG, RawServer, answer, pages_of

FILES = 2000
WORKERS = 4
WHOLE = catalogue.files(FILES)
COORDINATOR = "gigafetch:coord"


@pytest.fixture(scope="module")
def slow_origin():
    with Origin("--files", FILES, "--lag", 80, "--page-size", 200) as origin:
        yield origin


@contextlib.contextmanager
def started(url, out, *options, workers=WORKERS):
    with Running("fetch", *QUIET, "--workers", workers, *options, url, out) as run:
        at_work(run.pid, workers)
        yield run


def stored_some(out):
    return wait_until(lambda: next(out.glob("file*"), None), "a file stored")


def killed(run, name=COORDINATOR, workers=WORKERS):
    """Kills that child, waits until another is in its place, and returns who was there before."""
    before = at_work(run.pid, workers)
    os.kill(before[name], signal.SIGKILL)
    wait_until(lambda: at_work(run.pid, workers)[name] != before[name], "another in its place")
    return before


def recorded_more(run, than):
    """Waits until the run, which tells its progress as JSON, knows of more stored files than that. Of how many."""
    for line in run.process.stderr:
        if line.startswith(b"{") and (stored := json.loads(line)["stored"]) > than:
            return stored
    raise AssertionError("the run has ended")


def is_whole(done, out, files=WHOLE):
    summary = done.summary
    assert (summary["listed"], summary["stored"], summary["duplicates"]) == (len(files), len(files), 0)
    assert stored_files(out) == files
    assert dead_letters(out) == {}
    return summary


def test_after_a_killed_coordinator_all_are_forked_again_and_every_file_arrives(slow_origin, out):
    with started(slow_origin.url, out, "--connections", 5) as run:
        stored_some(out)
        before = killed(run)
        assert not any(map(is_alive, before.values()))
        done = run.ended(code=0).says("the coordinator (pid", "killed by signal 9", "forked again")
    summary = is_whole(done, out)
    assert summary["requests"] > FILES
    assert not (out / ".gigafetch" / "socket").exists()


def test_coordinators_killed_again_and_again_do_not_matter_as_long_as_files_arrive(out):
    files = catalogue.files(2 * FILES)
    with RawServer(files, pages_of(list(files), 200)) as server:
        server.lag = 0.04  # half a minute's work: what is recorded is that of the time of 50 answers ago
        with Running("fetch", "--json", "--progress", "json", "--workers", WORKERS, "--connections", 2, "--batch", 20,
                     server.url, out) as run:
            recorded = 0
            for _ in range(6):
                recorded = recorded_more(run, recorded)
                killed(run)
            server.lag = 0.0
            is_whole(run.ended(code=0), out, files)


def test_a_worker_that_dies_with_the_coordinator_changes_nothing(slow_origin, out):
    with started(slow_origin.url, out, "--connections", 5) as run:
        stored_some(out)
        people = at_work(run.pid, WORKERS)
        for name in ("gigafetch:w00", COORDINATOR, "gigafetch:w03"):
            with contextlib.suppress(ProcessLookupError):  # the coordinator's death may have been the worker's, too
                os.kill(people[name], signal.SIGKILL)
        is_whole(run.ended(code=0), out)


def test_five_deaths_with_nothing_stored_between_end_the_run_with_the_reason(out):
    with RawServer({f"file{i}": b"x" for i in range(10)}) as server:
        for i in range(10):
            server.on_file(f"file{i}", HANG)
        with started(server.url, out, workers=2) as run:
            for _ in range(4):
                people = killed(run, workers=2)
            people = at_work(run.pid, 2)
            os.kill(people[COORDINATOR], signal.SIGKILL)
            done = run.ended(code=1, seconds=20)
    done.says("5 deaths in a row", "nothing stored in between", "the coordinator, killed by signal 9",
              "everything that is recorded stays", "run the same command again")
    assert not any(map(is_alive, people.values()))
    assert not (out / ".gigafetch" / "socket").exists()
    assert done.summary["stored"] == 0


def test_the_figures_of_a_run_that_is_given_up_add_up(out):
    """Of what was listed only that counts which is stored or has failed; the rest will be listed again."""
    files = {f"file{i}": b"x" for i in range(20)}
    with RawServer(files) as server:
        for i in range(10, 20):
            server.on_file(f"file{i}", HANG)
        with Running("fetch", "--json", "--progress", "json", "--workers", 2, server.url, out) as run:
            recorded_more(run, 9)
            for _ in range(4):
                killed(run, workers=2)
            os.kill(at_work(run.pid, 2)[COORDINATOR], signal.SIGKILL)
            summary = run.ended(code=1).summary
    assert (summary["listed"], summary["stored"], summary["failed"]) == (10, 10, 0)


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_figures_do_not_run_backwards_when_a_coordinator_begins_anew(command, out):
    files = catalogue.files(FILES)
    with RawServer(files, pages_of(list(files), 200)) as server:
        if command == "verify":
            fetch(server.url, out)
        server.lag = 0.04
        options = ["--content"] if command == "verify" else []
        with Running(command, "--json", "--progress", "json", "--workers", 2, "--connections", 4, "--batch", 20, *options,
                     server.url, out) as run:
            recorded = recorded_more(run, 0)
            killed(run, workers=2)
            for _ in range(3):
                told = recorded_more(run, -1)
                assert told >= recorded
                recorded = told
            server.lag = 0.0
            assert run.ended(code=0).summary["stored"] == FILES


def test_deaths_of_workers_and_of_the_coordinator_count_together(out):
    with RawServer({"file": b"x"}).on_file("file", HANG) as server:
        with started(server.url, out, workers=1) as run:
            for name in (COORDINATOR, "gigafetch:w00", COORDINATOR, "gigafetch:w00"):
                killed(run, name, workers=1)
            os.kill(at_work(run.pid, 1)["gigafetch:w00"], signal.SIGKILL)
            run.ended(code=1, seconds=20).says("5 deaths in a row", "worker 0, killed by signal 9")


def test_a_run_that_was_given_up_is_finished_by_the_same_command(out):
    files = {f"file{i}": b"x" for i in range(10)}
    with RawServer(files) as server:
        server.on_file("file3", HANG)
        with started(server.url, out, workers=1) as run:
            while run.process.poll() is None:
                for pid in children(run.pid):
                    if comm(pid) == COORDINATOR:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
            run.ended(code=1).says("5 deaths in a row")
        server.on_file("file3", answer(b"x"))
        is_whole(fetch(server.url, out), out, files)


def test_a_stopped_worker_is_killed_and_replaced(slow_origin, out):
    with started(slow_origin.url, out, "--connections", 3) as run:
        stored_some(out)
        victim = at_work(run.pid, WORKERS)["gigafetch:w01"]
        os.kill(victim, signal.SIGSTOP)
        done = run.ended(code=0).says("worker 1")
        assert not is_alive(victim)
    is_whole(done, out)


def test_a_coordinator_that_dies_while_draining_ends_the_run_as_interrupted(out):
    with RawServer({f"file{i}": b"x" for i in range(50)}) as server:
        for i in range(1, 50):
            server.on_file(f"file{i}", HANG)
        with started(server.url, out, "--log-level", "info", *ONCE) as run:
            stored_some(out)
            people = at_work(run.pid, WORKERS)
            run.signal(signal.SIGTERM)
            run.says("settling")
            os.kill(people[COORDINATOR], signal.SIGKILL)
            done = run.ended(code=4, seconds=10)
    done.says("stopped on request", "the coordinator died", "same command again")
    assert "forked again" not in done.err
    assert not any(map(is_alive, people.values()))
    assert not (out / ".gigafetch" / "socket").exists()


# A worker is dropped by the end of the drain, before it would be for its silence; the coordinator somewhat later.
@pytest.mark.parametrize("stopped, seconds", [(COORDINATOR, 20), ("gigafetch:w00", 10), ("all of them", 20)])
def test_children_that_are_stopped_do_not_keep_a_run_from_its_end(stopped, seconds, slow_origin, out):
    with started(slow_origin.url, out, "--connections", 3) as run:
        stored_some(out)
        people = at_work(run.pid, WORKERS)
        for name, pid in people.items():
            if stopped in (name, "all of them"):
                os.kill(pid, signal.SIGSTOP)
        run.signal(signal.SIGTERM)
        run.ended(code=4, seconds=seconds).says("stopped on request")
        assert not any(map(is_alive, people.values()))


def test_a_child_that_cannot_be_reaped_does_not_keep_a_run_from_its_end(slow_origin, out):
    """A tracer that looks away holds a killed process as a disk that does not answer would."""
    libc = ctypes.CDLL(None, use_errno=True)
    seize = 0x4206
    with started(slow_origin.url, out, "--connections", 3) as run:
        stored_some(out)
        held = at_work(run.pid, WORKERS)["gigafetch:w02"]
        if libc.ptrace(seize, held, None, None) != 0:
            pytest.skip("tracing is not allowed here")
        try:
            run.signal(signal.SIGTERM)
            run.ended(code=4, seconds=20).says("stopped on request", f"process {held}", "does not end")
        finally:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(held, 0)
