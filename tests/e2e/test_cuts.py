"""A connection cut at every byte of a pipeline: whatever was answered belongs to its file, and every file arrives."""
import asyncio

import pytest

from command import ONCE, fetch
from layouts import stored_files
from raw_server import FIN, RST, RawServer, answer, chunked

DEPTH = 3
FRAMINGS = {
    "lengths": [answer, answer, answer],
    "chunks": [chunked, chunked, chunked],
    "mixed": [chunked, lambda body: b"HTTP/1.1 100 Continue\r\n\r\n" + answer(body), lambda body: chunked(body, 3)],
    "empty": [answer, lambda body: answer(b""), lambda body: chunked(b"")],
}


def body_of(name):
    return f"<{name}>".encode()  # all of one length, none like another


class Cutter(RawServer):
    """Lets every first pipeline fill up, then answers it up to a byte of its own and cuts the connection."""

    def __init__(self, framing, kind):
        self.framings, self.kind = FRAMINGS[framing], kind
        self.cuts = range(len(b"".join(frame(body_of("f0000")) for frame in self.framings)) + 1)
        names = [f"f{i:04}" for i in range(8 * len(self.cuts))]  # the first batch, half of them, fills every pipeline
        super().__init__({name: b"" if framing == "empty" else body_of(name) for name in names})
        self.pipelines = []
        self.full = None

    async def converse(self, connection, reader, writer):
        self.full = self.full or asyncio.Event()
        targets = [await self.next_request(connection, reader)]
        if targets[0] == "/list" or self.full.is_set():
            await self.perform([self.plain_answer(targets[0])], reader, writer)
            return await super().converse(connection, reader, writer)
        cut = self.cuts[len(self.pipelines)]
        self.pipelines.append(targets)
        while len(targets) < DEPTH:
            targets.append(await self.next_request(connection, reader))
        if len(self.pipelines) == len(self.cuts) and all(len(p) == DEPTH for p in self.pipelines):
            self.full.set()
        await self.full.wait()
        replies = b"".join(frame(self.files[target[5:].encode()]) for frame, target in zip(self.framings, targets))
        await self.perform([replies[:cut], self.kind], reader, writer)


@pytest.mark.parametrize("kind", [FIN, RST])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_pipeline_cut_at_any_byte_mixes_nothing_up(framing, kind, out):
    with Cutter(framing, kind) as server:
        fetch(server.url, out, "--workers", 1, "--connections", len(server.cuts), "--pipeline", DEPTH, "--batch", 65536,
              "--retries", 100)
    assert len(server.pipelines) == len(server.cuts) > 100
    assert all(len(pipeline) == DEPTH for pipeline in server.pipelines)
    assert stored_files(out) == {name.decode(): body for name, body in server.files.items()}


@pytest.mark.parametrize("depth", [1, 3, 16])
def test_answers_that_come_a_byte_at_a_time_are_put_together(depth, out):
    names = [f"f{i:03}" for i in range(60)]
    with RawServer({name: body_of(name) for name in names}) as server:
        for at, name in enumerate(names):
            frame = FRAMINGS["mixed"][at % 3]
            server.on_file(name, [bytes([byte]) for byte in frame(body_of(name))])
        summary = fetch(server.url, out, "--workers", 1, "--connections", 2, "--pipeline", depth, *ONCE).summary
    assert stored_files(out) == {name: body_of(name) for name in names}
    assert summary["retries"] == 0


@pytest.mark.parametrize("lag", range(1, 7))
def test_a_server_that_closes_after_every_few_answers_loses_nothing(lag, out):
    """Closed without a word after `lag` answers, whatever else was asked on the connection."""
    class Closing(RawServer):
        async def converse(self, connection, reader, writer):
            for _ in range(lag):
                target = await self.next_request(connection, reader)
                await self.perform([self.plain_answer(target)], reader, writer)
            writer.close()

    names = [f"f{i:03}" for i in range(300)]
    with Closing({name: body_of(name) for name in names}) as server:
        fetch(server.url, out, "--workers", 2, "--connections", 4, "--pipeline", 8, "--retries", 100)
    assert stored_files(out) == {name: body_of(name) for name in names}
