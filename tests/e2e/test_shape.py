"""The processes of a run: a supervisor, a coordinator and pinned workers, joined by Unix sockets, gone together."""
import contextlib
import os
import signal
import stat

import pytest

import catalogue
from catalogue import Origin
from command import Running, dead_letters, fetch
from layouts import stored_files
from processes import at_work, children, comm, is_alive, socket_inodes, threads, unix_peers, wait_until
from raw_server import RawServer, pages_of

WORKERS = 16


def stored_some(out, more_than=0):
    return wait_until(lambda: (count := sum(1 for _ in out.glob("file*"))) > more_than and count, "files stored")


@pytest.fixture(scope="module")
def endless():
    """More files than a test waits for, each of them late."""
    with Origin("--files", 10**7, "--lag", 300) as origin:
        yield origin


@pytest.fixture
def running(endless, out):
    with Running("fetch", "--workers", WORKERS, "--progress", "none", endless.url, out) as run:
        at_work(run.pid, WORKERS)
        stored_some(out)
        yield run


def test_one_supervisor_has_a_coordinator_and_a_child_for_each_worker(running):
    assert len(children(running.pid)) == WORKERS + 1
    assert [children(pid) for pid in at_work(running.pid, WORKERS).values()] == [[]] * (WORKERS + 1)
    assert threads(running.pid) == 1


def test_each_worker_is_pinned_to_one_processor_and_all_are_used(running):
    allowed = os.sched_getaffinity(running.pid)
    people = at_work(running.pid, WORKERS)

    def masks():
        return [os.sched_getaffinity(people[f"gigafetch:w{i:02}"]) for i in range(WORKERS)]

    wait_until(lambda: all(len(mask) == 1 for mask in masks()), "the last worker pinned")  # it has its name before
    assert set().union(*masks()) == set(sorted(allowed)[:WORKERS])
    assert os.sched_getaffinity(people["gigafetch:coord"]) == allowed


def test_coordinator_and_workers_are_joined_by_unix_sockets_and_workers_by_nothing(running):
    people = at_work(running.pid, WORKERS)

    def ends():
        """Connected sockets by whose they are, once the coordinator has taken the last worker in."""
        peers = unix_peers()
        own = {name: {inode for inode in socket_inodes(pid) if inode in peers} for name, pid in people.items()}
        coordinator = own.pop("gigafetch:coord")
        taken_in = all({peers[inode] for inode in mine} & coordinator for mine in own.values())
        return (peers, coordinator, own) if taken_in else None

    peers, coordinator, own = wait_until(ends, "every worker joined to the coordinator")
    for name, mine in own.items():
        assert len(mine) == 1, name
        assert peers[mine.pop()] in coordinator, name
    to_supervisor = {peers[inode] for inode in socket_inodes(running.pid) if inode in peers}
    assert len(to_supervisor & coordinator) == 1


def test_the_state_folder_and_its_socket_are_private(running, out):
    state = out / ".gigafetch"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    socket = (state / "socket").stat()
    assert stat.S_ISSOCK(socket.st_mode) and stat.S_IMODE(socket.st_mode) == 0o600
    assert (state / "lock").read_text().split() == [str(running.pid)]
    for file in state.iterdir():
        with contextlib.suppress(FileNotFoundError):  # a file that is written anew is renamed when it is whole
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_nobody_outlives_a_killed_supervisor(running):
    everybody = list(at_work(running.pid, WORKERS).values())
    running.signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, everybody)), "every child gone", seconds=10)


def test_killed_workers_are_replaced_and_every_file_arrives(out):
    files = catalogue.files(5000)
    with RawServer(files, pages_of(list(files), 1000)) as server:
        server.lag = 0.25  # ten seconds' work, if it did not end before
        with Running("fetch", "--workers", WORKERS, "--connections", 8, "--batch", 100, "--json",
                     "--progress", "none", server.url, out) as run:
            stored = 0
            for index in (0, 7, 15, 3, 0, 9):
                stored = stored_some(out, more_than=stored)
                name = f"gigafetch:w{index:02}"
                victim = at_work(run.pid, WORKERS)[name]
                os.kill(victim, signal.SIGKILL)
                wait_until(lambda: at_work(run.pid, WORKERS)[name] != victim, "another in its place")
            server.lag = 0.0
            summary = run.ended(code=0).says("worker 0 (pid", "killed by signal 9", "forked again").summary
    assert (summary["listed"], summary["stored"], summary["duplicates"]) == (len(files), len(files), 0)
    assert stored_files(out) == files
    assert dead_letters(out) == {}


def test_after_the_supervisors_death_the_same_command_finishes(out):
    files = 5000
    with Origin("--files", files, "--lag", 100) as origin:
        with Running("fetch", "--workers", WORKERS, "--connections", 8, "--progress", "none",
                     origin.url, out) as run:
            at_work(run.pid, WORKERS)
            stored_some(out)
            os.kill(run.pid, signal.SIGKILL)
        assert fetch(origin.url, out, "--workers", WORKERS).summary["stored"] == files
    assert stored_files(out) == catalogue.files(files)


def test_a_run_whose_workers_cannot_live_ends_with_the_reason(endless, out):
    with Running("fetch", "--workers", 2, "--progress", "none", endless.url, out) as run:
        at_work(run.pid, 2)
        while run.process.poll() is None:
            for pid in children(run.pid):
                if comm(pid).startswith("gigafetch:w"):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
        run.ended(code=1).says("5 deaths in a row", "nothing stored", "worker", "killed by signal 9", "same command again")


def test_more_processors_are_not_used_than_allowed(endless, out):
    one = min(os.sched_getaffinity(0))
    with Running("fetch", "--progress", "none", endless.url, out,
                 preexec_fn=lambda: os.sched_setaffinity(0, {one})) as run:
        people = at_work(run.pid, 1)
        assert os.sched_getaffinity(people["gigafetch:w00"]) == {one}
