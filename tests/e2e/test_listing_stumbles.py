"""A listing that stumbles: what passes is waited out, what is in doubt is compared, and what had been listed is fetched."""
import json
import os
import time

import pytest

from command import Running, dead_letters, fetch, run, verify
from processes import wait_until
from raw_server import HANG, RawServer, answer, page, pages_of

NAMES = [f"n{i:03}" for i in range(160)]
FILES = {name: name.upper().encode() for name in NAMES}
PAGES = pages_of(NAMES, 10)  # 16 of them; the ninth is asked for by m80
NINTH = "m80"

# What the ninth page is, once or for good.
STUMBLES = {
    "HTML": (answer(b"<html>Be right back\x1b[2J</html>"), ["no JSON object", "<html>Be right back\\x1b[2J"]),
    "nothing": (answer(b""), ["empty"]),
    "half a page": (answer(PAGES[NINTH][:40]), ["cut off", "n08"]),
    "an error object": (answer(b'{"error": "busy"}'), ['"FileNames"', "busy"]),
    "204": (answer(b"", "204 No Content"), ["204"]),
    "302": (answer(b"over there", "302 Found", "Location: http://elsewhere.example/list"),
            ["302", "http://elsewhere.example/list", "over there"]),
    "403": (answer(b"not now", "403 Forbidden"), ["403", "not now"]),
    "404": (answer(b"what page?", "404 Not Found"), ["404", "what page?"]),
    "400": (answer(b"what page?", "400 Bad Request"), ["400", "what page?"]),
    "a broken name": (answer(b'{"FileNames": ["n080", x], "NextMarker": "m90"}'), ["a name must be a string"]),
    "gzip": (answer(b"\x1f\x8b", "200 OK", "Content-Encoding: gzip"), ["Content-Encoding 'gzip'"]),
}


def stored(out, names=NAMES):
    return {name: (out / name).read_bytes() for name in names if (out / name).exists()}


@pytest.mark.parametrize("what", STUMBLES)
def test_a_page_that_is_none_once_is_asked_for_again(what, out):
    with RawServer(FILES, PAGES).on_list(STUMBLES[what][0], answer(PAGES[NINTH]), marker=NINTH) as server:
        summary = fetch(server.url, out, "--workers", 2).summary
        assert (summary["listed"], summary["stored"], summary["duplicates"]) == (160, 160, 0)
        assert server.count(f"/list?next-marker={NINTH}") == 2
        assert stored(out) == FILES
        assert run("ls", server.url).out.split() == NAMES


@pytest.mark.parametrize("what", STUMBLES)
def test_when_it_stays_so_what_was_listed_is_fetched_before_the_run_ends(what, out):
    stumble, words = STUMBLES[what]
    with RawServer(FILES, PAGES).on_list(stumble, marker=NINTH) as server:
        for name in NAMES[70:80]:
            server.on_file(name, [0.3, answer(FILES[name])])
        ended = fetch(server.url, out, "--workers", 2, "--retries", 1, code=1)
        ended.says("page ", f"GET /list?next-marker={NINTH}", *words)
        summary = ended.summary
        assert (summary["listed"], summary["stored"]) == (80, 80)
        assert stored(out) == {name: FILES[name] for name in NAMES[:80]}
        assert server.count(f"/list?next-marker={NINTH}") <= 6
        server.scripts.clear()
        gets = server.gets()
        assert fetch(server.url, out, "--workers", 2).summary["stored"] == 160
        assert server.gets() == gets + 80
    assert stored(out) == FILES


class Forgetful(RawServer):
    """Gives another marker for the same page each time. The first that it gives for a page dies when files have been
    asked for since, and stays dead."""

    def __init__(self, *args, status="410 Gone", **more):
        super().__init__(*args, **more)
        self.status, self.given, self.reached, self.dead = status, {}, set(), set()

    def plain_answer(self, target):
        path, _, query = target.partition("?")
        if path != "/list":
            return super().plain_answer(target)
        token = query.removeprefix("next-marker=") or None
        marker = None
        if token is not None:
            marker, gets = self.given[token]
            if marker not in self.reached and self.gets() > gets + 20:
                self.dead.add(token)
                self.reached.add(marker)
            if token in self.dead:
                return answer(b"it has expired", self.status)
            self.reached.add(marker)
        listing = json.loads(self.pages[marker])
        if "NextMarker" in listing:
            fresh = f"t{len(self.given)}"
            self.given[fresh] = (listing["NextMarker"], self.gets())
            listing["NextMarker"] = fresh
        return answer(json.dumps(listing).encode())


# Pages so long that the next one is wanted only when most of this has been fetched.
@pytest.mark.parametrize("status", ["410 Gone", "400 Bad Request"])
@pytest.mark.parametrize("sink", ["files", "tar"])
def test_markers_that_expire_while_files_are_slow(status, sink, out):
    names = [f"n{i:04}" for i in range(1000)]
    with Forgetful({name: b"x" for name in names}, pages_of(names, 200), status=status) as server:
        done = fetch(server.url, out, "--workers", 1, "--connections", 4, "--batch", 10, "--retries", 1, "--sink", sink)
        summary = done.says("read again").summary
        assert (summary["listed"], summary["stored"], summary["pages"]) == (1000, 1000, 5)
        assert server.dead and server.gets() == 1000
        server.reached = set(server.pages)
        verify(server.url, out)


def test_markers_that_are_always_refused_end_the_run_with_what_was_listed(out):
    with RawServer(FILES, PAGES).on_list(answer(b"", "410 Gone"), marker=NINTH) as server:
        done = fetch(server.url, out, "--workers", 2, code=1).says("410", f"GET /list?next-marker={NINTH}")
        assert (done.summary["listed"], done.summary["stored"]) == (80, 80)
        assert len([target for _, target, _ in server.requests if target.startswith("/list")]) < 100


def test_a_listing_that_changed_when_a_marker_is_refused_begins_anew(out):
    """Also while names are leased: those are settled first, and pages that are the same are known."""
    with RawServer(FILES, PAGES) as server:
        changed = [json.dumps({"FileNames": ["new", *NAMES[70:80]], "NextMarker": NINTH}).encode()]
        server.files[b"new"] = b"NEW"
        server.on_list(answer(PAGES["m70"]), answer(changed[0]), marker="m70")
        server.on_list(answer(b"", "410 Gone"), answer(PAGES[NINTH]), marker=NINTH)
        for name in NAMES[60:80]:
            server.on_file(name, [0.2, answer(FILES[name])])
        summary = fetch(server.url, out, "--workers", 2).summary
        assert (summary["listed"], summary["stored"]) == (161, 161)
        assert all(server.count(f"/get/{name}") == 1 for name in NAMES[:70])
    assert stored(out) == FILES and (out / "new").read_bytes() == b"NEW"


BAD_NAMES = {
    "a lone surrogate": (b'"x\\ud83dy"', "x\\ud83dy"),
    "a broken escape": (b'"C:\\dir"', "C:\\dir"),
    "a number": (b"12", "12"),
    "null": (b"null", "null"),
    "an object": (b'{"name": ["x", "]"]}', '{"name": ["x", "]"]}'),
    "a NUL": (b'"a\\u0000b"', "a\0b"),
}
ODD_NAMES = {"a raw E9": b"caf\xe9", "a raw control byte": b"a\x01b", "a raw line feed": b"a\nb"}


def with_item(item):
    names = [json.dumps(name).encode() for name in NAMES]
    return b'{"FileNames": [' + b", ".join(names[:77] + [item] + names[77:]) + b"]}"


@pytest.mark.parametrize("what", BAD_NAMES)
def test_one_name_that_is_none_is_rejected_alone(what, out):
    item, shown = BAD_NAMES[what]
    with RawServer(FILES).on_list(answer(with_item(item))) as server:
        done = fetch(server.url, out, "--workers", 2, code=3)
        assert (done.summary["listed"], done.summary["stored"], done.summary["rejected"]) == (161, 160, 1)
        letters = dead_letters(out)
        assert list(letters) == [shown] and letters[shown]["class"] == "bad-name" and letters[shown]["attempts"] == 0
        assert stored(out) == FILES
        # Nothing of it is fetched, or told, a second time.
        again = fetch(server.url, out, code=3)
        assert (again.summary["rejected"], server.gets()) == (1, 160)
        if what != "a NUL":
            assert run("ls", server.url).says("no name").out.split() == NAMES


@pytest.mark.parametrize("what", ODD_NAMES)
def test_one_name_of_odd_bytes_is_stored_with_them(what, out):
    name = ODD_NAMES[what]
    with RawServer({**FILES, name: b"odd"}, {}).on_list(answer(with_item(b'"' + name + b'"'))) as server:
        assert fetch(server.url, out, "--workers", 2).summary["stored"] == 161
        assert run("cat", out, os.fsdecode(name)).out == "odd"
        verify(server.url, out)


def test_a_page_with_bad_names_that_was_not_done_is_the_same_when_it_is_met_again(out):
    with RawServer(FILES).on_list(answer(with_item(b'7, "x\\ud800", "caf\xe9"'))) as server:
        server.files[b"caf\xe9"] = b"odd"
        server.on_file(NAMES[100], HANG)
        with Running("fetch", "--workers", 1, server.url, out) as running:
            wait_until(lambda: server.gets() >= 161, "all but one name asked for")
            running.signal(15)
            running.process.wait()
        server.scripts.pop(f"/get/{NAMES[100]}")
        done = fetch(server.url, out, "--workers", 1, code=3)
        assert (done.summary["listed"], done.summary["stored"], done.summary["rejected"]) == (163, 161, 2)
        assert set(dead_letters(out)) == {"7", "x\\ud800"}


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect",
                                    "308 Permanent Redirect"])
def test_pages_are_followed_to_where_they_have_moved_within_the_origin(status, out):
    class Moved(RawServer):
        def plain_answer(self, target):
            path, _, query = target.partition("?")
            if path == "/list":
                return answer(b"moved", status, f"Location: /list/{'?' if query else ''}{query}")
            return super().plain_answer(target.replace("/list/", "/list"))

    with Moved(FILES, PAGES) as server:
        assert fetch(server.url, out, "--workers", 2).summary["stored"] == 160
        # What has moved for good is not asked for at its old place again.
        old = [target for _, target, _ in server.requests if target.partition("?")[0] == "/list"]
        assert len(old) == (1 if status[:3] in ("301", "308") else 16)


@pytest.mark.parametrize("location", ["http://elsewhere.example/list", "https://127.0.0.1/list", "/list"])
def test_no_page_is_followed_to_another_host_nor_in_a_circle(location, out):
    with RawServer(FILES) as server:
        server.on_list(answer(b"", "301 Moved", f"Location: {location}"))
        fetch(server.url, out, "--workers", 1, code=1).says("301", location, "GET /list")
        assert server.count("/list") == (6 if location == "/list" else 1)


def test_a_page_that_does_not_begin_is_given_up_after_its_own_time(out):
    with RawServer(FILES).on_list([1.5, answer(page(NAMES))]) as server:
        assert fetch(server.url, out, "--stall-timeout", 0.5).summary["stored"] == 160
    with RawServer(FILES).on_list(HANG, answer(page(NAMES))) as server:
        assert fetch(server.url, out.parent / "b", "--list-timeout", 0.5).summary["stored"] == 160
    with RawServer(FILES).on_list(HANG) as server:
        fetch(server.url, out.parent / "c", "--list-timeout", 0.3, "--retries", 1, code=1).says(
            "no byte came for 0.3 s", "--list-timeout", "GET /list")


def test_a_marker_of_a_megabyte_is_refused_by_name(out):
    with RawServer(FILES, {None: page(NAMES[:5], "m" * (1 << 20))}) as server:
        done = fetch(server.url, out, "--workers", 1, code=1).says("page 1", "marker", "1048576 bytes", "65536")
        assert done.summary["stored"] == 0


def test_pages_of_one_name_with_long_markers_are_looked_ahead_for_within_bounds(out):
    class OneByOne(RawServer):
        def plain_answer(self, target):
            path, _, query = target.partition("?")
            if path != "/list":
                return super().plain_answer(target)
            number = int(query.removeprefix("next-marker=").lstrip("m") or 0)
            return answer(page([f"n{number}"], "m" * 60_000 + str(number + 1)))

    with OneByOne() as server:
        server.answer_to = lambda target: [HANG] if target.startswith("/get/") else [server.plain_answer(target)]
        with Running("fetch", "--workers", 2, server.url, out):
            listed = lambda: len([1 for _, target, _ in server.requests if target.startswith("/list")])
            wait_until(lambda: listed() > 100, "pages asked for ahead")
            before = -1
            while listed() != before:
                before = listed()
                time.sleep(1)
            assert before < 400, "every page holds two markers: they are bounded by 16 MiB"


def resumed_after_two_pages(server, out):
    """A run that stopped when the pages before m100 were done."""
    server.on_list(answer(b"", "500 Oops"), marker="m100")
    assert fetch(server.url, out, "--retries", 0, code=1).summary["stored"] == 100
    server.scripts.clear()


@pytest.mark.parametrize("forgets", ["first page", "empty page", "empty page with marker"])
def test_an_origin_that_forgot_its_markers_between_two_runs_is_found_out(forgets, out):
    class Forgot(RawServer):
        known = None

        def plain_answer(self, target):
            path, _, query = target.partition("?")
            marker = query.removeprefix("next-marker=")
            if path == "/list" and query and self.known is not None and marker not in self.known:
                return answer(self.pages[None] if forgets == "first page" else page([]))
            reply = super().plain_answer(target)
            if path == "/list" and self.known is not None:
                self.known.add(json.loads(reply.partition(b"\r\n\r\n")[2]).get("NextMarker"))
            return reply

    with Forgot(FILES, PAGES) as server:
        resumed_after_two_pages(server, out)
        server.known = {"m90"} if forgets == "empty page with marker" else set()
        gets = server.gets()
        summary = fetch(server.url, out).summary
        assert (summary["listed"], summary["stored"], summary["duplicates"]) == (160, 160, 0)
        assert server.gets() == gets + 60
    assert stored(out) == FILES


def test_a_listing_that_does_end_with_an_empty_page_ends(out):
    pages = dict(PAGES)
    pages["m150"] = page(NAMES[150:], "end")
    pages["end"] = page([])
    with RawServer(FILES, pages) as server:
        server.on_list(answer(b"", "500 Oops"), marker="end")
        assert fetch(server.url, out, "--retries", 0, code=1).summary["stored"] == 160
        server.scripts.clear()
        assert fetch(server.url, out).summary["stored"] == 160
        assert server.gets() == 160


def test_a_page_before_the_frontier_that_changed_but_leads_on_is_no_reason_to_begin_anew(out):
    with RawServer(FILES, PAGES) as server:
        resumed_after_two_pages(server, out)
        server.pages["m90"] = page(NAMES[91:100], "m100")
        assert fetch(server.url, out).summary["stored"] == 160
        assert server.count("/list") == 1 and server.gets() == 160
