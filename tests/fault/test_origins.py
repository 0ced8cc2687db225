"""Rows 8 to 12 and 15: origins that fail, push back, hang, drip, go away; with the settings that a run has by default."""
import time

import pytest

import catalogue
from catalogue import Origin
from command import ONCE, QUIET, Running, dead_letters, fetch
from layouts import stored_files
from nginx import free_port
from oracle import FILES, check_counts_add_up, check_whole, files_of, requests_seen, scaled
from processes import wait_until
from raw_server import FIN, HANG, RawServer, answer

DEPTHS = pytest.mark.parametrize("depth", [1, 16])
TWO = ["--workers", 2, "--layout", "fanout"]


@DEPTHS
@pytest.mark.parametrize("faults", [
    ["--error-rate", 0.1, "--throttle-rate", 0.1, "--busy-rate", 0.1],
    ["--busy-rate", 0.3],
    ["--error-rate", 0.3],
    ["--reset-rate", 0.05, "--truncate-rate", 0.05, "--close-rate", 0.2],
], ids=["mixed", "busy", "errors", "broken"])
def test_three_answers_in_ten_that_fail_lose_nothing(faults, depth, out):
    """Row 11, and 8 and 9 by chance; with the five retries that are the default."""
    files = scaled(8000, FILES)
    with Origin("--files", files, *faults, "--count") as origin:
        done = fetch(origin.url, out, *TWO, "--pipeline", depth)
        seen = requests_seen(origin)
    check_whole(out, files_of(files))
    assert seen["names"] == files
    print(f"\n{faults}, depth {depth}: {seen['requests']} requests, {done.summary['seconds']} s")


@DEPTHS
def test_an_origin_of_so_many_requests_a_second_is_not_asked_for_much_more(depth, out):
    with Origin("--files", 6000, "--max-rate", 1000, "--count") as origin:
        done = fetch(origin.url, out, *TWO, "--pipeline", depth)
        seen = requests_seen(origin)
    check_whole(out, files_of(6000))
    print(f"\ndepth {depth}: {seen['requests']} requests for 6000 files, {done.summary['seconds']} s")


@pytest.mark.parametrize("rate", [500, 2000])
def test_rate_is_a_cap_over_all_workers(rate, out):
    """As the origin, which knows no mercy beyond a twentieth of a second, sees it."""
    files = rate * 2
    with Origin("--files", files, "--count") as origin:
        summary = fetch(origin.url, out, "--workers", 4, "--layout", "fanout", "--rate", rate, *ONCE).summary
        seen = requests_seen(origin)
    check_whole(out, files_of(files))
    assert seen["requests"] == files
    assert files / summary["seconds"] <= rate * 1.06  # a tenth of a second's requests may go at once


@DEPTHS
def test_an_origin_restarted_in_the_middle_loses_nothing_and_charges_nothing(depth, out):
    port = free_port()
    options = ["--files", FILES, "--lag", 5, "--page-size", FILES]  # listed by then: the listing's tries are counted
    args = ["fetch", *QUIET, *TWO, "--connections", 16, "--pipeline", depth, "--retries", 1,
            f"http://127.0.0.1:{port}", out]
    with Origin(*options, port=port):
        running = Running(*args)
        wait_until(lambda: next(out.glob("*/*/file*"), None), "a file stored")
    with running:
        for _ in range(3):
            with Origin(*options, port=port):
                time.sleep(0.3)
        with Origin(*options, port=port):
            done = running.ended(code=0)
    check_whole(out, files_of())
    check_counts_add_up(done.summary)


def test_an_origin_that_accepts_and_hangs_up_charges_no_file(out):
    """As a balancer whose servers are all down does."""
    names = catalogue.names(200)
    files = {name: name.encode() for name in names}
    with RawServer(files) as server:
        for name in names:
            server.on_file(name, FIN)
        with Running("fetch", *QUIET, "--workers", 2, "--retries", 1, server.url, out) as running:
            wait_until(lambda: server.gets() >= 12, "a dozen unanswered requests")
            for name in names:
                server.on_file(name, answer(name.encode()))
            done = running.ended(code=0)
    assert done.summary["stored"] == 200 and dead_letters(out) == {}


@DEPTHS
def test_one_name_that_hangs_does_not_hold_the_end_of_the_job(depth, out):
    names = [f"n{i}" for i in range(300)]
    files = {name: name.encode() for name in names}
    with RawServer(files) as server:
        server.on_file("n150", HANG, HANG, answer(b"n150"))
        done = fetch(server.url, out, "--workers", 2, "--pipeline", depth, "--stall-timeout", 600)
        assert server.count("/get/n150") == 3
    assert done.summary["stored"] == 300


def test_names_that_hang_on_every_connection_fail_alone(out):
    names = [f"n{i}" for i in range(100)]
    with RawServer({name: b"x" for name in names}) as server:
        server.on_file("n50", HANG)
        fetch(server.url, out, "--workers", 2, "--stall-timeout", 1, "--retries", 0, code=3)
    assert dead_letters(out)["n50"]["class"] == "stalled"


def test_a_body_that_drips_is_given_up_and_the_others_arrive_meanwhile(out):
    """Row 10."""
    names = [f"n{i}" for i in range(200)]
    body = b"x" * 400
    head, drops = answer(body)[:-len(body)], [part for byte in body for part in (0.2, bytes([byte]))]
    with RawServer({name: body for name in names}) as server:
        for name in names[::10]:
            server.on_file(name, [head, *drops])
        done = fetch(server.url, out, "--workers", 2, "--stall-timeout", 5, "--retries", 0, code=3)
    assert done.summary["stored"] == 180
    assert {letter["class"] for letter in dead_letters(out).values()} == {"stalled"}


def test_every_answer_closes_its_connection(out):
    """Row 15."""
    files = scaled(5000, 100_000)
    with Origin("--files", files, "--size", 16, "--close-rate", 1) as origin:
        summary = fetch(origin.url, out, *TWO).summary
    assert (summary["stored"], summary["failed"]) == (files, 0)


class TooLate(RawServer):
    """Keeps the first request for each of `slow` waiting until so much has been asked behind it that the client must have
    given it up; then answers it, and nothing else of that: as many answers come as are waited for."""

    def __init__(self, files, slow, depth):
        super().__init__(files)
        self.slow, self.depth = {f"/get/{name}" for name in slow}, depth

    async def converse(self, connection, reader, writer):
        while True:
            target = await self.next_request(connection, reader)
            if target in self.slow:
                self.slow.remove(target)
                for _ in range(self.depth):
                    await self.next_request(connection, reader)
            await self.perform([self.plain_answer(target)], reader, writer)


@pytest.mark.parametrize("given_up", ["early", "stalled"])
@DEPTHS
def test_an_answer_that_comes_too_late_is_given_to_nobody(depth, given_up, out):
    names = [f"n{i:03}" for i in range(120)]
    bodies = {name: f"the body of {name}".encode() for name in names}
    slow = names[5::20]
    retries, code, lost = (5, 0, []) if given_up == "early" else (0, 3, slow)
    with TooLate(bodies, slow, depth) as server:
        fetch(server.url, out, "--workers", 1, "--connections", 2, "--pipeline", depth, "--stall-timeout", 0.3,
              "--retries", retries, code=code)
        assert not server.slow
    failed = dead_letters(out)
    assert failed.keys() >= set(lost)
    assert stored_files(out) == {name: body for name, body in bodies.items() if name not in failed}
