"""How deep an origin lets itself be pipelined is found out, and never exceeded again."""
import asyncio
import os
import signal

import pytest

from command import QUIET, Running, fetch
from layouts import stored_files
from nginx import Nginx
from processes import at_work, wait_until
from raw_server import FIN, RST, RawServer, answer, pages_of

CONNECTIONS = 4
BEARS = 5  # requests at once: a depth of 4 goes well, one of 8 does not


class Shallow(RawServer):
    """Answers all requests that came at once, or breaks the connection when there are too many of them."""

    def __init__(self, files, bears, breaking):
        super().__init__(files)
        self.bears, self.breaking = bears, breaking
        self.depths = []  # requests that came at once, in order of arrival
        self.breaks = []  # where in `depths` it broke
        self.answered_before = 0  # requests on the connections that it broke, up to then

    async def converse(self, connection, reader, writer):
        answered = 0
        while bytes_read := await reader.read(1 << 16):
            while not bytes_read.endswith(b"\r\n\r\n"):
                bytes_read += await reader.read(1 << 16)
            requests = bytes_read.split(b"\r\n\r\n")[:-1]
            targets = [request.split(b" ", 2)[1].decode() for request in requests]
            self.depths.append(len(targets))
            steps = [b"".join(self.plain_answer(target) for target in targets)]
            if len(targets) > self.bears:
                self.breaks.append(len(self.depths) - 1)
                self.answered_before += answered
                steps = self.breaking(self.files[targets[0].removeprefix("/get/").encode()])
            answered += len(targets)
            if not await self.perform(steps, reader, writer):
                return


BREAKING = {
    "reset": lambda body: [RST],
    "end": lambda body: [FIN],
    "end-behind-the-first": lambda body: [answer(body), FIN],
    "announced": lambda body: [answer(body, "200 OK", "Connection: close"), FIN],
    "bad-framing": lambda body: [answer(body) + b"garbage\r\n\r\n", FIN],
    "answers-for-fewer": lambda body: [answer(body)[:-1], FIN],
}


@pytest.mark.parametrize("depth", ["auto", 16])
@pytest.mark.parametrize("breaking", BREAKING)
def test_a_depth_that_breaks_is_found_out_and_left(breaking, depth, out):
    files = {f"f{i:05}": f"<{i}>".encode() for i in range(8000)}
    with Shallow(files, BEARS, BREAKING[breaking]) as server:
        done = fetch(server.url, out, "--workers", 1, "--connections", CONNECTIONS, "--pipeline", depth,
                     "--layout", "flat")
    summary = done.summary
    assert summary["failed"] == 0
    assert stored_files(out) == files
    assert len(server.breaks) <= 6 * CONNECTIONS
    if breaking == "bad-framing":
        # Answers that are not what they say are a reason to send nothing ahead for a while.
        assert done.err.count("does not end where") == 1
        assert max(server.depths[len(server.depths) // 2:]) <= BEARS
        return
    assert done.err.count("more than 4 requests in flight") == (0 if depth == "auto" else 1)
    # Each depth too many is tried twice, by every connection at most; or a time or two more, where connections that
    # broke together are told of apart. Without a memory it would be some 70 times.
    assert max(server.depths[len(server.depths) // 2:]) == 4
    assert server.breaks[-1] < len(server.depths) // 2
    # What was in flight, and what could not be proven any more.
    again = sum(server.depths[at] for at in server.breaks) + server.answered_before
    assert summary["requests"] - summary["pages"] <= len(files) + again


def test_an_origin_that_takes_one_request_at_a_time_gets_them_so(out):
    files = {f"f{i:05}": f"<{i}>".encode() for i in range(3000)}
    with Shallow(files, 1, BREAKING["announced"]) as server:
        fetch(server.url, out, "--workers", 1, "--connections", CONNECTIONS, "--pipeline", "auto", "--layout", "flat")
    assert stored_files(out) == files
    # Closes behind as many responses as another by chance are taken for a limit at first.
    assert len(server.breaks) <= 5 * CONNECTIONS
    assert server.connections <= 1 + CONNECTIONS + len(server.breaks)  # one lists; none is given up without need


class HeldPage(Shallow):
    """Answers for the second page when `released` is set, and not before."""

    def __init__(self, files, page_size):
        super().__init__(files, BEARS, BREAKING["reset"])
        self.pages = pages_of(list(files), page_size)
        self.released = asyncio.Event()
        self.answered = set()

    def release(self):
        self._loop.call_soon_threadsafe(self.released.set)

    def plain_answer(self, target):
        self.answered.add(target)
        return super().plain_answer(target)

    async def perform(self, steps, reader, writer):
        if b"f09999" in steps[0]:  # the second page
            await self.released.wait()
        return await super().perform(steps, reader, writer)


@pytest.mark.parametrize("depth", ["auto", 16])
def test_what_was_found_survives_the_worker_that_found_it(depth, out):
    files = {f"f{i:05}": f"<{i}>".encode() for i in range(10_000)}
    first_page = 6000
    with HeldPage(files, first_page) as server, \
            Running("fetch", *QUIET, "--workers", 1, "--connections", CONNECTIONS, "--pipeline", depth,
                    "--layout", "flat", server.url, out) as running:
        before = at_work(running.pid, 1)["gigafetch:w00"]
        wait_until(lambda: len(server.answered) >= first_page, "the first page fetched")
        breaks = len(server.breaks)
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: at_work(running.pid, 1)["gigafetch:w00"] != before, "another in its place")
        server.release()
        summary = running.ended(0).summary
    assert breaks > 0
    assert len(server.breaks) == breaks
    assert summary["failed"] == 0
    assert stored_files(out) == files


@pytest.mark.parametrize("depth", ["auto", 64])
def test_a_connection_is_not_asked_for_more_than_nginx_answers_on_it(depth, tmp_path_factory, out):
    names = [f"n{i}" for i in range(20_000)]
    limit = 50
    with Nginx(tmp_path_factory.mktemp("nginx"), names, "location /get/ { return 200 $uri; }",
               [f"keepalive_requests {limit};"], page_size=10_000) as nginx:
        summary = fetch(nginx.url, out, "--workers", 1, "--connections", CONNECTIONS, "--pipeline", depth,
                        "--layout", "flat").summary
    assert stored_files(out) == {name: f"/get/{name}".encode() for name in names}
    # What was behind the limit on the connections that showed it, and not of 400 connections.
    assert summary["requests"] - summary["pages"] - len(names) <= 3 * CONNECTIONS * 64
