"""An origin that fails at random, closes all the time, or goes away for a while: every file arrives, and right."""
import pytest

import catalogue
from catalogue import Origin
from command import ONCE, QUIET, Running, dead_letters, fetch, verify
from layouts import stored_files
from nginx import Nginx, free_port
from processes import wait_until
from raw_server import RST, RawServer, answer, page
from scale import scaled

FILES = 1500
WHOLE = catalogue.files(FILES, 300)
DEPTHS = pytest.mark.parametrize("depth", [1, 16])
PATIENT = ["--workers", 2, "--connections", 32, "--retries", 1000, "--stall-timeout", 0.3]

FAULTS = {
    "error": ["--error-rate", 0.2], "reset": ["--reset-rate", 0.1], "truncate": ["--truncate-rate", 0.1],
    "close": ["--close-rate", 0.3], "throttle": ["--throttle-rate", 0.1], "stall": ["--stall-rate", 0.01],
    "all": ["--error-rate", 0.05, "--reset-rate", 0.03, "--truncate-rate", 0.03, "--close-rate", 0.05,
            "--throttle-rate", 0.02, "--stall-rate", 0.003],
}


@DEPTHS
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_at_random_cost_no_file(fault, depth, out):
    with Origin("--files", FILES, "--size", 300, "--page-size", 400, *FAULTS[fault]) as origin:
        summary = fetch(origin.url, out, *PATIENT, "--pipeline", depth, "--layout", "fanout").summary
    assert (summary["listed"], summary["stored"], summary["duplicates"]) == (FILES, FILES, 0)
    assert {path[6:]: body for path, body in stored_files(out).items()} == WHOLE
    assert dead_letters(out) == {}
    if fault not in ("close", "reset"):  # the first reset of a fresh connection is charged to nobody
        assert summary["retries"] > 0
    if fault != "close":
        assert summary["requests"] > FILES + summary["pages"]


@DEPTHS
def test_an_origin_that_closes_after_every_answer_loses_none_of_thousands(depth, out):
    files = scaled(6000, 20_000)
    with Origin("--files", files, "--size", 16, "--close-rate", 1) as origin:
        summary = fetch(origin.url, out, "--workers", 2, "--pipeline", depth, "--layout", "fanout", *ONCE).summary
    assert (summary["stored"], summary["failed"], summary["retries"]) == (files, 0, 0)
    stored = {path[6:]: body for path, body in stored_files(out).items()}
    assert stored.keys() == set(catalogue.names(files))
    assert all(body == catalogue.body_of(name, 16) for name, body in stored.items())


@DEPTHS
def test_an_origin_that_goes_away_for_a_while_costs_no_file_and_no_attempt(depth, out):
    port = free_port()
    options = ["--files", FILES, "--size", 300]
    with Origin(*options, "--lag", 1000, port=port):  # so slow that it goes away in the middle, whatever the depth
        fetching = Running("fetch", *QUIET, "--workers", 2, "--connections", 4, "--pipeline", depth, "--retries", 3,
                           f"http://127.0.0.1:{port}", out)
        wait_until(lambda: next(out.glob("file*"), None), "a file stored")
    with fetching:
        fetching.says("cannot connect")
        with Origin(*options, "--lag", 20, port=port):
            assert fetching.ended(code=0).summary["stored"] == FILES
    assert stored_files(out) == WHOLE


def test_an_origin_that_goes_away_while_listing_is_waited_for(out):
    names = catalogue.names(300)
    files = {name: name.encode() for name in names}
    pages = {None: page(names[:100], "2"), "2": page(names[100:200], "3"), "3": page(names[200:])}
    with RawServer(files, pages, port=free_port()) as first:
        first.on_list(answer(b"", "503 Starting"), marker="2")
        fetching = Running("fetch", *QUIET, "--workers", 2, "--retries", 1000, first.url, out)
        wait_until(lambda: first.count("/list?next-marker=2") and first.gets() == 100, "the second page asked for")
    with fetching:
        fetching.says("cannot connect")
        with RawServer(files, pages, port=first.port):
            assert fetching.ended(code=0).summary["stored"] == 300
    assert stored_files(out) == files


def test_the_reason_that_keeps_an_origin_away_is_told_after_the_one_that_was_seen_first(out):
    names = catalogue.names(300)
    files = {name: name.encode() for name in names}
    with RawServer(files, port=free_port()) as first:
        for name in names:
            first.on_file(name, RST)
        fetching = Running("fetch", *QUIET, "--workers", 2, first.url, out)
        fetching.says("ends them unanswered")
    with fetching:
        fetching.says("cannot connect")
        with RawServer(files, port=first.port):
            assert fetching.ended(code=0).summary["stored"] == 300
    assert stored_files(out) == files


def test_many_connections_to_a_server_that_takes_few_cost_no_file(tmp_path_factory, out):
    """nginx drops the idle connections of others when it has none left, without a word."""
    names = [f"n{i}" for i in range(3000)]
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), names, "location /get/ { return 200 $uri; }",
                  ["keepalive_timeout 1s; limit_rate 1m;"])
    config = nginx.config
    nginx.config = lambda ports: config(ports).replace("worker_connections 4096", "worker_connections 40")
    with nginx:
        fetch(nginx.url, out, "--workers", 4, "--connections", 64, "--retries", 1000, "--layout", "flat")
        verify(nginx.url, out, "--content", "--connections", 4)
    assert len(stored_files(out)) == 3000
