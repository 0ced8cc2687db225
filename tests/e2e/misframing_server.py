"""Answers that do not end where they say, come twice, or not at all, by a server that is otherwise a good one.

A server holds any number of services, each below a path of its own. An HTTP library would not send such answers, so
the sockets are bare; each connection has a thread.
"""
import collections
import itertools
import random
import re
import socket
import struct
import threading
import time
from typing import NamedTuple
from urllib.parse import unquote

from processes import wait_until
from raw_server import pages_of

LATE = 0.03  # seconds between an answer and what comes behind it, in a packet of its own
# What no client can know is excused. It cannot wait for ever: where this server itself was so slow that something came
# so much later, it may be taken for the next one's. And where the connection ends behind an answer too many, this makes
# up for one that it owes: the client has as many answers as it asked for.
TOO_LATE = 0.08

ANSWER = re.compile(b"HTTP/1.1 [24]")
ANNOUNCED, SILENT, RESET = "announced, then FIN", "FIN", "RST"  # how a connection ends


def lengths(body, off=0, close=False, status="200 OK"):
    """An answer whose announced length is off by so many bytes."""
    close = "Connection: close\r\n" if close else ""
    return f"HTTP/1.1 {status}\r\n{close}Content-Length: {len(body) + off}\r\n\r\n".encode() + body


def chunks(body, off=0, close=False, status="200 OK"):
    """The same in three chunks, of which the last one is off."""
    size = len(body) // 3 + 7
    pieces = [body[at:at + size] for at in range(0, len(body), size)]
    sizes = [len(piece) for piece in pieces[:-1]] + [len(piece) + off for piece in pieces[-1:]]
    framed = b"".join(b"%x\r\n%s\r\n" % chunk for chunk in zip(sizes, pieces))
    close = "Connection: close\r\n" if close else ""
    return f"HTTP/1.1 {status}\r\n{close}Transfer-Encoding: chunked\r\n\r\n".encode() + framed + b"0\r\n\r\n"


class Fault(NamedTuple):
    """`make` turns a frame, which is one of the above, and a body into the answer, and what comes behind it."""
    make: object
    wait: float = None  # seconds, before what comes behind is sent by itself


def announced_off(k):
    return Fault(lambda frame, body: (frame(body, k), b""))


def cut(k, wait=None):
    """The answer ends `k` bytes early, and they come behind it."""
    return Fault(lambda frame, body: (frame(body[:-k]), body[-k:]), wait)


def announced_empty(wait=None):
    return Fault(lambda frame, body: (frame(b""), body), wait)


def doubled(wait=None):
    return Fault(lambda frame, body: (frame(body), frame(body)), wait)


def followed_by(stray, wait=None):
    return Fault(lambda frame, body: (frame(body), stray), wait)


def dropped():
    return Fault(lambda frame, body: (b"", b""))


def halves_swapped():
    def make(frame, body):
        whole = frame(body)
        return whole[len(whole) // 2:] + whole[:len(whole) // 2], b""
    return Fault(make)


NONE = Fault(lambda frame, body: (frame(body), b""))


class Service:
    """Files (name to body) below /get/, listed by /list; those `missing` are answered with 404.

    `faults` (name to Fault) may be changed at any time. Each happens `times` times (None: always), and to a request
    that says "Connection: close" only if it is not `spared`. Connections end behind `requests` of them (None: never),
    in the way that `ending` says; behind one that asks for it, if it is `heeded`. Each answer takes `lag` seconds.
    """

    def __init__(self, files, faults=None, frame=lengths, times=None, requests=None, ending=ANNOUNCED, heeded=True,
                 spared=False, lag=0.0, missing=frozenset(), page_size=10_000, page_fault=NONE):
        self.files, self.faults, self.frame, self.times = files, dict(faults or {}), frame, times
        self.requests, self.ending, self.heeded, self.spared = requests, ending, heeded, spared
        self.lag, self.missing = lag, missing
        self.pages, self.page_fault = pages_of(list(files), page_size), page_fault
        self.asked = []  # (connection, name, whether it is to be closed behind this), in order of arrival
        self.counts = collections.Counter()  # by name
        self.faulty = collections.Counter()  # by name: answers that had their fault
        self.excused = set()
        self.server = self.url = None  # when one has it

    def excuses(self):
        """Names that may have suffered from what no client can know; when its connections have ended."""
        talks = self.server.talks
        wait_until(lambda: all(talk.service is not self for talk in list(talks.values())), "its connections ended")
        return self.excused

    def answer_to(self, target, closing, alone):
        """The name asked for (None for a page), the answer, what comes behind it, and how much later."""
        path, _, query = target.partition("?")
        if path == "/list":
            name, body = None, self.pages[unquote(query.removeprefix("next-marker=")) or None]
            fault = self.page_fault
        else:
            name = unquote(path.removeprefix("/get/"))
            body, fault = self.files[name], self.fault_of(name, alone)
        status = "404 Not Found" if name in self.missing else "200 OK"
        frame = lambda body, off=0: self.frame(body, off, closing, status)
        return name, *fault.make(frame, body), fault.wait

    def fault_of(self, name, alone):
        spared = alone and self.spared or self.times is not None and self.faulty[name] >= self.times
        if spared or name not in self.faults:
            return NONE
        self.faulty[name] += 1
        return self.faults[name]


class MisframingServer:
    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = "http://127.0.0.1:%d" % self.socket.getsockname()[1]
        self.services = {}  # by path
        self.numbers = itertools.count()
        self.talks = {}  # thread to talk

    def add(self, service):
        base = f"/s{next(self.numbers)}"
        self.services[base] = service
        service.server, service.url = self, self.url + base
        return service

    def remove(self, service):
        del self.services[service.url.removeprefix(self.url)]

    def __enter__(self):
        self.accepting = threading.Thread(target=self.accept)
        self.accepting.start()
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.accepting.join()
        self.socket.close()
        for thread, talk in list(self.talks.items()):
            talk.abandon()
            thread.join()

    def accept(self):
        for number in itertools.count():
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            talk = Talk(self, connection, number)
            thread = threading.Thread(target=talk.run)
            self.talks[thread] = talk
            thread.start()


class Talk:
    """One connection."""

    def __init__(self, server, connection, number):
        self.server, self.socket, self.number = server, connection, number
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ready = bytearray()  # to be sent
        self.named = []  # names whose answers it holds
        self.service = None
        # Once something came behind an answer: when that, or the last answer since, was sent, and whose those were.
        self.surplus = 0  # answers that nobody asked for
        self.surplus_at = None
        self.suspects = []
        self.excuses = False  # whatever is answered

    def run(self):
        try:
            self.converse()
        except OSError:  # whatever ends a connection
            pass
        finally:
            self.socket.close()
            self.server.talks.pop(threading.current_thread(), None)

    def abandon(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def converse(self):
        requests = b""
        answered = 0
        while True:
            while b"\r\n\r\n" not in requests:
                self.flush()
                more = self.socket.recv(1 << 16)
                if not more:
                    return
                requests += more
            request, _, requests = requests.partition(b"\r\n\r\n")
            answered += 1
            if self.serve(request.decode(), answered):
                return self.end(requests)

    def serve(self, request, answered):
        """True when the connection is to end behind the answer."""
        target = request.split(" ", 2)[1]
        base = target[:target.index("/", 1)]
        service = self.service = self.server.services.get(base)
        if service is None:
            raise OSError("it has been removed")
        alone = "\r\nconnection: close" in request.lower()
        closing = answered == service.requests or alone and service.heeded
        announced = closing and service.ending is ANNOUNCED
        name, whole, behind, wait = service.answer_to(target.removeprefix(base), announced, alone)
        if name is not None:
            service.counts[name] += 1
            service.asked.append((self.number, name, alone))
            self.named.append(name)
        if service.lag:
            self.flush()
            time.sleep(service.lag)
        self.ready += whole
        if behind:
            if wait is not None:
                self.surplus_at = self.surplus_at or time.monotonic()
                self.flush()
                time.sleep(wait)
                self.named += [name] if name else []
            self.ready += behind
            self.surplus += len(ANSWER.findall(behind))
            self.flush(surplus=True)
        return closing

    def flush(self, surplus=False):
        if not self.ready:
            return
        begin = time.monotonic()
        try:
            self.socket.sendall(self.ready)
        finally:  # nobody may be there any more: it was too late
            if surplus or self.surplus_at is not None:
                self.suspects += self.named
                took = time.monotonic() - (self.surplus_at or begin)
                self.excuses = self.excuses or took > max(TOO_LATE, 1.5 * self.service.lag)
                self.surplus_at = begin
                if self.excuses:
                    self.service.excused.update(self.suspects)
        self.ready.clear()
        self.named.clear()

    def end(self, unread):
        self.flush()
        if self.service.ending is RESET and not self.surplus:  # which it might destroy
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        try:
            self.socket.shutdown(socket.SHUT_WR)
            while more := self.socket.recv(1 << 16):
                unread += more
        except OSError:  # the client has reset it, behind what has come
            pass
        owed = [unquote(line.split(b" ")[1].rpartition(b"/")[2].decode()) for line in unread.split(b"\r\n\r\n")[:-1]]
        # One more looks like a request that crosses the usual end of an idle connection.
        if self.surplus > 0 and 0 < len(owed) <= self.surplus + 1:
            self.service.excused.update(self.suspects, owed)


def body_of(name, seed=0, size=None):
    """As long as it happens to be, or `size`; no two names have the same, nor the same beginning or end."""
    rng = random.Random(f"{seed} {name}")
    size = size or rng.choice([12, 40, 100, 100, 300])
    return f"<{name}>{rng.randbytes(size).hex()}</{name}>".encode()
