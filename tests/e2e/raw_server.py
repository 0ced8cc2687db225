"""A scriptable HTTP/1.1 server, for answers that no decent server gives. It understands pipelining.

An answer is a list of steps: bytes to send as they are, seconds to wait (a float), or FIN, RST or HANG. Requests for one target get
its answers in turn, and the last of them from then on. What has no script is answered from `files`
(name to body) and `pages` (marker to JSON, None for the first), else with 404.
"""
import asyncio
import collections
import json
import socket
import struct
import threading
from urllib.parse import unquote_to_bytes

FIN = "end our side, keep reading"
RST = "reset"
HANG = "say nothing more"


def answer(body=b"", status="200 OK", *headers):
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def chunked(body, piece=7):
    pieces = [body[at:at + piece] for at in range(0, len(body), piece)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


def page(names, marker=None, key="NextMarker"):
    listing = {"FileNames": list(names)}
    if marker is not None:
        listing[key] = marker
    return json.dumps(listing).encode()


def pages_of(names, size):
    """Pages of `size` names each, markers in between."""
    cuts = list(range(0, max(len(names), 1), size))
    return {f"m{at}" if at else None: page(names[at:at + size], f"m{at + size}" if at != cuts[-1] else None)
            for at in cuts}


class RawServer:
    def __init__(self, files=None, pages=None, host="127.0.0.1", port=0, base=""):
        self.files = {(k.encode() if isinstance(k, str) else k): v for k, v in (files or {}).items()}
        self.pages = pages if pages is not None else {None: page(k.decode() for k in self.files)}
        self.base = base
        self.scripts = {}
        self.lag = 0.0  # seconds before each answer; may be changed at any time
        self.requests = []  # (connection, target, the request's bytes), in order of arrival
        self.counts = collections.Counter()  # by target
        self.connections = 0
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.create_server((host, port), family=family, backlog=1024)
        self.host, self.port = self.socket.getsockname()[:2]
        self.url = f"http://{'[%s]' % host if ':' in host else host}:{self.port}{base}"

    def __enter__(self):
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)))
        self._thread.start()
        started.wait()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def on(self, target, *answers):
        """Scripts `target`, a path with its query, without the base."""
        self.scripts[self.base + target] = [a if isinstance(a, list) else [a] for a in answers]
        return self

    def on_file(self, name, *answers):
        return self.on("/get/" + name, *answers)

    def on_list(self, *answers, marker=None):
        return self.on("/list" if marker is None else f"/list?next-marker={marker}", *answers)

    def count(self, target):
        return self.counts[self.base + target]

    def gets(self):
        so_far = list(self.counts.items())  # at once: the server's thread goes on counting
        return sum(count for target, count in so_far if target.startswith(self.base + "/get/"))

    async def _serve(self, started):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, sock=self.socket)
        started.set()
        await self._stop.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader, writer):
        self.connections += 1
        writer.transport.set_write_buffer_limits(0)
        try:
            await self.converse(self.connections, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def converse(self, connection, reader, writer):
        while True:
            target = await self.next_request(connection, reader)
            if self.lag:
                await asyncio.sleep(self.lag)
            if not await self.perform(self.answer_to(target), reader, writer):
                return

    async def next_request(self, connection, reader):
        request = await reader.readuntil(b"\r\n\r\n")
        target = request.split(b" ", 2)[1].decode()
        self.requests.append((connection, target, request))
        self.counts[target] += 1
        return target

    def answer_to(self, target):
        script = self.scripts.get(target)
        if script:
            return script[min(self.counts[target], len(script)) - 1]
        return [self.plain_answer(target)]

    def plain_answer(self, target):
        path, _, query = target.removeprefix(self.base).partition("?")
        if path == "/list":
            marker = unquote_to_bytes(query.removeprefix("next-marker=")).decode() if query else None
            if marker in self.pages:
                return answer(self.pages[marker])
        elif path.startswith("/get/"):
            body = self.files.get(unquote_to_bytes(path.removeprefix("/get/")))
            if body is not None:
                return answer(body)
        return answer(b"", "404 Not Found")

    async def perform(self, steps, reader, writer):
        """True when the connection can serve another request."""
        for step in steps:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, float):
                await asyncio.sleep(step)
            elif step is RST:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return False
            else:
                if step is FIN:
                    writer.write_eof()
                while await reader.read(1 << 16):
                    pass
                return False
        return True
