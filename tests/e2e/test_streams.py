"""Nobody who reads what is printed can hold up a run, end it, or change its exit status; a result that is lost is told."""
import contextlib
import json
import os
import signal
import subprocess

import pytest

import catalogue
from catalogue import Origin
from command import BINARY, ONCE, PATIENCE, Running, dead_letters, fetch
from layouts import stored_files
from processes import at_work, is_alive, wait_until
from raw_server import HANG, RawServer, answer, pages_of
from streams import StuckPipe, StuckTerminal, is_blocking

FILES = {f"file{i}": b"x" * i for i in range(60)}
LOUD = {"json": ["--progress", "json"], "auto": [], "debug": ["--progress", "json", "--log-level", "debug"]}
LOST = "were lost here"


@pytest.fixture
def server():
    with RawServer(FILES, pages_of(list(FILES), 7)) as server:
        yield server


@contextlib.contextmanager
def without_reader():
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextlib.contextmanager
def full_disk():
    with open("/dev/full", "wb") as full:
        yield full.fileno()


@contextlib.contextmanager
def stuck(kind):
    stream = kind()
    try:
        yield stream
    finally:
        stream.close()


def end_of(*args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **popen):
    return subprocess.run([BINARY, *map(str, args)], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                          timeout=PATIENCE, **popen)


# --- standard error ---

@pytest.mark.parametrize("loud", LOUD)
@pytest.mark.parametrize("stream", [without_reader, full_disk])
def test_standard_error_that_cannot_be_written_does_not_end_a_run(stream, loud, server, out):
    server.on_file("file59", answer(b"", "404 Not Found"))
    with stream() as err:
        done = end_of("fetch", "--json", "--workers", 2, *LOUD[loud], server.url, out, stderr=err)
        assert done.returncode == 3 and json.loads(done.stdout)["stored"] == 59
        server.scripts.clear()
        done = end_of("fetch", "--json", "--workers", 2, *LOUD[loud], "--retry-failed", server.url, out, stderr=err)
        assert done.returncode == 0 and json.loads(done.stdout)["stored"] == 60
    assert stored_files(out) == FILES


@pytest.mark.parametrize("loud", ["json", "debug"])
def test_a_reader_of_standard_error_that_leaves_in_the_middle_does_not_end_a_run(loud, server, out):
    server.on_file("file59", [3.0, answer(FILES["file59"])])  # so that there is more to say
    with Running("fetch", "--workers", 2, "--json", *ONCE, *LOUD[loud], server.url, out) as run:
        run.process.stderr.readline()
        run.process.stderr.close()
        run.process.stderr = None
        assert run.ended(code=0).summary["stored"] == 60
    assert stored_files(out) == FILES


def test_head_as_the_reader_of_everything_changes_no_exit_status(server, out):
    server.lag = 0.2
    command = f"'{BINARY}' fetch --workers 2 --connections 2 --log-level debug {server.url} '{out}' 2>&1 | head -n 2"
    done = subprocess.run(["bash", "-c", command + "; exit ${PIPESTATUS[0]}"], stdout=subprocess.PIPE, timeout=PATIENCE)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2
    assert stored_files(out) == FILES


@pytest.mark.parametrize("stream", [without_reader, full_disk])
def test_every_exit_status_stays_though_standard_error_cannot_be_written(stream, server, out):
    with stream() as err:
        assert end_of("fetch", "--nonsense", stderr=err).returncode == 2
        assert end_of("nonsense", stderr=err).returncode == 2
        assert end_of("fetch", "ftp://there", out, stderr=err).returncode == 2
        assert end_of("cat", out, "name", stderr=err).returncode == 1
        assert end_of("verify", server.url, out, stderr=err).returncode == 1
        server.lag = 0.3
        argv = [BINARY, "fetch", "--json", "--workers", "1", "--connections", "1", "--log-level", "debug"]
        running = subprocess.Popen([*argv, server.url, out], stdout=subprocess.PIPE, stderr=err)
        wait_until(server.gets, "asked for a file")
        running.send_signal(signal.SIGTERM)
        assert json.loads(running.communicate(timeout=PATIENCE)[0])["exit"] == running.returncode == 4
        server.lag = 0.0
        fetch(server.url, out)
        (out / "file1").unlink()
        (out / "stranger").write_bytes(b"")
        assert end_of("verify", server.url, out, stderr=err).returncode == 3


@pytest.mark.parametrize("loud", LOUD)
@pytest.mark.parametrize("kind", [StuckPipe, StuckTerminal])
def test_standard_error_that_is_stuck_does_not_hold_up_a_run(kind, loud, server, out):
    server.on_file("file59", answer(b"", "404 Not Found"))
    with stuck(kind) as stream:
        done = end_of("fetch", "--json", "--workers", 2, *LOUD[loud], server.url, out, stderr=stream.writer)
        assert done.returncode == 3 and json.loads(done.stdout)["stored"] == 59
        assert is_blocking(stream.writer)  # which is the shell's to decide


@pytest.mark.parametrize("loud", LOUD)
@pytest.mark.parametrize("kind", [StuckPipe, StuckTerminal])
def test_signals_are_obeyed_though_standard_error_is_stuck(kind, loud, server, out):
    server.lag = 0.3
    with stuck(kind) as stream:
        argv = [BINARY, "fetch", "--json", "--workers", "3", "--connections", "1", *LOUD[loud], server.url, str(out)]
        running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=stream.writer)
        everybody = at_work(running.pid, 3).values()
        wait_until(lambda: server.gets() > 3, "files stored")
        running.send_signal(signal.SIGTERM)
        summary = json.loads(running.communicate(timeout=10)[0])
    assert running.returncode == summary["exit"] == 4
    assert summary["listed"] == summary["stored"] > 0
    assert not any(map(is_alive, everybody))


@pytest.mark.parametrize("kind", [StuckPipe, StuckTerminal])
def test_a_run_that_is_stopped_does_not_wait_for_a_reader_of_its_summary_either(kind, server, out):
    server.lag = 0.3
    with stuck(kind) as stream:
        running = subprocess.Popen([BINARY, "fetch", "--workers", "2", "--connections", "1", server.url, out],
                                   stdout=stream.writer, stderr=stream.writer)
        wait_until(server.gets, "asked for a file")
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=10) == 4


@pytest.mark.parametrize("command", ["ls", "verify"])
def test_other_commands_obey_signals_though_standard_error_is_stuck(command, server, out):
    fetch(server.url, out)
    server.on_list(HANG)
    before = server.count("/list")
    with stuck(StuckPipe) as stream:
        where = [server.url] if command == "ls" else [server.url, str(out)]
        running = subprocess.Popen([BINARY, command, "--log-level", "debug", *where], stdout=subprocess.PIPE,
                                   stderr=stream.writer)
        wait_until(lambda: server.count("/list") > before, "asked")
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=10)
    assert running.returncode == 4


@pytest.mark.parametrize("loud", ["json", "debug"])
def test_lines_that_were_lost_are_counted_when_standard_error_goes_on(loud, out):
    """Each name fails, and the worker says so."""
    names = [f"file{i:04}-{'x' * 150}" for i in range(900)]  # a thousand would end the run
    with RawServer({}, pages_of(names + ["last"], 100)) as server, stuck(StuckPipe) as stream:
        server.on_file("last", HANG)
        argv = [BINARY, "fetch", "--json", "--workers", "1", "--log-level", "debug", server.url, str(out)]
        running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=stream.writer)
        failures = out / ".gigafetch" / "failures"
        wait_until(lambda: failures.exists() and failures.stat().st_size > len(names) * 150, "all failed, and said so")
        told = []
        wait_until(lambda: told.append(stream.read()) or LOST in "".join(told), "told what was lost")
        running.send_signal(signal.SIGTERM)
        wait_until(lambda: told.append(stream.read()) or running.poll() is not None, "the end")
        told = "".join([*told, stream.read()])
        running.communicate()
    lost = [line for line in told.splitlines() if LOST in line]
    assert any("lines of log" in line and "(worker 0)" in line for line in lost), told[-2000:]
    assert "same command again" in told  # the last word is there, too


# --- standard output ---

@contextlib.contextmanager
def closed():
    yield None


@pytest.fixture(scope="module")
def large_listing():
    with Origin("--files", 100_000, "--page-size", 10_000) as origin:
        yield origin


@pytest.mark.parametrize("stream", [without_reader, full_disk, closed])
@pytest.mark.parametrize("command", ["fetch --json", "verify --json", "ls", "cat", "--help", "--version"])
def test_a_result_that_cannot_be_written_is_told_and_ends_with_1(command, stream, server, out):
    fetch(server.url, out)
    where = {"fetch": [server.url, out], "verify": [server.url, out], "ls": [server.url], "cat": [out, "file59"]}
    args = command.split()
    with stream() as result:
        more = {"preexec_fn": lambda: os.close(1)} if result is None else {"stdout": result}
        done = end_of(*args, *where.get(args[0], []), **more)
    assert done.returncode == 1 and b"standard output" in done.stderr, done


def test_a_reader_of_names_that_leaves_is_told(large_listing):
    command = f"'{BINARY}' ls {large_listing.url} | head -n 3; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=PATIENCE)
    assert done.stdout.decode().split() == catalogue.names(3)
    assert done.returncode == 1 and b"cannot write to standard output: Broken pipe" in done.stderr


def test_results_wait_for_a_slow_reader_also_where_somebody_does_not_want_to_block(large_listing):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    running = subprocess.Popen([BINARY, "ls", large_listing.url], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    with open(reader, "rb") as results:
        names = results.read().decode().split()
    assert running.wait(timeout=PATIENCE) == 0 and running.stderr.read() == b""
    running.stderr.close()
    assert names == catalogue.names(100_000)


def test_a_summary_for_people_that_cannot_be_written_is_told_and_changes_nothing(server, out):
    with full_disk() as full:
        done = end_of("fetch", "--workers", 1, server.url, out, stdout=full)
    assert done.returncode == 0 and b"standard output" in done.stderr
    assert dead_letters(out) == {} and stored_files(out) == FILES
