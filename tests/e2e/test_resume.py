"""The same command again: it goes on where it was, whatever has become of the listing meanwhile."""

import pytest

from command import ONCE, dead_letters, fetch, verify
from layouts import stored_files
from raw_server import RawServer, answer, page

NAMES = [f"n{i:02}" for i in range(20)]
FILES = {name: name.encode() for name in NAMES}


def paged(names, marker="m"):
    """Two pages."""
    return {None: page(names[:10], marker), marker: page(names[10:])}


def test_a_finished_job_asks_for_nothing_and_says_so(out):
    with RawServer(FILES, paged(NAMES)) as server:
        fetch(server.url, out, "--workers", 1)
        asked = len(server.requests)
        done = fetch(server.url, out, "--workers", 1).says("nothing was left to do")
        assert len(server.requests) == asked
    assert (done.summary["resumed"], done.summary["stored"], done.summary["requests"]) == (True, 20, 0)


def test_what_failed_for_a_passing_reason_is_tried_again_and_what_did_not_only_when_told(out):
    with RawServer(FILES, paged(NAMES)) as server:
        server.on_file("n03", answer(b"", "503 Busy")).on_file("n14", answer(b"", "404 Gone"))
        first = fetch(server.url, out, "--workers", 1, "--retries", 1, code=3)
        assert (first.summary["stored"], first.summary["failed"]) == (18, 2)
        server.scripts.clear()
        second = fetch(server.url, out, "--workers", 1, *ONCE, code=3)
        assert (second.summary["stored"], second.summary["failed"], second.summary["requests"]) == (19, 1, 1)
        assert list(dead_letters(out)) == ["n14"]
        assert fetch(server.url, out, "--workers", 1, code=3).summary["requests"] == 0
        third = fetch(server.url, out, "--workers", 1, "--retry-failed", *ONCE)
        assert (third.summary["stored"], third.summary["failed"], third.summary["requests"]) == (20, 0, 1)
    assert stored_files(out) == FILES and dead_letters(out) == {}


def test_a_limit_that_grows_goes_on_in_the_middle_of_a_page(out):
    with RawServer(FILES, paged(NAMES)) as server:
        for limit in (0, 4, 7, 10, 13, 20, 30):
            summary = fetch(server.url, out, "--workers", 1, "--limit", limit, *ONCE).summary
            assert summary["listed"] == summary["stored"] == min(limit, 20)
        assert server.gets() == 20
        verify(server.url, out)
    assert stored_files(out) == FILES


def test_a_page_that_a_limit_had_cut_and_that_has_changed_is_listed_anew(out):
    with RawServer(FILES, paged(NAMES)) as server:
        fetch(server.url, out, "--workers", 1, "--limit", 5)
        server.files[b"first"] = b"first"
        server.pages[None] = page(["first", *NAMES[:10]], "m")
        summary = fetch(server.url, out, "--workers", 1).summary
        assert (summary["listed"], summary["stored"]) == (21, 21)
        verify(server.url, out)


@pytest.mark.parametrize("change", ["refused", "other names"])
def test_a_listing_that_has_moved_on_is_listed_anew_and_done_pages_are_skipped(change, out):
    with RawServer(FILES, paged(NAMES, "old")) as server:
        fetch(server.url, out, "--workers", 1, "--limit", 13, *ONCE)
        assert server.gets() == 13
        names = NAMES if change == "refused" else [*NAMES[:10], "new", *NAMES[10:]]
        server.files[b"new"] = b"new"
        server.pages = paged(names, "fresh")
        summary = fetch(server.url, out, "--workers", 1, *ONCE).summary
        assert summary["listed"] == summary["stored"] == len(names)
        assert server.gets() <= 13 + len(names) - 10  # the first page is not fetched again
        verify(server.url, out)


def test_verify_reads_what_is_on_disk_also_after_a_limit(out):
    with RawServer(FILES, paged(NAMES)) as server:
        fetch(server.url, out, "--workers", 1, "--limit", 20)
        verify(server.url, out)
        (out / "n07").write_bytes(b"x07")
        verify(server.url, out, code=3).says("not as it was stored")
