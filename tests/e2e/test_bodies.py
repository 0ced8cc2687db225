"""What an answer's head says about its body: its coding, its end, its size, and that it is elsewhere."""
import functools
import gzip
import random
import re

import pytest

from codings import CODINGS, brotli, raw_deflate
from command import ONCE, dead_letters, fetch, json_lines, run, verify
from layouts import stored_files
from raw_server import FIN, RawServer, answer, chunked, page
from shards import packed
from test_output_folder import SmallFileSystem

MIB = 1 << 20
BODY = b"a body of some length, " * 40
LARGE = random.Random(3).randbytes(3 * MIB // 2).hex().encode()  # 3 MiB, which packs by half
DEPTHS = pytest.mark.parametrize("depth", [1, 16])
SINKS = pytest.mark.parametrize("sink", ["files", "tar"])


def coded(coding, body, *headers):
    return answer(body, "200 OK", f"Content-Encoding: {coding}", *headers)


def stored(out, sink):
    return stored_files(out) if sink == "files" else packed(out)


@functools.cache
def coded_files():
    """A file for each coding, small, large and in chunks: what they stand for, what is sent, and how."""
    plain, sent, replies = {}, {}, {}
    for coding, encode in CODINGS.items():
        for size, body in {"small": BODY, "large": LARGE, "empty": b""}.items():
            name = f"{coding}-{size}"
            plain[name], sent[name] = body, encode(body)
            reply = coded(coding, sent[name])
            if size == "large":
                reply = chunked(sent[name], 10_000).replace(b"200 OK\r\n", f"200 OK\r\nContent-Encoding: {coding}\r\n".encode(), 1)
            replies[name] = reply
    for name, coding, body in [("raw", "deflate", raw_deflate(LARGE)), ("two", "gzip, br", brotli(gzip.compress(LARGE))),
                               ("members", "gzip", gzip.compress(LARGE[:99]) + gzip.compress(LARGE[99:])),
                               ("odd-case", "GZip", gzip.compress(LARGE))]:
        plain[name], sent[name] = LARGE, body
        replies[name] = coded(coding, body)
    return plain, sent, replies


PLAIN = {f"plain-{i:02}": b"plain %d" % i for i in range(40)}


@pytest.fixture
def coded_server():
    with RawServer(PLAIN) as server:
        server.plain, server.sent, replies = coded_files()
        for name, reply in replies.items():
            server.on_file(name, reply)
        names = [*PLAIN, *server.plain]
        random.Random(5).shuffle(names)
        server.pages = {None: page(names)}
        yield server


@SINKS
@DEPTHS
def test_files_in_a_coding_are_stored_as_they_were_before_it(sink, depth, coded_server, out):
    options = ["--content-encoding", "decode", "--sink", sink, "--pipeline", depth, "--workers", 2]
    done = fetch(coded_server.url, out, *options)
    assert stored(out, sink) == {**PLAIN, **coded_server.plain}
    assert done.summary["bytes"] == sum(map(len, [*PLAIN.values(), *coded_server.plain.values()]))
    assert not (out / ".gigafetch/encodings.jsonl").exists()
    # The option is the job's: verify has no need of it.
    verify(coded_server.url, out, "--content")
    assert run("cat", out, "br-small").out.encode() == BODY
    fetch(coded_server.url, out, *options).says("nothing was left to do")


@SINKS
@DEPTHS
def test_files_in_a_coding_are_kept_as_sent_and_the_coding_is_recorded(sink, depth, coded_server, out):
    done = fetch(coded_server.url, out, "--content-encoding", "keep", "--sink", sink, "--pipeline", depth, "--workers", 2)
    assert stored(out, sink) == {**PLAIN, **coded_server.sent}
    verify(coded_server.url, out, "--content")
    lines = json_lines(out / ".gigafetch/encodings.jsonl")
    assert {line["name"]: line["coding"] for line in lines} == {
        **{name: name.rpartition("-")[0] for name in coded_server.sent if "-" in name},
        "raw": "deflate", "two": "gzip, br", "members": "gzip", "odd-case": "GZip"}
    done.says("encodings.jsonl", "gzip 4", "zstd 3", "'%s/.gigafetch" % out)


def test_a_coding_that_nobody_chose_what_to_do_with_fails_and_names_the_option(coded_server, out):
    fetch(coded_server.url, out, code=3)
    assert stored_files(out) == PLAIN
    for letter in dead_letters(out).values():
        assert letter["class"] == "content-encoding" and "--content-encoding" in letter["error"]


def test_a_coding_that_cannot_be_undone_fails_and_names_the_way_out(out):
    fields = {"compress": "compress", "aws": "gzip, aws-chunked", "many": "gzip, gzip, gzip, gzip", "q": "gzip;q=1"}
    with RawServer(PLAIN, {None: page([*fields, *PLAIN])}) as server:
        for name, field in fields.items():
            server.on_file(name, [coded(field, b"x")])
        fetch(server.url, out, "--content-encoding", "decode", code=3)
        letters = dead_letters(out)
        assert stored_files(out) == PLAIN and letters.keys() == fields.keys()
        for letter in letters.values():
            assert letter["class"] == "content-encoding" and "--content-encoding keep" in letter["error"]
            assert letter["attempts"] == 1


@functools.cache
def damaged(body):
    """Answers, by name, that are not what the body was in their coding."""
    bad = {}
    for coding, encode in CODINGS.items():
        whole = encode(body)
        bad[f"{coding}-cut"] = coded(coding, whole[:-1])
        bad[f"{coding}-half"] = coded(coding, whole[:len(whole) // 2])
        bad[f"{coding}-nothing"] = coded(coding, b"")
        bad[f"{coding}-more"] = coded(coding, whole + b"<html>surplus</html>")
        bad[f"{coding}-not"] = coded(coding, b"<html>no such thing</html>")
    whole = gzip.compress(body)
    bad["two-cut-inside"] = coded("gzip, br", brotli(whole[:-1]))
    bad["gzip-crc"] = coded("gzip", whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    return bad


@pytest.mark.parametrize("size", [len(BODY), len(LARGE)], ids=["small", "large"])
@DEPTHS
def test_a_coded_body_that_is_cut_or_damaged_is_asked_for_again_and_never_stored(depth, size, out):
    body = BODY if size == len(BODY) else LARGE
    bad = damaged(body)
    names = [*bad, *PLAIN]
    random.Random(7).shuffle(names)
    with RawServer(PLAIN, {None: page(names)}) as server:
        for name, reply in bad.items():
            server.on_file(name, [reply])
        options = ["--content-encoding", "decode", "--workers", 1, "--pipeline", depth, "--retries", 1]
        fetch(server.url, out, *options, code=3)
        assert stored_files(out) == PLAIN
        letters = dead_letters(out)
        assert letters.keys() == bad.keys()
        for name, letter in letters.items():
            assert (letter["class"], letter["attempts"]) == ("bad-coding", 2), letter
            assert server.count("/get/" + name) >= 2
        # It passes: the same command tries again.
        for name in bad:
            server.on_file(name, [answer(body)])
        fetch(server.url, out, *options)
    assert stored_files(out) == {**PLAIN, **{name: body for name in bad}}


def test_a_bomb_fails_alone_and_in_bounded_memory(out):
    zeros = bytes(64 * MIB)
    bombs = {f"{coding}-bomb": coded(coding, encode(zeros)) for coding, encode in CODINGS.items()}
    bombs["twice"] = coded("gzip, gzip", gzip.compress(gzip.compress(bytes(256 * MIB), 1)))
    fits = {f"{coding}-fits": coded(coding, encode(zeros[:16 * MIB])) for coding, encode in CODINGS.items()}
    with RawServer(PLAIN, {None: page([*bombs, *fits, *PLAIN])}) as server:
        for name, reply in {**bombs, **fits}.items():
            server.on_file(name, [reply])
        done = fetch(server.url, out, "--content-encoding", "decode", "--workers", 1, code=3)
        assert done.summary["peak_rss_bytes"] < 150 * MIB
        letters = dead_letters(out)
        assert letters.keys() == bombs.keys()
        assert {letter["class"] for letter in letters.values()} == {"too-large"}
        assert all("--content-encoding keep" in letter["error"] for letter in letters.values())
        # Held to --max-file-size as it is decoded, not as it is sent.
        other = out.parent / "limited"
        fetch(server.url, other, "--content-encoding", "decode", "--max-file-size", MIB, code=3)
        letters = dead_letters(other)
        assert letters.keys() == {*bombs, *fits}
        assert {letter["class"] for letter in letters.values()} == {"too-large"}
    assert stored_files(out).keys() == {*fits, *PLAIN}


def test_what_becomes_of_codings_is_part_of_the_job(coded_server, out):
    fetch(coded_server.url, out, code=3)
    run("fetch", "--content-encoding", "keep", coded_server.url, out, code=1).says(
        "--content-encoding was 'refuse', now it is 'keep'", "--restart")
    fetch(coded_server.url, out, "--content-encoding", "keep", "--restart")
    assert (out / ".gigafetch/encodings.jsonl").exists()
    fetch(coded_server.url, out, "--restart", code=3)
    assert not (out / ".gigafetch/encodings.jsonl").exists()


def test_requests_ask_for_no_coding_whatever_is_done_about_one(coded_server, out):
    fetch(coded_server.url, out, "--content-encoding", "decode")
    for _, _, request in coded_server.requests:
        assert re.findall(rb"(?i)\r\naccept-encoding: ([^\r]*)", request) == [b"identity"]


# Delimited by nothing but the connection's end, and cut.
UNFRAMED = {
    "HTTP-1.0": [b"HTTP/1.0 200 OK\r\n\r\n" + BODY[:100], FIN],
    "closing": [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY[:100], FIN],
    "until-the-end": [b"HTTP/1.1 200 OK\r\n\r\n" + BODY[:100], FIN],
    "kept-1.0": [b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n" + BODY[:100], FIN],
    "large": [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + LARGE, FIN],
    "empty": [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", FIN],
}


@SINKS
@DEPTHS
def test_a_body_that_only_the_connections_end_delimits_is_refused_unless_allowed(sink, depth, out):
    with RawServer(PLAIN, {None: page([*UNFRAMED, *PLAIN])}) as server:
        for name, steps in UNFRAMED.items():
            server.on_file(name, steps)
        options = ["--workers", 1, "--pipeline", depth, "--sink", sink]
        fetch(server.url, out, *options, code=3)
        assert stored(out, sink) == PLAIN
        for letter in dead_letters(out).values():
            assert letter["class"] == "bad-framing" and "--allow-unframed" in letter["error"], letter
            assert depth > 1 or letter["attempts"] == 1
        # The same job with the option takes them, and verify needs it too.
        fetch(server.url, out, *options, "--allow-unframed")
        verify(server.url, out, "--content", "--workers", 1, code=3)
        verify(server.url, out, "--content", "--workers", 1, "--allow-unframed")
    assert stored(out, sink) == {**PLAIN, **{name: steps[0].partition(b"\r\n\r\n")[2] for name, steps in UNFRAMED.items()}}


def moved(location, status="302 Found", body=b"it is elsewhere"):
    return answer(body, status, f"Location: {location}")


@SINKS
@DEPTHS
def test_redirects_within_the_origin_are_followed_and_cost_no_attempt(sink, depth, out):
    with RawServer(PLAIN, base="/api") as server:
        chain = {
            "absolute-path": moved("/store/1", "301 Moved"), "relative": moved("../../store/1", "307 Here"),
            "whole-url": moved(server.url.removesuffix("/api") + "/store/1", "308 There"),
            "no-scheme": moved(f"//{server.host}:{server.port}/store/1", "303 See"),
            "fragment": moved("/store/1#part"), "query": moved("/store/2?sig=a%2Fb&x=1#part"),
            "chain": moved("/store/hop1"), "large": moved("/store/large"),
        }
        for name, reply in chain.items():
            server.on_file(name, [reply])
        server.base = ""
        server.on("/store/1", [answer(b"one")]).on("/store/2?sig=a%2Fb&x=1", [answer(b"two")])
        server.on("/store/large", [answer(LARGE)])
        for hop in range(1, 5):
            server.on(f"/store/hop{hop}", [moved(f"hop{hop + 1}" if hop < 4 else "1")])
        server.base = "/api"
        server.pages = {None: page([*chain, *PLAIN])}
        done = fetch(server.url, out, "--workers", 1, "--pipeline", depth, "--sink", sink, "--retries", 0,
                     "--header", "X-Key: k")
        assert stored(out, sink) == {**PLAIN, **{name: b"one" for name in chain}, "query": b"two", "large": LARGE}
        assert done.summary["retries"] == 0
        assert all(b"\r\nX-Key: k\r\n" in request for _, _, request in server.requests)
        assert not any(b"#" in request.split(b"\r\n")[0] for _, _, request in server.requests)
        verify(server.url, out, "--content")


@SINKS
@DEPTHS
def test_what_is_doubted_is_asked_for_alone_wherever_it_has_been_led_to(sink, depth, out):
    """The answer that is doubted is that of the place; what was led there begins at its name again."""
    with RawServer(PLAIN) as server:
        server.on_file("moved", [moved("/store/1")])
        server.on("/store/1", [answer(b"one") + b"stray"], [answer(b"one")])
        server.pages = {None: page(["moved", *PLAIN])}
        fetch(server.url, out, "--workers", 1, "--pipeline", depth, "--sink", sink)
        assert stored(out, sink) == {**PLAIN, "moved": b"one"}
        assert server.count("/store/1") >= 2


def test_redirects_that_lead_away_or_in_circles_are_failures(out):
    with RawServer(PLAIN) as other, RawServer(PLAIN) as server:
        away = {
            "other-host": moved("http://elsewhere.example/x"), "other-port": moved(other.url + "/get/plain-00"),
            "other-scheme": moved(f"https://{server.host}:{server.port}/x"), "no-scheme": moved("//elsewhere.example/x"),
            "credentials": moved(f"http://me:it@{server.host}:{server.port}/get/plain-00"),
            "nowhere": answer(b"", "302 Found"), "choices": moved("/get/plain-00", "300 Many"),
            "proxy": moved("/get/plain-00", "305 Use Proxy"), "not-modified": answer(b"", "304 Not Modified"),
        }
        circles = {"itself": moved("/get/itself"), "to": moved("/get/fro"), "fro": moved("to"), "far": moved("/1"),
                   "away-at-last": moved("/away")}
        for name, reply in {**away, **circles}.items():
            server.on_file(name, [reply])
        server.on("/away", [moved(other.url + "/get/plain-00")])
        for hop in range(1, 6):
            server.on(f"/{hop}", [moved(f"/{hop + 1}")])
        server.on("/6", [answer(b"one hop too far")])
        server.pages = {None: page([*away, *circles, *PLAIN])}
        fetch(server.url, out, "--workers", 1, *ONCE, code=3)
        letters = dead_letters(out)
        assert letters.keys() == {*away, *circles} and stored_files(out) == PLAIN
        assert {letter["class"] for letter in letters.values()} == {"redirect"}
        assert {letter["attempts"] for letter in letters.values()} == {1}
        assert [server.count("/get/" + name) for name in away] == [1] * len(away)
        assert server.count("/get/itself") == 6 and server.count("/5") == 1 and server.count("/6") == 0
        assert not other.requests


def test_a_thousand_redirects_in_a_row_are_no_failing_origin(out):
    names = [f"n{i:04}" for i in range(3000)]
    with RawServer({}, {None: page(names)}) as server:
        for name in names:
            server.on_file(name, [moved("/store/" + name)]).on("/store/" + name, [answer(name.encode())])
        fetch(server.url, out, "--workers", 1, "--connections", 64, "--pipeline", 64)
    assert stored_files(out) == {name: name.encode() for name in names}


def test_a_moved_file_that_fails_at_first_is_asked_for_by_its_name_again(out):
    with RawServer(PLAIN) as server:
        server.on_file("moved", [moved("/old?expires=1")], [moved("/new")])
        server.on("/old?expires=1", [answer(b"", "503 Busy")]).on("/new", [answer(b"here")])
        server.pages = {None: page(["moved", *PLAIN])}
        fetch(server.url, out, "--workers", 1)
    assert stored_files(out) == {**PLAIN, "moved": b"here"}


def free_at(small):
    blocks, size = small.sh(f"stat -f -c '%a %S' {small.at}").split()
    return int(blocks) * int(size)


def sizes_at(small, out):
    """Of the files stored, or members, but those of the state folder."""
    lines = small.sh(f"cd {out} && find . -type f -printf '%P %s\\n'").decode().splitlines()
    return {line.split()[0]: int(line.split()[1]) for line in lines}


ENDLESS = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
           *[(b"10000\r\n" + bytes(1 << 16) + b"\r\n") * 16] * 4000]


@SINKS
def test_an_endless_body_fails_before_the_disk_is_full(sink, tmp_path):
    with RawServer(PLAIN, {None: page(["endless", *PLAIN])}) as server, \
            SmallFileSystem(tmp_path / "small", "size=96m") as small:
        server.on_file("endless", ENDLESS)
        out, state = small.at / "out", tmp_path / "state"
        options = ["--workers", 1, "--sink", sink]
        done = fetch(server.url, out, *options, "--state", state, code=3, prefix=small.prefix)
        [letter] = json_lines(state / "failed.jsonl")
        assert (letter["name"], letter["class"]) == ("endless", "store-error")
        assert "--max-file-size" in letter["error"] and "--min-free" in letter["error"]
        assert done.summary["stored"] == len(PLAIN)
        assert free_at(small) > 90 * MIB  # nothing is left of it
        # Without a line it fills the disk; the message still names the way out.
        fetch(server.url, small.at / "other", *options, "--min-free", 0, "--state", tmp_path / "other", code=1,
              prefix=small.prefix).says("--max-file-size", "'endless'", "free some space")


@SINKS
def test_a_file_larger_than_what_is_free_fails_before_it_is_written(sink, tmp_path):
    size = 60_000_000
    with RawServer({**PLAIN, "fits": LARGE}, {None: page(["huge", *PLAIN, "fits"])}) as server, \
            SmallFileSystem(tmp_path / "small", "size=96m") as small:
        server.on_file("huge", [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(MIB), FIN])
        small.sh(f"head -c 50m /dev/zero > {small.at}/ballast")
        out, state = small.at / "out", tmp_path / "state"
        options = ["--workers", 1, "--sink", sink, "--retries", 1, "--state", state]
        done = fetch(server.url, out, *options, code=3, prefix=small.prefix)
        letters = json_lines(state / "failed.jsonl")
        assert len(letters) == 1, letters
        [letter] = letters
        assert (letter["name"], letter["class"], letter["attempts"]) == ("huge", "store-error", 2)
        assert f"{size} bytes" in letter["error"] and "--min-free" in letter["error"]
        assert done.summary["stored"] == len(PLAIN) + 1
        assert max(sizes_at(small, out).values()) < 2 * len(LARGE)
        # It passes: with room the same command stores it.
        small.sh(f"rm {small.at}/ballast")
        server.on_file("huge", [answer(bytes(size))])
        fetch(server.url, out, *options, prefix=small.prefix)
        assert max(sizes_at(small, out).values()) >= size


def test_a_disk_on_which_no_file_fits_any_more_ends_the_run(tmp_path):
    with RawServer({f"large{i:03}": LARGE for i in range(200)}) as server, \
            SmallFileSystem(tmp_path / "small", "size=96m") as small:
        done = fetch(server.url, small.at / "out", "--workers", 1, "--retries", 0, "--min-free", "64M",
                     "--state", tmp_path / "state", code=1, prefix=small.prefix)
        done.says("free some space", "--min-free", "same command again")
        assert free_at(small) > 60 * MIB
