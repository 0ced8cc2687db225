"""What a run says of itself, and what shapes its requests: summary, progress, filters, headers, token, rate."""
import json
import os
import re
import resource
import signal
import subprocess
import sys

import pytest

import catalogue
from catalogue import Origin
from command import BINARY, ONCE, SUMMARY_TYPES, Running, dead_letters, fetch, run, verify
from layouts import stored_files
from processes import at_work, children, wait_until
from raw_server import HANG, RawServer, answer, page, pages_of

NAMES = [f"{folder}/{i}.{kind}" for folder in "ab" for i in range(10) for kind in ("txt", "jpg")]
FILES = {name: f"body of {name}".encode() for name in NAMES}


@pytest.fixture
def server():
    with RawServer(FILES, pages_of(list(FILES), 7)) as server:
        yield server


def test_json_is_one_object_with_every_key_of_the_contract(server, out):
    done = fetch(server.url, out, "--workers", 2, *ONCE)
    summary = done.summary
    assert {key for key in summary if key not in SUMMARY_TYPES} == set()
    assert (summary["listed"], summary["stored"], summary["pages"], summary["requests"]) == (40, 40, 6, 46)
    assert summary["bytes"] == sum(map(len, FILES.values())) and summary["workers"] == 2 and summary["retries"] == 0
    assert 0 < summary["seconds"] <= done.seconds and 0 <= summary["listing_bound"] <= 1
    assert summary["cpu_seconds"] > 0 and summary["peak_rss_bytes"] > 1 << 20
    assert summary["files_per_second"] == pytest.approx(40 / summary["seconds"], rel=0.5)
    assert summary["cpu_us_per_file"] == pytest.approx(summary["cpu_seconds"] * 1e6 / 40, rel=0.1)
    assert done.err == ""


def test_without_json_the_summary_is_for_people(server, out):
    done = run("fetch", "--workers", 2, *ONCE, server.url, out)
    for words in ("listed 40", "stored 40", "failed 0", "rejected 0", "duplicates 0", "6 pages", "46 requests",
                  "2 workers"):
        assert words in done.out
    assert "{" not in done.out and done.err == ""


def test_the_summary_of_a_run_that_failed_is_printed_too(server, out):
    server.on_list(answer(b"", "404 Not Found"), marker="m14")
    summary = fetch(server.url, out, "--workers", 1, code=1).summary
    assert (summary["pages"], summary["exit"]) == (2, 1)
    # Of the names of the first two pages only those count that were settled by then.
    assert summary["listed"] <= 14
    assert summary["listed"] == sum(summary[key] for key in ("stored", "failed", "rejected", "duplicates"))


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_peak_memory_is_the_runs_own_and_not_that_of_who_started_it(command, server, out):
    fetch(server.url, out, "--workers", 1)
    size = 400 << 20
    parent = "import subprocess, sys; held = bytearray(int(sys.argv[1])); subprocess.run(sys.argv[2:], check=True)"
    argv = [sys.executable, "-c", parent, str(size), BINARY, command, "--json", "--workers", "1", server.url, out]
    summary = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)
    assert summary["peak_rss_bytes"] < size


@pytest.mark.parametrize("workers", [1, 3])
def test_cpu_time_is_that_of_the_whole_process_tree(workers, out):
    with Origin("--files", 20_000) as origin:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        summary = fetch(origin.url, out, "--workers", workers, "--layout", "fanout").summary
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert summary["cpu_seconds"] == pytest.approx(used, rel=0.1, abs=0.05)


@pytest.mark.parametrize("mode, line", [("plain", r"\S+ s  [\d,]+ stored of [\d,]+ listed  [\d,]+ files/s  .*"),
                                        ("json", r'\{"seconds":.*\}')])
def test_progress_goes_to_standard_error_in_the_form_asked_for(mode, line, out):
    with RawServer({f"file{i}": b"x" for i in range(20)}) as server:
        server.on_file("file19", HANG)
        with Running("fetch", "--workers", 1, "--progress", mode, "--json", server.url, out) as run:
            listed = 0
            while listed < 20:  # which may not have happened when the first line is due
                told = run.process.stderr.readline().decode()
                assert re.fullmatch(line + "\n", told), told
                if mode == "plain":
                    break
                progress = json.loads(told)
                listed = progress["listed"]
                assert listed <= 20 and (progress["failed"], progress["rejected"]) == (0, 0)
                assert {"seconds", "listed", "stored", "bytes", "files_per_second"} <= progress.keys()


def test_no_progress_is_no_progress_and_auto_is_quiet_away_from_a_terminal(server, out):
    for mode in ("none", "auto"):
        assert run("fetch", "--workers", 1, "--progress", mode, "--restart", server.url, out).err == ""


def test_the_log_level_is_obeyed(server, out):
    server.on_file("a/0.txt", answer(b"", "404 Not Found"))
    loud = run("fetch", "--workers", 1, "--log-level", "debug", server.url, out, code=3).err
    assert "debug" in loud and "a/0.txt" in loud
    quiet = run("fetch", "--workers", 1, "--log-level", "off", "--restart", server.url, out, code=3).err
    assert quiet.splitlines() == [f"gigafetch: some files failed; '{out}/.gigafetch/failed.jsonl' names them"]


def test_limit_ends_the_listing_after_so_many_names(server, out):
    for limit in (0, 1, 7, 8, 39, 40, 41):
        summary = fetch(server.url, out, "--workers", 2, "--limit", limit).summary
        assert summary["listed"] == summary["stored"] == min(limit, 40)
        assert run("ls", "--limit", limit, server.url).out.split() == list(FILES)[:limit]
    assert set(stored_files(out)) == set(FILES)


@pytest.mark.parametrize("options, kept", [
    (["--include", "a/*"], lambda n: n[0] == "a"), (["--exclude", "*.jpg"], lambda n: n.endswith("txt")),
    (["--include", "*1*", "--include", "b/2.*", "--exclude", "a*"], lambda n: n[0] == "b" and n[2] in "12"),
    (["--include", "[ab]/?.jpg"], lambda n: n.endswith("jpg")), (["--include", "nothing"], lambda n: False),
    (["--exclude", "*"], lambda n: False), (["--include", "*"], lambda n: True),
])
def test_filters_leave_names_out_and_count_them_apart(options, kept, server, out):
    expected = {name: body for name, body in FILES.items() if kept(name)}
    summary = fetch(server.url, out, "--workers", 2, *options, *ONCE).summary
    assert (summary["listed"], summary["filtered"], summary["pages"]) == (len(expected), 40 - len(expected), 6)
    assert server.gets() == len(expected)
    assert stored_files(out) == expected
    assert run("ls", *options, server.url).out.split() == list(expected)
    checked = verify(server.url, out, "--content").summary
    assert (checked["listed"], checked["extra"]) == (len(expected), 0)


def test_a_limit_counts_the_names_that_pass_the_filter(server, out):
    summary = fetch(server.url, out, "--workers", 1, "--include", "b/*", "--limit", 3).summary
    assert (summary["listed"], set(stored_files(out))) == (3, {"b/0.txt", "b/0.jpg", "b/1.txt"})


def test_headers_go_on_every_request(server, out):
    options = ["--header", "X-One: 1", "--header", "x-two:  two words ", "--header", "X-Empty:"]
    fetch(server.url, out, "--workers", 2, "--pipeline", 4, *options)
    run("ls", *options, server.url)
    for _, target, request in server.requests:
        assert request.startswith(b"GET " + target.encode() + b" HTTP/1.1\r\n")
        lines = request.split(b"\r\n")
        for line in (b"Host: 127.0.0.1:%d" % server.port, b"X-One: 1", b"x-two: two words", b"X-Empty: ",
                     b"Accept-Encoding: identity"):
            assert lines.count(line) == 1, request
        assert sum(line.lower().startswith(b"host:") for line in lines) == 1


def test_the_bearer_token_is_sent_and_shown_nowhere(server, tmp_path):
    token = "t0ken-" + "x" * 50 + "._~+/="
    file, out = tmp_path / "token", tmp_path / "out"
    file.write_text(token + "\n")
    file.chmod(0o600)
    server.on_file("a/0.txt", answer(b"", "401 Unauthorized"))
    server.on_file("a/1.txt", HANG)
    options = ["--workers", 2, "--log-level", "debug", "--progress", "json", "--bearer-file", file]
    with Running("fetch", *options, server.url, out) as fetching:
        people = [fetching.pid, *at_work(fetching.pid, 2).values()]
        wait_until(lambda: all(server.count("/get/" + name) for name in NAMES), "all asked for")
        for pid in people:
            for entry in ("cmdline", "environ", "comm"):
                with open(f"/proc/{pid}/{entry}", "rb") as shown:
                    assert token.encode() not in shown.read()
        fetching.signal(signal.SIGTERM)
        fetching.signal(signal.SIGINT)
        done = fetching.ended(code=4)
    assert token not in done.out + done.err
    assert all(f"Authorization: Bearer {token}\r\n".encode() in request for _, _, request in server.requests)
    kept = b"".join(path.read_bytes() for path in (out / ".gigafetch").iterdir())
    assert token.encode() not in kept


def test_a_bearer_file_that_others_can_read_is_told(server, tmp_path):
    file = tmp_path / "token"
    file.write_text("t0ken")
    file.chmod(0o644)
    done = fetch(server.url, tmp_path / "out", "--workers", 1, "--bearer-file", file)
    assert "t0ken" not in done.says("others can read", "chmod 600", str(file)).err


@pytest.mark.parametrize("workers, rate, files", [(1, 40, 70), (4, 40, 70), (16, 20, 40), (2, 2.5, 5)])
@pytest.mark.parametrize("depth", [1, 16])
def test_the_rate_is_a_hard_cap_over_all_workers(workers, rate, files, depth, out):
    with RawServer({f"file{i}": b"x" for i in range(files)}) as server:
        options = ["--workers", workers, "--rate", rate, "--pipeline", depth, "--batch", 1, *ONCE]
        summary = fetch(server.url, out, *options).summary
        assert server.gets() == files
    burst = max(1, rate / 10)  # what src/worker/rate_limit.h allows at a time
    assert files <= rate * summary["seconds"] + burst


def test_retries_count_against_the_rate(out):
    with RawServer({}, {None: page(["a", "b"])}) as server:
        for name in "ab":
            server.on_file(name, answer(b"", "500 Oops"))
        summary = fetch(server.url, out, "--workers", 1, "--rate", 5, "--retries", 4, code=3).summary
        assert server.gets() == 10
    assert 10 <= 5 * summary["seconds"] + 1


def limited(soft, hard=None):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard or soft))


def test_too_few_descriptors_mean_fewer_connections_and_a_warning(out):
    with Origin("--files", 5000) as origin:
        done = fetch(origin.url, out, "--workers", 2, "--connections", 500, preexec_fn=limited(400))
        done.says("400 open descriptors", "80 connections, not 500")
        assert done.summary["stored"] == 5000
        fetch(origin.url, out, "--workers", 2, preexec_fn=limited(256, 4096))
    assert stored_files(out) == catalogue.files(5000)


def test_far_too_few_descriptors_are_told_with_what_to_do(server, out):
    done = fetch(server.url, out, "--workers", 1, code=1, preexec_fn=limited(100))
    done.says("100 open descriptors", "raise the limit", "ulimit")


def test_each_worker_keeps_to_its_connections(out):
    with RawServer({f"file{i}": b"x" for i in range(300)}) as server:
        for i in range(0, 300, 3):
            server.on_file(f"file{i}", HANG)
        with Running("fetch", "--workers", 3, "--connections", 5, "--batch", 20, *ONCE, server.url, out) as fetching:
            wait_until(lambda: server.connections == 16 and server.gets() >= 15, "all connections open")
            wait_until(lambda: sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in children(fetching.pid)), "descriptors")
            assert server.connections == 16


def test_a_result_that_cannot_be_written_is_told(server, out):
    with open("/dev/full", "w") as full:
        listing = subprocess.run([BINARY, "ls", server.url], stdout=full, stderr=subprocess.PIPE)
        assert listing.returncode == 1 and b"standard output" in listing.stderr
        fetching = subprocess.run([BINARY, "fetch", "--json", "--workers", "1", server.url, out], stdout=full,
                                  stderr=subprocess.PIPE)
        assert fetching.returncode == 1 and b"standard output" in fetching.stderr


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2), (0, 1, 2)])
def test_closed_standard_descriptors_never_become_a_files(closed, server, out):
    server.on_file("a/0.txt", answer(b"", "404 Not Found"))
    loud = ["--log-level", "debug", "--progress", "json"]
    done = subprocess.run([BINARY, "fetch", "--workers", "2", *loud, server.url, out],
                          preexec_fn=lambda: [os.close(fd) for fd in closed])
    assert done.returncode == 3
    assert stored_files(out) == {name: body for name, body in FILES.items() if name != "a/0.txt"}
    assert list(dead_letters(out)) == ["a/0.txt"]
    server.scripts.clear()
    assert fetch(server.url, out, "--workers", 1, "--retry-failed").summary["stored"] == 40
