#!/usr/bin/python3
"""The embedded origin by itself: answers a second, and what an answer costs it, on one core.

    bench/origin.py BUILD [--also BUILD...] [--runs N] [--seconds S] [--depths 1,16,64] [--json]

BUILD is a build folder with -Dbench=true and --buildtype=release. The origin runs on one core, a
load client (bench/origin.cc) on another. With --also the origins of other builds are measured in
turns with the first, so that drift of the machine meets all. Medians, and the spread. The origin's
CPU is user and system time as /proc/PID/stat has it. For the listing, an answer is a page of
10,000 names, and the figures are those of a name.
"""
import argparse
import json
import os
import statistics
import subprocess

CLIENT_CPU, ORIGIN_CPU = 0, 1
FILES, SIZE, SEED, PAGE_SIZE = 10_000_000, 100, 1, 10_000
CONNECTIONS, LISTING_CONNECTIONS = 64, 4
TICKS = os.sysconf("SC_CLK_TCK")


def pinned(cpu):
    return lambda: os.sched_setaffinity(0, {cpu})


class Origin:
    def __init__(self, build):
        self.process = subprocess.Popen(
            [f"{build}/src/gigafetch", "origin", "--listen", "127.0.0.1:0", "--files", str(FILES),
             "--size", str(SIZE), "--seed", str(SEED), "--page-size", str(PAGE_SIZE)],
            stdout=subprocess.PIPE, text=True, preexec_fn=pinned(ORIGIN_CPU))
        self.port = self.process.stdout.readline().split()[-1].rsplit(":", 1)[1]

    def cpu_seconds(self):
        """User and system time so far."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) / TICKS, int(fields[12]) / TICKS

    def end(self):
        self.process.kill()
        self.process.wait()


def measure(client, build, what, depth, seconds):
    origin = Origin(build)
    connections = CONNECTIONS if what == "files" else LISTING_CONNECTIONS
    try:
        done = subprocess.run(
            [client, origin.port, str(FILES), str(SIZE), str(SEED), str(connections), str(depth),
             str(seconds), what, str(PAGE_SIZE)],
            stdout=subprocess.PIPE, text=True, check=True, preexec_fn=pinned(CLIENT_CPU))
        user, system = origin.cpu_seconds()
    finally:
        origin.end()
    answers, took, client_cpu = map(float, done.stdout.split())
    things = answers * (PAGE_SIZE if what == "pages" else 1)
    return {"per_second": things / took, "user_us": user * 1e6 / things, "system_us": system * 1e6 / things,
            "cpu_us": (user + system) * 1e6 / things, "client_us": client_cpu * 1e6 / things}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("build")
    arguments.add_argument("--also", action="append", default=[], metavar="BUILD")
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=2)
    arguments.add_argument("--depths", default="1,16,64")
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    builds = [os.path.abspath(build) for build in [options.build, *options.also]]
    client = f"{builds[0]}/bench/origin-load"
    cases = [("files", int(depth)) for depth in options.depths.split(",")] + [("pages", 1)]
    rows = []
    for what, depth in cases:
        figures = {build: [] for build in builds}
        for _ in range(options.runs):
            for build in builds:
                figures[build].append(measure(client, build, what, depth, options.seconds))
        for build, runs in figures.items():
            row = {"build": build, "what": what, "depth": depth}
            for name in runs[0]:
                values = [run[name] for run in runs]
                row[name] = {"median": statistics.median(values), "least": min(values), "most": max(values)}
            rows.append(row)
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print("| what | depth | a second (least to most) | CPU us (least to most) | user | system | client | build |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        rate, cpu = row["per_second"], row["cpu_us"]
        print(f"| {'files' if row['what'] == 'files' else 'names listed'} | {row['depth']} "
              f"| {rate['median']:,.0f} ({rate['least']:,.0f} to {rate['most']:,.0f}) "
              f"| {cpu['median']:.4f} ({cpu['least']:.4f} to {cpu['most']:.4f}) "
              f"| {row['user_us']['median']:.4f} | {row['system_us']['median']:.4f} "
              f"| {row['client_us']['median']:.4f} | {os.path.relpath(row['build'])} |")


if __name__ == "__main__":
    main()
