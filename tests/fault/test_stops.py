"""Rows 3, 4 and 14: after the end of all, by force or on request, only what was in flight is fetched again."""
import os
import signal
import time

import pytest

from catalogue import Origin
from command import ONCE, QUIET, Running, fetch
from oracle import FILES, SINKS, check_counts_add_up, check_whole, files_of, requests_seen, scaled, wait_for_answers
from processes import children, comm

CREDIT = 4  # batches in flight per worker


EACH_SINK = pytest.mark.parametrize("sink", SINKS)


def count_for(sink):
    return FILES if sink == "files" else scaled(5000, FILES)


def slow_origin(files):
    """So slow that fewer files take as long: a run must not end before it is stopped."""
    return Origin("--files", files, "--page-size", 1000, "--lag", 15 * FILES // files, "--count")


@EACH_SINK
def test_after_a_kill_of_all_the_same_command_resumes_where_it_was(sink, out):
    """Row 3: only what was in flight is fetched again, and what was answered and not proven yet."""
    batch, workers, files = 50, 2, count_for(sink)
    with slow_origin(files) as origin:
        args = ["--workers", workers, "--batch", batch, "--layout", "fanout", *SINKS[sink]]
        stops = 0
        for stored_at_least in (files // 10, files * 3 // 10, files // 2):
            with Running("fetch", "--progress", "none", "--connections", 16, *args, origin.url, out) as run:
                wait_for_answers(origin, stored_at_least)
                run.signal(signal.SIGKILL)
                run.ended(code=-signal.SIGKILL)
            stops += 1
        done = fetch(origin.url, out, *args)
        seen = requests_seen(origin)
    assert done.summary["resumed"] is True
    unproven = files // 4  # of less than a second, from an origin that takes many for all
    assert seen["requests"] - files <= stops * (workers * CREDIT * batch + unproven)
    check_whole(out, files_of(files))
    print(f"\n{stops} kills of all, {seen['requests'] - files} extra requests")


@EACH_SINK
def test_after_a_clean_stop_nothing_is_fetched_again(sink, out):
    """Row 4."""
    files = count_for(sink)
    with slow_origin(files) as origin:
        args = ["--workers", 4, "--connections", 16, "--layout", "fanout", *ONCE, *SINKS[sink]]
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            answered = requests_seen(origin)["answered"]
            with Running("fetch", *QUIET, *args, origin.url, out) as run:
                wait_for_answers(origin, answered + files * 3 // 20)
                run.signal(signal_number)
                run.ended(code=4, seconds=10)
        fetch(origin.url, out, *args)
        seen = requests_seen(origin)
    assert (seen["requests"], seen["most"]) == (files, 1)
    check_whole(out, files_of(files))


@pytest.mark.parametrize("sink", scaled(["files"], ["files", "tar"]))
def test_a_stopped_worker_is_killed_and_replaced(sink, out):
    """Row 14."""
    files = scaled(2000, 6000)
    with Origin("--files", files, "--lag", 50, "--page-size", 500) as origin:
        with Running("fetch", *QUIET, "--workers", 2, "--connections", 4, "--layout", "fanout", *SINKS[sink],
                     origin.url, out) as run:
            while len(workers := [pid for pid in children(run.pid) if comm(pid) == "gigafetch:w01"]) == 0:
                time.sleep(0.01)
            time.sleep(1)
            os.kill(workers[0], signal.SIGSTOP)
            done = run.ended(code=0).says("worker 1", "not said a word")
    check_whole(out, files_of(files))
    check_counts_add_up(done.summary)
