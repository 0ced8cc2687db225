"""Rows 1 to 3: kill -9, again and again, of workers, coordinators and whole runs; nothing lost, nothing twice."""
import os
import random
import signal
import time

import pytest

from catalogue import Origin
from command import QUIET, Running, fetch, verify
from oracle import FILES, SINKS, check_counts_add_up, check_whole, files_of, requests_seen, scaled
from processes import children, comm

# A pace at which a job takes some seconds, for something to be killed meanwhile.
JOBS = {"files": scaled(14, 100), "tar": scaled(2, 50), "zstd": scaled(2, 50)}
KILLS = scaled(11, 15)  # of one job
WORKERS = 3
CREDIT = 4  # batches in flight per worker
TOTAL = []


LARGE = 600_000  # bytes: more than is gathered, so written as it comes


def options(rng, sink, number):
    job = {"batch": rng.choice([20, 50, 200]), "depth": rng.choice([1, 16, "auto"]),
           "durability": rng.choice(["process", "batch"]), "page": rng.choice([100, 700, 5000]),
           "sink": sink, "files": FILES, "size": 100, "rate": 5000}
    if sink != "files":
        job.update({"files": scaled(8000, FILES), "rate": scaled(2500, 5000), "shard": rng.choice(["30K", "1M", "1G"])})
        if number % 2 == 1:
            job.update({"files": scaled(60, 120), "size": LARGE, "rate": scaled(20, 30), "batch": 10})
    return job


def command(job, url, out):
    return ["fetch", *QUIET, "--workers", WORKERS, "--connections", 24, "--pipeline", job["depth"],
            "--batch", job["batch"], "--durability", job["durability"], "--rate", job["rate"], *packing(job),
            "--layout", "fanout", url, out]


def packing(job):
    return [*SINKS[job["sink"]], *(["--shard-size", job["shard"]] if "shard" in job else [])]


def victim(rng, run):
    """The whole run one time in seven; else one of its children, the coordinator more often than by chance."""
    if rng.random() < 1 / 7:
        return run.pid
    kids = children(run.pid)
    coordinators = [pid for pid in kids if comm(pid) == "gigafetch:coord"]
    if coordinators and rng.random() < 0.3:
        return coordinators[0]
    return rng.choice(kids) if kids else None


def kill_now_and_then(rng, run, kills):
    """Until the run ends by itself, or enough have been killed. How many were."""
    killed = 0
    while killed < kills and run.process.poll() is None:
        time.sleep(rng.uniform(0.02, 0.3))
        pid = victim(rng, run)
        if pid is None:
            continue
        try:
            os.kill(pid, signal.SIGKILL)
            killed += 1
        except ProcessLookupError:
            continue
    return killed


# Each of the halves in which the jobs are run is a test of its own to meson: most of their time is waiting.
# The packed jobs are a third.
HALF = os.environ.get("GIGAFETCH_KILLS_HALF")
ALL = [(sink, number) for sink, count in JOBS.items() for number in range(count)]
NUMBERS = {None: ALL, "0": ALL[:JOBS["files"]:2], "1": ALL[1:JOBS["files"]:2], "packed": ALL[JOBS["files"]:]}[HALF]


@pytest.mark.parametrize("sink, number", NUMBERS)
def test_no_kill_loses_or_corrupts_a_file(sink, number, out):
    rng = random.Random(number if sink == "files" else f"{sink} {number}")
    job = options(rng, sink, number)
    kills = runs = 0
    with Origin("--files", job["files"], "--size", job["size"], "--page-size", job["page"], "--count") as origin:
        while True:
            runs += 1
            with Running(*command(job, origin.url, out)) as run:
                kills += kill_now_and_then(rng, run, KILLS - kills)
                done = run.ended()
            # 1: five deaths in a row with nothing stored between, which the same command forgives.
            assert done.code in (0, 1, -signal.SIGKILL), f"{done}"
            assert done.code != 1 or "nothing stored in between" in done.err, f"{done}"
            if done.code == 0:
                break
        seen = requests_seen(origin)
        again = fetch(origin.url, out, "--layout", "fanout", "--workers", WORKERS, *packing(job))
        assert requests_seen(origin)["requests"] == seen["requests"]
        if sink != "files":
            verify(origin.url, out)
    files = job["files"]
    check_whole(out, files_of(files, job["size"]))
    check_counts_add_up(done.summary)
    assert (done.summary["stored"], again.summary["stored"], again.summary["requests"]) == (files, files, 0)
    # A death costs what was in flight, and what was answered and not proven yet: that of two seconds, at the most.
    extra, bound = seen["requests"] - files, kills * (WORKERS * CREDIT * job["batch"] + 2 * job["rate"])
    assert seen["names"] == files and extra <= bound
    TOTAL.append(kills)
    print(f"\njob {number} {job}: {kills} kills, {runs} runs, {extra} extra requests of {bound} allowed,"
          f" at most {seen['most']} for one name")


def test_there_were_enough_kills():
    print(f"\n{sum(TOTAL)} kills in {len(TOTAL)} jobs")
    assert len(TOTAL) == len(NUMBERS) and sum(TOTAL) >= 10 * len(TOTAL)
