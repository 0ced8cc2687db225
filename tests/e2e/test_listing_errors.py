"""A listing that cannot be read ends the run with exit 1, a text that says where and what, and nothing lost."""
import gzip
import json

import pytest

from command import Running, fetch, run
from nginx import free_port
from processes import wait_until
from raw_server import FIN, HANG, RST, RawServer, answer, chunked, page, pages_of

FILES = {name: name.upper().encode() for name in "abcdef"}
TOO_BIG = b'{"FileNames": ["' + b"a" * (16 << 20) + b'"]}'
FRAMED_TWICE = (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"0\r\n\r\n")


def listing(text):
    return answer(text if isinstance(text, bytes) else json.dumps(text).encode())


# What is answered to GET /list, and what the error must say.
REFUSED = {
    "404": (answer(b"", "404 Not Found"), ["404", "GET /list", "URL", "--api"]),
    "401": (answer(b"", "401 Unauthorized"), ["401", "GET /list", "--bearer-file"]),
    "403": (answer(b"", "403 Forbidden"), ["403", "GET /list", "--bearer-file"]),
    "204": (answer(b"", "204 No Content"), ["204", "GET /list"]),
    "redirect": (answer(b"", "302 Found", "Location: http://elsewhere.example/list"),
                 ["302", "redirect", "http://elsewhere.example/list", "give the URL"]),
    "gzip": (answer(gzip.compress(page("ab")), "200 OK", "Content-Encoding: gzip"),
             ["GET /list", "Content-Encoding 'gzip'"]),
    "HTML": (answer(b"<html>It works!</html>"), ["page 1", "GET /list", "no JSON", "byte 0", "It works!", "URL"]),
    "nothing": (answer(b""), ["page 1", "is empty"]),
    "JSON cut in a name": (listing(b'{"FileNames": ["a", "b'), ["page 1", "cut off at byte 22"]),
    "JSON cut behind the names": (listing(b'{"FileNames": ["a", "b"]'), ["page 1", "cut off at byte 24"]),
    "JSON cut behind the marker": (listing(b'{"FileNames": ["a"], "NextMarker": "m"'),
                                   ["page 1", "cut off at byte 38"]),
    "JSON twice": (listing(b'{"FileNames": ["a"]}{"FileNames": ["b"]}'), ["page 1", "byte 20"]),
    "not UTF-8": (listing(b'{"FileNames": ["a"], "\xff"}'), ["page 1", "byte 24"]),
    "a list": (listing(["a"]), ["page 1", "no JSON object"]),
    "no names": (listing({"Files": ["a"]}), ["page 1", 'no "FileNames"', '"Files"']),
    "names that are a string": (listing({"FileNames": "a"}), ["page 1", "FileNames", "list of strings"]),
    "a name that is no JSON": (listing(b'{"FileNames": ["a", x]}'), ["page 1", "a name", "byte 21"]),
    "a marker that is a number": (listing({"FileNames": ["a"], "NextMarker": 5}),
                                  ["page 1", "marker", "must be a string", "byte 35"]),
    "a marker that is a list": (listing({"FileNames": ["a"], "NextMarker": ["m"]}),
                                ["page 1", "marker", "must be a string"]),
    "a marker that is true": (listing({"FileNames": ["a"], "NextMarker": True}),
                              ["page 1", "marker", "must be a string"]),
    "over --max-page-size": (answer(TOO_BIG), ["page 1", "GET /list", "16777216 bytes"]),
    "over --max-page-size in chunks": (chunked(TOO_BIG, 1 << 20), ["page 1", "GET /list", "16777216 bytes"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_listing_that_cannot_be_right_is_refused_at_once(what, out):
    reply, words = REFUSED[what]
    with RawServer(FILES).on_list(reply) as server:
        limit = ["--max-page-size", "16M"]
        fetched = fetch(server.url, out, "--workers", 1, *limit, code=1).says(*words)
        assert fetched.summary["stored"] == 0
        listed = run("ls", *limit, server.url, code=1).says(*words)
        assert listed.out == ""
        assert server.count("/list") == 2 and server.gets() == 0


# Answers worth another try.
PASSING = {
    "500": (answer(b"", "500 Oops"), ["500", "page 1", "GET /list", "2 tries"]),
    "503": (answer(b"", "503 Busy"), ["503", "page 1", "GET /list", "2 tries"]),
    "429": (answer(b"", "429 Slow"), ["429", "page 1", "GET /list", "2 tries"]),
    "an answer that ends early": ([listing({"FileNames": ["a"]})[:-5], FIN], ["connection ended", "GET /list"]),
    "a reset": (RST, ["connection ended", "GET /list", "2 tries"]),
    "silence": (HANG, ["no byte came for 1 s", "GET /list", "--list-timeout", "2 tries"]),
    "two framings": (FRAMED_TWICE, ["GET /list", "cannot be read", "Transfer-Encoding"]),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ["GET /list", "cannot be read", "HTTP"]),
}


@pytest.mark.parametrize("what", PASSING)
def test_a_passing_trouble_of_the_listing_is_tried_again_and_then_named(what, out):
    reply, words = PASSING[what]
    options = ["--workers", 1, *(["--list-timeout", 1] if what == "silence" else [])]
    with RawServer(FILES, port=free_port()).on_list(reply) as server:
        fetch(server.url, out, "--retries", 1, *options, code=1).says(*words)
        assert server.count("/list") == 2
    with RawServer(FILES, port=server.port) as mended:
        mended.on_list(reply, answer(mended.pages[None]))
        assert fetch(mended.url, out, *options).summary["stored"] == len(FILES)


@pytest.mark.parametrize("markers", ["aa", "aba", "abcb", "abcdabcd", "abcdefgg"])
def test_a_listing_that_goes_in_a_circle_is_found_out(markers, out):
    names = iter(FILES)
    pages = {marker: page([next(names)]) for marker in [None, *dict.fromkeys(markers[:5])]}
    for marker, following in zip([None, *markers], markers):
        pages[marker] = page([], following)
    pages[markers[-1]] = page([], markers[markers.index(markers[-1]) + 1])
    with RawServer(FILES, pages) as server:
        fetch(server.url, out, "--workers", 2, code=1).says("marker", "seen before", "GET /list?next-marker=")
        run("ls", server.url, code=1).says("marker", "seen before")
        assert len(server.requests) < 100


def test_empty_pages_without_end_are_given_up(out):
    class Endless(RawServer):
        def plain_answer(self, target):
            return answer(page([], f"m{len(self.requests)}"))

    with Endless() as server:
        run("ls", server.url, code=1).says("10000 pages in a row were empty")
        assert 10_000 <= len(server.requests) <= 10_001


def test_what_a_broken_page_follows_is_not_lost_when_the_listing_is_mended(out):
    pages = {None: page("abc", "2"), "2": page("def")}
    with RawServer(FILES, pages) as server:
        server.on_list(answer(b'{"FileNames": ["d", "e"'), marker="2")
        broken = fetch(server.url, out, "--workers", 2, code=1).says("page 2", "GET /list?next-marker=2", "cut off")
        assert broken.summary["listed"] == broken.summary["stored"] <= 3
        assert not (out / "d").exists()
        server.scripts.clear()
        assert fetch(server.url, out, "--workers", 2).summary["stored"] == 6
    assert {name: (out / name).read_bytes() for name in FILES} == FILES


@pytest.mark.parametrize("last", [
    b'{"FileNames":["a"]}', b'{"FileNames":["a"],"NextMarker":null}', b'{"FileNames":["a"],"NextMarker":""}',
    b' {"More": [1, {}], "FileNames" : [ "a" ] }\n',
])
def test_the_last_page_names_no_further_one(last, out):
    with RawServer(FILES).on_list(answer(last)) as server:
        assert fetch(server.url, out, "--workers", 1).summary["stored"] == 1
        assert server.count("/list") == 1


@pytest.mark.parametrize("key", ["NextMarker", "NextFile"])
def test_a_marker_is_sent_back_as_it_was_whatever_bytes_it_holds(key, out):
    marker = 'x +/=&?#%41"\\ü\n'
    with RawServer(FILES, {None: page("abc", marker, key), marker: page("def")}) as server:
        assert fetch(server.url, out, "--workers", 1).summary["pages"] == 2
        assert server.requests[-1][1] != server.requests[0][1]
        assert {name: (out / name).read_bytes() for name in FILES} == FILES
        assert "/list?next-marker=x%20%2B%2F%3D%26%3F%23%2541%22%5C%C3%BC%0A" in server.counts


def test_an_end_that_comes_at_once_leaves_at_once(out):
    with RawServer(FILES).on_list(answer(b"", "404 Not Found")) as server:
        slow = [seconds for _ in range(40)  # 5 s is what the children have to leave in
                if (seconds := fetch(server.url, out, "--workers", 4, code=1).seconds) >= 5]
    assert not slow, "a child stayed until it was killed"


def test_pages_are_asked_for_ahead_of_the_files(out):
    names = [f"n{i}" for i in range(40)]
    with RawServer({name: b"x" for name in names}, pages_of(names, 10)) as server:
        for name in names:
            server.on_file(name, HANG)
        with Running("fetch", "--workers", 2, server.url, out):
            wait_until(lambda: server.count("/list?next-marker=m30"), "the last page asked for")
