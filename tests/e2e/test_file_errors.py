"""Files that do not come, or come damaged: each gets its class, the others arrive, nothing is mixed up."""
import zlib

import pytest

from command import ONCE, dead_letters, fetch
from layouts import stored_files
from raw_server import FIN, HANG, RST, RawServer, answer, chunked, page

GOOD = {f"good-{i:03}": f"body of good-{i:03}\n".encode() * (1 + i % 5) for i in range(200)}
RETRIES = 2
TRIES = RETRIES + 1
LIMIT = 1000
BIG = b"x" * 400_000  # more than is read and thrown away for the connection's sake
BODY = b"0123456789" * 10
HEAD = b"HTTP/1.1 200 OK\r\n"

# name: (answer, class, status, attempts, what the error says)
LOST = {
    "not-found": (answer(b"no", "404 Not Found"), "http-status", 404, 1, "404"),
    "gone": (answer(b"", "410 Gone"), "http-status", 410, 1, "410"),
    "forbidden": (answer(BIG, "403 Forbidden"), "http-status", 403, 1, "403"),
    "no-such-method": (answer(b"", "501 Never"), "http-status", 501, 1, "501"),
    "no-content": (answer(b"", "204 No Content"), "http-status", 204, 1, "204"),
    "part": (answer(BODY, "206 Partial Content"), "http-status", 206, 1, "206"),
    "error-for-ever": (answer(b"oops", "500 Oops"), "http-status", 500, TRIES, "500"),
    "busy-for-ever": (answer(b"", "503 Busy"), "http-status", 503, TRIES, "503"),
    "throttled-for-ever": (answer(b"", "429 Slow", "Retry-After: 0"), "http-status", 429, TRIES, "429"),
    "redirect": (answer(b"", "302 Found", "Location: http://elsewhere.example/x"), "redirect", 302, 1,
                 "http://elsewhere.example/x"),
    "redirect-to-nowhere": (answer(b"", "301 Moved"), "redirect", 301, 1, "redirects to ''"),
    "gzip": (answer(BODY, "200 OK", "Content-Encoding: gzip"), "content-encoding", 200, 1, "gzip"),
    "large": (answer(b"x" * (LIMIT + 1)), "too-large", 200, 1, "1001 bytes, --max-file-size is 1000"),
    "huge": (answer(BIG), "too-large", 200, 1, "--max-file-size is 1000"),
    "large-chunked": (chunked(b"x" * (LIMIT + 1), 64), "too-large", 200, 1, "--max-file-size 1000"),
    "huge-chunked": (chunked(BIG, 1 << 15), "too-large", 200, 1, "--max-file-size 1000"),
    "cut": ([answer(BODY)[:-1], FIN], "truncated", 0, TRIES, "ended inside the response"),
    "cut-chunked": ([chunked(BODY)[:-1], FIN], "truncated", 0, TRIES, "ended inside the response"),
    "cut-by-reset": ([answer(BODY)[:-1], RST], "truncated", 0, TRIES, "ended inside the response"),
    "reset": (RST, "reset", 0, TRIES, "ended before the response"),
    "closed": (FIN, "reset", 0, TRIES, "ended before the response"),
    "two-framings": (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                     "bad-framing", 0, TRIES, "Transfer-Encoding"),
    "two-lengths": (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "bad-framing", 0, TRIES,
                    "Content-Length"),
    "negative-length": (HEAD + b"Content-Length: -1\r\n\r\n", "bad-framing", 0, TRIES, "Content-Length"),
    "204-with-length": (answer(b"abc", "204 No Content"), "bad-framing", 0, TRIES, "without a body"),
    "304-with-length": (answer(b"abc", "304 Not Modified"), "bad-framing", 0, TRIES, "without a body"),
    "bad-chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", "bad-framing", 0, TRIES,
                  "chunk"),
    "gzip-coding": (HEAD + b"Transfer-Encoding: gzip\r\n\r\nabc", "bad-framing", 0, TRIES, "Transfer-Encoding"),
    "101": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "bad-framing", 0, TRIES,
            "101"),
    "status-99": (b"HTTP/1.1 99 Odd\r\nContent-Length: 0\r\n\r\n", "bad-framing", 0, TRIES, ""),
    "status-600": (b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n", "bad-framing", 0, TRIES, "status"),
    "HTTP-2": (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "bad-framing", 0, TRIES, ""),
    "no-HTTP": (b"\x15\x03\x01\x00\x02\x02\x16\r\n\r\n", "bad-framing", 0, TRIES, ""),
    "header-flood": (HEAD + b"X: y\r\n" * 101 + b"Content-Length: 0\r\n\r\n", "bad-framing", 0, TRIES, "100 header"),
    "long-header": (HEAD + b"X: " + b"y" * 33_000 + b"\r\nContent-Length: 0\r\n\r\n", "bad-framing", 0, TRIES,
                    "32 KiB"),
}
SILENT = {
    "hang": (HANG, "stalled", 0, TRIES, "--stall-timeout"),
    "hang-inside": ([answer(BODY)[:-1], HANG], "stalled", 0, TRIES, "--stall-timeout"),
}


def with_scripts(server, scripts):
    for name, reply in scripts.items():
        server.on_file(name, *(reply if isinstance(reply, tuple) else (reply,)))
    return server


@pytest.mark.parametrize("depth", [1, 16])
@pytest.mark.parametrize("lost, options", [(LOST, []), (SILENT, ["--stall-timeout", 1])], ids=["answers", "silence"])
def test_each_way_to_fail_is_recorded_and_the_rest_is_stored(lost, options, depth, out):
    names = [name for pair in zip(GOOD, lost) for name in pair] + list(GOOD)[len(lost):]
    with RawServer(GOOD, {None: page(names)}) as server:
        with_scripts(server, {name: reply for name, (reply, *_) in lost.items()})
        done = fetch(server.url, out, "--workers", 2, "--connections", 4, "--pipeline", depth, "--retries", RETRIES,
                     "--max-file-size", LIMIT, *options, code=3).says("failed.jsonl", str(out))
        asked = {name: server.count("/get/" + name) for name in lost}
    assert stored_files(out) == GOOD
    letters = dead_letters(out)
    assert letters.keys() == lost.keys()
    for name, (_, cause, status, attempts, words) in lost.items():
        letter = letters[name]
        assert (letter["class"], letter["status"], letter["attempts"]) == (cause, status, attempts), letter
        assert words in letter["error"], letter
        # A request that was never answered may be sent again without being charged.
        # Bytes that begin no answer are taken for the rest of the answer before, where there is one.
        # One that settles its name is asked for again when a broken answer behind it leaves it unproven.
        often = depth > 1 or cause == "reset" or name == "no-HTTP" or attempts == 1
        assert asked[name] >= attempts and (often or asked[name] == attempts), (name, asked)
    summary = done.summary
    assert (summary["stored"], summary["failed"], summary["rejected"]) == (len(GOOD), len(lost), 0)
    assert summary["retries"] >= sum(attempts - 1 for _, _, _, attempts, _ in lost.values())


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("connections", [1, 8])
def test_connections_that_end_unannounced_between_answers_cost_no_file_an_attempt(depth, connections, out):
    files = {f"f{i:03}": b"%d" % i for i in range(300)}
    with RawServer(files, {None: page(files)}) as server:
        with_scripts(server, {name: [answer(body), FIN] for name, body in files.items()})
        done = fetch(server.url, out, "--workers", 1, "--connections", connections, "--pipeline", depth, "--retries", 0)
    assert stored_files(out) == files and done.summary["retries"] == 0


def test_a_body_without_a_length_never_takes_in_the_next_answer(out):
    files = {f"f{i:02}": b"body %d" % i for i in range(40)}
    with RawServer(files, {None: page(files)}) as server:
        with_scripts(server, {"f03": [b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nbody 3"]})
        fetch(server.url, out, "--workers", 1, "--connections", 1, "--pipeline", 8, "--retries", 4,
              "--stall-timeout", 1, code=3)
    del files["f03"]
    assert stored_files(out) == files and list(dead_letters(out)) == ["f03"]


def test_a_name_that_fails_leaves_no_file_of_an_earlier_run(out):
    files = {"a": b"A", "b": b"B"}
    with RawServer(files, {None: page(files)}) as server:
        fetch(server.url, out, "--workers", 1)
        with_scripts(server, {"a": answer(b"", "404 Not Found")})
        fetch(server.url, out, "--workers", 1, "--restart", code=3)
    assert stored_files(out) == {"b": b"B"}


@pytest.mark.parametrize("retries", [0, 1])
def test_a_thousand_failing_answers_in_a_row_end_the_run_with_their_status(retries, out):
    names = [f"n{i:04}" for i in range(3000)]
    with RawServer({}, {None: page(names)}) as server:
        with_scripts(server, {name: answer(b"", "503 Busy", "Retry-After: 0") for name in names})
        done = fetch(server.url, out, "--workers", 2, "--pipeline", 8, "--batch", 100, "--retries", retries, code=1)
        assert 1000 <= server.gets() < 2900 * (retries + 1)
    done.says("answers in a row had status 503", "same command again")


# Answered badly once (or more), then well.
PASSING = {
    "500": answer(b"oops", "500 Oops"),
    "503": answer(b"x" * 300_000, "503 Busy"),
    "429": answer(b"", "429 Slow", "Retry-After: 1"),
    "408": answer(b"", "408 Timeout", "Connection: close"),
    "reset": RST,
    "closed": FIN,
    "cut": [answer(BODY)[:60], FIN],
    "cut-in-head": [answer(BODY)[:20], FIN],
    "cut-by-reset": [answer(BODY)[:60], RST],
    "hang": [answer(BODY)[:60], HANG],
    "hang-silent": HANG,
    "two-framings": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "stray-before": b"stray\r\n\r\n",
    "swallowing-204": HEAD.replace(b"200 OK", b"204 No Content") + b"Content-Length: 40\r\n\r\n",
    "swallowing-103": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 40\r\n\r\n",
}


@pytest.mark.parametrize("depth", [1, 16])
def test_a_passing_trouble_costs_no_file(depth, out):
    files = {**GOOD, **{name: name.encode() * 5 for name in PASSING}}
    names = sorted(files, key=lambda name: zlib.crc32(name.encode()))
    with RawServer(files, {None: page(names)}) as server:
        with_scripts(server, {name: (reply, answer(files[name])) for name, reply in PASSING.items()})
        done = fetch(server.url, out, "--workers", 2, "--connections", 3, "--pipeline", depth, "--retries", 30,
                     "--stall-timeout", 0.5)
        assert all(server.count("/get/" + name) >= 2 for name in PASSING)
    assert stored_files(out) == files
    assert done.summary["retries"] > 0


# Odd, and right.
ODD = {
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(BODY),
    "HTTP-1.0": [answer(BODY).replace(b"1.1", b"1.0"), FIN],
    "HTTP-1.0-kept": answer(BODY, "200 OK", "Connection: keep-alive").replace(b"1.1", b"1.0"),
    "until-the-end": [HEAD + b"\r\n" + BODY, FIN],
    "closing": [answer(BODY, "200 OK", "Connection: close"), FIN],
    "closing-untrue": answer(BODY, "200 OK", "Connection: close"),
    "chunked": chunked(BODY, 1),
    "trailers": chunked(BODY)[:-2] + b"Content-Length: 3\r\nContent-Encoding: gzip\r\n\r\n",
    "chunk-extensions": HEAD + b"Transfer-Encoding: chunked\r\n\r\n64;a=b\r\n" + BODY + b"\r\n0;c\r\n\r\n",
    "identity": answer(BODY, "200 OK", "Content-Encoding: identity"),
    "lower-case": answer(BODY).replace(b"Content-Length", b"content-length"),
    "no-reason": answer(BODY).replace(b"200 OK", b"200"),
    "byte-by-byte": [bytes([byte]) for byte in answer(BODY)],
    "chunks-byte-by-byte": [bytes([byte]) for byte in chunked(BODY)],
}


@pytest.mark.parametrize("depth", [1, 16])
def test_unusual_but_right_answers_are_taken(depth, out):
    with RawServer(GOOD, {None: page([*ODD, *GOOD])}) as server:
        with_scripts(server, ODD)
        summary = fetch(server.url, out, "--workers", 1, "--connections", 2, "--pipeline", depth,
                        "--allow-unframed", *(ONCE if depth == 1 else [])).summary
    assert stored_files(out) == {**GOOD, **{name: BODY for name in ODD}}
    assert summary["retries"] == 0 or depth > 1


# In one packet with the answer. At depth 3 a whole response would be the next request's, as far as any client can tell.
@pytest.mark.parametrize("depth, stray", [(1, answer(b"not yours")), (1, b"not"), (3, b"more body"), (3, b"0\r\n\r\n")])
def test_bytes_that_nobody_asked_for_end_the_connection(depth, stray, out):
    with RawServer(GOOD, {None: page(["first", *GOOD])}) as server:
        server.on_file("first", answer(BODY) + stray, answer(BODY))
        fetch(server.url, out, "--workers", 1, "--connections", 1, "--pipeline", depth, "--retries", 50)
        first = next(connection for connection, target, _ in server.requests if target == "/get/first")
        asked_there = [target for connection, target, _ in server.requests if connection == first]
    assert stored_files(out) == {**GOOD, "first": BODY}
    assert len(asked_there) <= 2 * depth


def test_a_retry_waits_as_long_as_the_origin_asks(out):
    with RawServer({"a": b"A"}) as server:
        server.on_file("a", answer(b"", "429 Slow", "Retry-After: 2"), answer(b"A"))
        assert fetch(server.url, out, "--workers", 1).summary["seconds"] >= 2


@pytest.mark.parametrize("retries", [0, 4])
def test_a_file_is_tried_as_often_as_told(retries, out):
    with RawServer({}, {None: page(["a"])}) as server:
        server.on_file("a", answer(b"", "500 Oops"))
        fetch(server.url, out, "--workers", 1, "--retries", retries, code=3)
        assert server.count("/get/a") == retries + 1
    assert dead_letters(out)["a"]["attempts"] == retries + 1


def test_names_are_made_harmless_in_logs_and_kept_whole_in_failed_jsonl(out):
    evil = ['\x1b[31mred', 'line\nbreak', 'quote"back\\slash', 'turn\u202earound', 'del\x7f', 'nul\0', 'é']
    with RawServer({}, {None: page(evil)}) as server:
        done = fetch(server.url, out, "--workers", 1, "--log-level", "debug", code=3)
    assert set(dead_letters(out)) == set(evil)
    assert not set(done.err) & set("\x1b\u202e\x7f\0")
    assert "line\nbreak" not in done.err
    raw = (out / ".gigafetch" / "failed.jsonl").read_bytes()
    assert raw.count(b"\n") == len(evil) and b"\x1b" not in raw


def test_what_failed_comes_with_the_next_run_once_it_is_mended(out):
    with RawServer({"a": b"A", "b": b"B"}) as server:
        server.on_file("b", answer(b"", "503 Busy"))
        assert fetch(server.url, out, "--workers", 1, "--retries", 0, code=3).summary["failed"] == 1
        server.scripts.clear()
        fetch(server.url, out, "--workers", 1)
    assert stored_files(out) == {"a": b"A", "b": b"B"}
    assert dead_letters(out) == {}


def test_a_failed_file_leaves_nothing_of_a_large_body_behind(out):
    with RawServer({}, {None: page(["cut", "sub/cut"])}) as server:
        for name in ("cut", "sub/cut"):
            server.on_file(name, [answer(BIG)[:-1], FIN])
        fetch(server.url, out, "--workers", 1, "--retries", 1, code=3)
    assert stored_files(out) == {}
