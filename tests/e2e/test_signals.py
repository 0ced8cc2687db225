"""Asked to stop, a run stops: exit 4, nothing half stored, nobody left, and the same command finishes."""
import contextlib
import fcntl
import os
import signal
import subprocess
import time

import pytest

import catalogue
from catalogue import Origin
from command import ONCE, QUIET, Running, dead_letters, fetch, run, verify
from layouts import stored_files
from processes import at_work, children, is_alive, wait_until
from raw_server import HANG, RawServer, answer, pages_of

FILES = 2000
WORKERS = 4
WHOLE = catalogue.files(FILES)


@pytest.fixture(scope="module")
def slow_origin():
    with Origin("--files", FILES, "--lag", 80, "--page-size", 200) as origin:
        yield origin


@pytest.fixture
def late_server():
    """Half a minute's work or more, until `lag` is set to 0: no run of a test ends before."""
    with RawServer(WHOLE, pages_of(list(WHOLE), 200)) as server:
        server.lag = 0.15
        yield server


@contextlib.contextmanager
def started(url, out, *options, connections=3):
    """A run that has stored something, in a session of its own."""
    with Running("fetch", *QUIET, "--workers", WORKERS, "--connections", connections, *options, url, out,
                 start_new_session=True) as run:
        at_work(run.pid, WORKERS)
        wait_until(lambda: next(out.glob("file*"), None), "a file stored")
        yield run


def stop(run, number, to_group=False):
    everybody = at_work(run.pid, WORKERS).values()
    os.killpg(run.pid, number) if to_group else run.signal(number)
    done = run.ended(code=4, seconds=10)
    assert not any(map(is_alive, everybody))
    return done


@pytest.mark.parametrize("to_group", [False, True], ids=["alone", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_settles_what_is_in_flight_and_ends_with_4(number, to_group, slow_origin, out):
    with started(slow_origin.url, out) as run:
        done = stop(run, number, to_group).says("stopped on request", "same command again")
    summary = done.summary
    found = stored_files(out)
    assert 0 < summary["stored"] < FILES and summary["failed"] == 0
    assert len(found) == summary["stored"]
    assert found.items() <= WHOLE.items()
    assert dead_letters(out) == {}
    assert not (out / ".gigafetch" / "socket").exists()


def test_the_same_command_finishes_what_a_signal_interrupted(slow_origin, out):
    for number in (signal.SIGTERM, signal.SIGINT):
        with started(slow_origin.url, out) as run:
            stop(run, number)
    assert fetch(slow_origin.url, out, "--workers", WORKERS, "--pipeline", 16).summary["stored"] == FILES
    assert stored_files(out) == WHOLE


@pytest.mark.parametrize("depth", [1, 16])
def test_what_does_not_settle_is_dropped_and_leaves_no_half_file(depth, out):
    files = {f"file{i}": b"x" * 200_000 for i in range(40)}
    with RawServer(files) as server:
        for i in range(20, 40):
            server.on_file(f"file{i}", [answer(files[f"file{i}"])[:150_000], HANG])
        with started(server.url, out, "--pipeline", depth) as run:
            wait_until((out / "file20").exists, "a large one begun")
            stop(run, signal.SIGTERM).says("stopped on request")
    assert stored_files(out).items() <= files.items()


@pytest.mark.parametrize("first, second", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
def test_a_second_signal_stops_at_once(first, second, out):
    with RawServer({f"file{i}": b"x" for i in range(50)}) as server:
        for i in range(1, 50):
            server.on_file(f"file{i}", HANG)
        with started(server.url, out, "--log-level", "info", *ONCE) as run:
            run.signal(first)
            run.says("settling")
            summary = stop(run, second).says("stopped at once", "second request", "same command again").summary
    # However a run ends, its figures add up: what was not settled is not listed either.
    assert summary["listed"] == summary["stored"]


@pytest.mark.parametrize("what", ["listing", "connecting", "retrying"])
def test_a_signal_ends_a_run_that_has_nothing_yet(what, out):
    with RawServer() as server:
        server.on_list(answer(b"", "503 Busy") if what == "retrying" else HANG)
        url = server.url if what != "connecting" else "http://127.0.0.1:9"
        with Running("fetch", "--workers", 2, "--json", "--retries", 1000, url, out) as run:
            begun = (out / ".gigafetch" / "socket").exists if what == "connecting" else lambda: server.requests
            wait_until(begun, "begun")
            run.signal(signal.SIGTERM)
            assert run.ended(code=4, seconds=10).summary["stored"] == 0


def test_a_second_run_on_the_same_folder_is_refused_and_harms_nothing(late_server, out):
    with started(late_server.url, out) as first:
        for command in ("fetch", "verify"):
            refused = run(command, late_server.url, out, code=1)
            refused.says("another run", f"pid {first.pid}", f"kill {first.pid}", str(out))
            assert refused.out == ""
        for option in ("--restart", "--force"):
            run("fetch", option, late_server.url, out, code=1).says(f"pid {first.pid}")
        assert len(children(first.pid)) == WORKERS + 1
        late_server.lag = 0.0
        assert first.ended(code=0).summary["stored"] == FILES
    assert stored_files(out) == WHOLE
    verify(late_server.url, out, "--content", "--workers", WORKERS)


def test_a_run_takes_over_from_one_that_was_killed(slow_origin, out):
    with started(slow_origin.url, out) as first:
        first.signal(signal.SIGKILL)
        first.ended()
        done = fetch(slow_origin.url, out, "--workers", WORKERS, "--pipeline", 16)
    assert done.summary["stored"] == FILES
    assert stored_files(out) == WHOLE


@pytest.mark.parametrize("reaped", [True, False])
def test_a_lock_whose_owner_is_dead_is_waited_for(reaped, out):
    state = out / ".gigafetch"
    state.mkdir(parents=True, mode=0o700)
    dead = subprocess.Popen(["true"])
    wait_until(lambda: not is_alive(dead.pid), "it ended")
    if reaped:
        dead.wait()
    (state / "lock").write_text(f"{dead.pid}\n")
    with RawServer({"a": b"A"}) as server, open(state / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as the children of the dead run do for a moment
        with Running("fetch", "--workers", 1, server.url, out) as run:
            time.sleep(0.3)
            fcntl.flock(lock, fcntl.LOCK_UN)
            run.ended(code=0)
    dead.wait()


def test_a_signal_that_was_ignored_at_the_start_stays_ignored(late_server, out):
    def as_nohup_does():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    options = [*QUIET, "--workers", WORKERS, "--connections", 8]
    with Running("fetch", *options, late_server.url, out, preexec_fn=as_nohup_does) as run:
        at_work(run.pid, WORKERS)
        run.signal(signal.SIGHUP)
        late_server.lag = 0.0
        assert run.ended(code=0).summary["stored"] == FILES


def test_a_run_reaps_its_children_also_when_its_parent_ignored_theirs(late_server, out):
    def as_some_daemons_do():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    with Running("fetch", *QUIET, "--workers", WORKERS, "--connections", 8, late_server.url, out,
                 preexec_fn=as_some_daemons_do) as run:
        victim = at_work(run.pid, WORKERS)["gigafetch:w00"]
        os.kill(victim, signal.SIGKILL)
        late_server.lag = 0.0
        done = run.ended(code=0).says("killed by signal 9")
    assert done.summary["stored"] == FILES and done.summary["cpu_seconds"] > 0.01


def test_workers_that_die_together_are_one_death_and_are_replaced(late_server, out):
    with Running("fetch", *QUIET, "--workers", 8, "--connections", 4, late_server.url, out) as run:
        people = at_work(run.pid, 8)
        for index in range(6):
            os.kill(people[f"gigafetch:w{index:02}"], signal.SIGKILL)
        late_server.lag = 0.0
        assert run.ended(code=0).summary["stored"] == FILES
    assert stored_files(out) == WHOLE


def test_verify_and_ls_end_on_a_signal_too(slow_origin, out):
    fetch(slow_origin.url, out, "--workers", WORKERS, "--pipeline", 16)
    options = ["--content", "--workers", WORKERS, "--connections", 1]
    with Running("verify", *options, slow_origin.url, out) as checking:
        at_work(checking.pid, WORKERS)
        checking.signal(signal.SIGTERM)
        checking.ended(code=4, seconds=10)
    assert stored_files(out) == WHOLE
    with RawServer().on_list(HANG) as server, Running("ls", server.url) as listing:
        wait_until(lambda: server.requests, "asked")
        listing.signal(signal.SIGTERM)
        assert listing.process.wait(timeout=10) == 4
