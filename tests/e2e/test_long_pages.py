"""Pages too long to be held: read as they come, recorded in pieces, resumed within."""
import json
import signal

import pytest

from command import Running, dead_letters, fetch, run, verify
from processes import wait_until
from raw_server import FIN, RawServer, answer, chunked

PACKED = ["--sink", "tar", "--workers", 2, "--batch", 100, "--pipeline", 8]


def names_of(megabytes):
    """Some 330 names a megabyte."""
    return [f"{i:06}-" + "x" * 2990 for i in range(megabytes * 333)]


NAMES = names_of(6)
FILES = {name: name[:6].encode() for name in NAMES}


def listing(names, marker=None, marker_first=False):
    items = [("FileNames", names)]
    if marker is not None:
        items.insert(0 if marker_first else 1, ("NextMarker", marker))
    return json.dumps(dict(items)).encode()


def list_requests(server):
    return [target for _, target, _ in server.requests if target.startswith("/list")]


def gets(server):
    return {name: server.count(f"/get/{name}") for name in NAMES}


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("marker_first", [False, True])
def test_a_long_page_is_recorded_in_pieces(framing, marker_first, out):
    body = listing(NAMES, "m", marker_first)
    with RawServer({**FILES, "last": b"last"}, {None: body, "m": listing(["last"])}) as server:
        if framing == "chunks":
            server.on_list(chunked(body, 1 << 15))
        summary = fetch(server.url, out, *PACKED).summary
        assert (summary["listed"], summary["stored"], summary["duplicates"]) == (len(NAMES) + 1, len(NAMES) + 1, 0)
        assert 6 <= summary["pages"] <= 9
        assert list_requests(server) == ["/list", "/list?next-marker=m"]
        assert run("cat", out, NAMES[1000]).out == NAMES[1000][:6]
        verify(server.url, out)
        verify(server.url, out, "--content")
        assert run("ls", server.url).out.split() == [*NAMES, "last"]


def test_one_page_of_28_megabytes_in_little_memory(out):
    """Of names, the coordinator holds 4 MiB ahead and a piece of 1 MiB more, and for each worker 8 MiB that wait for
    proof and a batch beyond, and four batches of 256 KiB; and whole pieces of all that. With one worker that is far
    from the page, some 14 MiB; each further one adds 9 to 14."""
    names = names_of(28)
    options = ["--sink", "tar", "--workers", 1, "--batch", 100, "--pipeline", 8]
    with RawServer({name: b"x" for name in names}, {None: listing(names)}) as server:
        summary = fetch(server.url, out, *options).summary
        assert summary["stored"] == len(names)
        with RawServer({name: b"x" for name in names[:50]}) as small:
            base = fetch(small.url, out.parent / "small", *options).summary["peak_rss_bytes"]
        assert summary["peak_rss_bytes"] < base + (20 << 20)


def test_a_run_that_dies_within_a_long_page_goes_on_within_it(out):
    with RawServer({**FILES, "last": b"last"}, {None: listing(NAMES, "m"), "m": listing(["last"])}) as server:
        # Slow enough to die within the page. One request at a time: then answers are proven, and recorded, soon.
        server.lag = 0.004
        with Running("fetch", "--sink", "tar", "--workers", 2, "--batch", 100, "--pipeline", 1, "--connections", 1,
                     server.url, out) as running:
            wait_until(lambda: run("cat", out, NAMES[0], code=None).code == 0, "some of it recorded")
            running.signal(signal.SIGKILL)
            running.process.wait()
        server.lag = 0.0
        before = server.gets()
        assert server.count("/list") == 1
        summary = fetch(server.url, out, *PACKED).summary
        assert (summary["listed"], summary["stored"]) == (len(NAMES) + 1, len(NAMES) + 1)
        assert server.gets() - before < len(NAMES)
        # Pieces that were open and the rest of the page are read in one go.
        assert server.count("/list") == 2
        verify(server.url, out)


def test_a_long_page_that_breaks_off_again_and_again_is_read_to_its_end(out):
    whole = answer(listing(NAMES))
    with RawServer(FILES) as server:
        server.on_list(*[[whole[:len(whole) * part // 8], FIN] for part in range(2, 8)], whole)
        summary = fetch(server.url, out, *PACKED, "--retries", 2).summary
        assert (summary["listed"], summary["stored"]) == (len(NAMES), len(NAMES))
        assert set(gets(server).values()) == {1}


def test_a_long_page_that_stays_broken_ends_the_run_with_what_was_listed(out):
    body = listing(NAMES)
    with RawServer(FILES).on_list(answer(body[:5 << 20])) as server:
        done = fetch(server.url, out, *PACKED, "--retries", 1, code=1).says("page 1 (GET /list)", "cut off", "2 tries")
        assert done.summary["listed"] == done.summary["stored"] >= 1000
        server.scripts.clear()
        server.pages = {None: body}
        assert fetch(server.url, out, *PACKED).summary["stored"] == len(NAMES)
        assert set(gets(server).values()) == {1}


def test_a_limit_within_a_long_page_and_a_larger_one(out):
    with RawServer(FILES, {None: listing(NAMES)}) as server:
        for limit in (500, 501, 1500):
            assert fetch(server.url, out, *PACKED, "--limit", limit).summary["stored"] == limit
        assert fetch(server.url, out, *PACKED).summary["stored"] == len(NAMES)
        assert set(gets(server).values()) == {1}


def test_a_filter_counts_once_what_it_leaves_out_of_a_long_page(out):
    with RawServer(FILES, {None: listing(NAMES)}) as server:
        options = [*PACKED, "--exclude", "*[13579]-*"]
        assert fetch(server.url, out, *options, "--limit", 700).summary["stored"] == 700
        summary = fetch(server.url, out, *options).summary
        assert (summary["listed"], summary["stored"], summary["filtered"]) == (999, 999, 999)


def test_a_long_page_that_changed_between_two_runs(out):
    with RawServer({**FILES, "new": b"new"}, {None: listing(NAMES)}) as server:
        assert fetch(server.url, out, *PACKED, "--limit", 1000).summary["stored"] == 1000
        server.pages = {None: listing([NAMES[0], "new", *NAMES[1:]])}
        done = fetch(server.url, out, *PACKED).says("changed", "begins anew")
        assert done.summary["stored"] == len(NAMES) + 1
        verify(server.url, out)


def test_bad_names_on_a_long_page_are_rejected_alone(out):
    items = [json.dumps(name).encode() for name in NAMES]
    items[1000:1000] = [b"null", b"17", b'"x\\ud800"', b'"caf\xe9"', b'"' + b"y" * 5000 + b'"', b'"' + b"z" * 300_000 + b'"']
    body = b'{"FileNames": [' + b",\n".join(items) + b"]}"
    with RawServer(FILES, {None: body}) as server:
        server.files[b"caf\xe9"] = b"odd"
        summary = fetch(server.url, out, *PACKED, code=3).summary
        assert (summary["listed"], summary["stored"], summary["rejected"]) == (len(NAMES) + 6, len(NAMES) + 1, 5)
        classes = sorted(letter["class"] for letter in dead_letters(out).values())
        assert classes == ["bad-name"] * 3 + ["name-too-long"] * 2


def test_a_page_over_the_limit_names_the_option(out):
    with RawServer(FILES, {None: listing(NAMES)}) as server:
        for reply in (answer(listing(NAMES)), chunked(listing(NAMES), 1 << 15)):
            server.on_list(reply)
            fetch(server.url, out, *PACKED, "--max-page-size", "5M", code=1).says("--max-page-size", "5242880 bytes")
        assert fetch(server.url, out, *PACKED).summary["stored"] == len(NAMES)


def test_a_marker_that_dies_while_a_long_page_is_read(out):
    """The page breaks off, and the marker that asked for it is gone: the listing is read again up to there."""
    names = [f"f{i}" for i in range(50)]
    whole = answer(listing(NAMES))
    first = [answer(listing(names, marker)) for marker in ("old", "new")]
    with RawServer({**FILES, **{name: b"x" for name in names}}) as server:
        server.on_list(*first)
        server.on_list([whole[:len(whole) // 2], FIN], answer(b"", "410 Gone"), marker="old")
        server.on_list(whole, marker="new")
        summary = fetch(server.url, out, *PACKED).summary
        assert (summary["listed"], summary["stored"]) == (len(NAMES) + 50, len(NAMES) + 50)
        assert set(gets(server).values()) == {1}
