#!/usr/bin/python3
"""What safety costs, and how soon a job stops and goes on.

    bench/resilience.py BUILD [durability] [bounds] [ledger] [pace]

durability   the same fetch into tmpfs with --durability process and batch, in turns: files a second, CPU per file
bounds       SIGTERM to exit with 16 busy workers; resume of a job of 1,000,000 done files to its first new request
ledger       CPU of writing the ledger against that of a whole fetch; bytes of ledger per file at 1000 names a page
pace         the share of an origin's known limit that a fetch holds, after its first three seconds

BUILD is a build folder with --buildtype=release. Medians of five runs, fresh folders on tmpfs.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from harness.servers import Origin
from harness.stats import Spread

RUNS = 5


def fetch(gigafetch, url, folder, *options):
    done = subprocess.run([gigafetch, "fetch", "--json", "--progress", "none", "--layout", "fanout",
                           *map(str, options), url, folder], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def durability(gigafetch, folder):
    figures = {}
    with Origin(gigafetch, "--files", 300_000) as origin:
        for run in range(RUNS + 1):  # the first is a warm-up
            for level in ("process", "batch"):
                summary = fetch(gigafetch, origin.url, folder, "--workers", 1, "--pipeline", 16,
                                "--durability", level)
                shutil.rmtree(folder)
                if run > 0:
                    figures.setdefault(level, []).append(summary)
    for level, summaries in figures.items():
        print(f"--durability {level:8} {Spread([s['files_per_second'] for s in summaries]):,.0f} files/s, "
              f"{Spread([s['cpu_us_per_file'] for s in summaries])} us of CPU per file")
    ratios = [b["files_per_second"] / p["files_per_second"] for p, b in zip(figures["process"], figures["batch"])]
    print(f"batch / process        {Spread(ratios)}")


def bounds(gigafetch, folder):
    stops = []
    for _ in range(RUNS):
        with Origin(gigafetch, "--files", 10_000_000, "--lag", 300) as origin:
            run = subprocess.Popen([gigafetch, "fetch", "--progress", "none", "--workers", "16", "--pipeline", "4",
                                    origin.url, folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(2)
            begin = time.monotonic()
            run.send_signal(signal.SIGTERM)
            assert run.wait() == 4
            stops.append(time.monotonic() - begin)
            shutil.rmtree(folder)
    print(f"SIGTERM to exit, 16 workers busy   {Spread(stops)} s")
    done = 1_000_000
    with Origin(gigafetch, "--files", done + 100_000, "--page-size", 1000, "--count") as origin:
        fetch(gigafetch, origin.url, folder, "--limit", done, "--pipeline", 16)
        resumes = []
        for _ in range(RUNS):
            before = origin.count()["requests"]
            begin = time.monotonic()
            run = subprocess.Popen([gigafetch, "fetch", "--progress", "none", "--layout", "fanout", "--rate", "50",
                                    origin.url, folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while origin.count()["requests"] == before:
                time.sleep(0.001)
            resumes.append(time.monotonic() - begin)
            run.send_signal(signal.SIGTERM)
            run.wait()
    print(f"start to first new request, {done:,} files done   {Spread(resumes):.3f} s")


def ledger(gigafetch, folder):
    for workers in (1, 16):
        with Origin(gigafetch, "--files", 300_000, "--page-size", 1000) as origin:
            summary = fetch(gigafetch, origin.url, folder, "--workers", workers, "--pipeline", 16)
            state = f"{folder}/.gigafetch"
            size = sum(os.path.getsize(f"{state}/{file}") for file in os.listdir(state) if file in ("ledger", "pages"))
            print(f"{workers:2} workers: {size} bytes of ledger and archive for {summary['stored']} files, "
                  f"{size / summary['stored']:.3f} a file")
            shutil.rmtree(folder)


def pace(gigafetch, folder):
    limit, seconds = 2000, 15
    for depth in (1, 16):
        with Origin(gigafetch, "--files", limit * 60, "--max-rate", limit, "--count") as origin:
            run = subprocess.Popen([gigafetch, "fetch", "--progress", "none", "--workers", "2", "--pipeline",
                                    str(depth), "--layout", "fanout", origin.url, folder],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(3)
            first, begin = origin.count(), time.monotonic()
            time.sleep(seconds)
            last, took = origin.count(), time.monotonic() - begin
            run.kill()
            run.wait()
            answered = (last["answered"] - first["answered"]) / took
            asked = (last["requests"] - first["requests"]) / took
            print(f"depth {depth:2}: {answered:,.0f} of {limit:,} answers a second, {answered / limit:.1%}; "
                  f"{asked:,.0f} asked for")
            shutil.rmtree(folder, ignore_errors=True)


def main():
    build, *chosen = sys.argv[1:]
    base = tempfile.mkdtemp(prefix="gigafetch-bench-", dir="/dev/shm")
    try:
        for bench in (durability, bounds, ledger, pace):
            if not chosen or bench.__name__ in chosen:
                bench(f"{os.path.abspath(build)}/src/gigafetch", f"{base}/out")
                shutil.rmtree(f"{base}/out", ignore_errors=True)
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
