#!/usr/bin/python3
"""Gigafetch beside the floor: CPU per file and peak memory, one worker on one core.

    bench/floor.py BUILD [--files N] [--runs N] [--depths 1,16] [--memory]

BUILD is a build folder with -Dbench=true and --buildtype=release. The origin runs on one core, the
client on another; every run writes into a fresh folder on tmpfs. Runs alternate, so that drift of
the machine meets both; medians, and the spread, are printed. CPU and memory are taken from outside,
as the kernel accounts them for the whole process tree (wait4), and once more by time -v.
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

CLIENT_CPU, ORIGIN_CPU = 0, 1
SIZE, SEED, CONNECTIONS = 100, 1, 64


def pinned(cpu):
    return lambda: os.sched_setaffinity(0, {cpu})


class Origin:
    def __init__(self, gigafetch, files):
        self.process = subprocess.Popen(
            [gigafetch, "origin", "--listen", "127.0.0.1:0", "--files", str(files), "--size",
             str(SIZE), "--seed", str(SEED)],
            stdout=subprocess.PIPE, text=True, preexec_fn=pinned(ORIGIN_CPU))
        self.url = self.process.stdout.readline().split()[-1]
        self.port = self.url.rsplit(":", 1)[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def measure(command, files, folder):
    """Runs a command; CPU microseconds per file of its tree, and seconds."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {CLIENT_CPU})
        os.dup2(write_end, 1)
        os.execv(command[0], command)
    os.close(write_end)
    with os.fdopen(read_end) as output:
        output.read()
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"failed ({status}): {' '.join(command)}")
    stored = sum(1 for name in os.scandir(folder) if name.is_file())
    if stored != files:
        sys.exit(f"{stored} files stored, not {files}: {' '.join(command)}")
    return (usage.ru_utime + usage.ru_stime) * 1e6 / files


def peak_kib(command, folder):
    """Peak memory of the largest process, as time -v says."""
    done = subprocess.run(["/usr/bin/time", "-v", *command], capture_output=True, text=True,
                          preexec_fn=pinned(CLIENT_CPU), check=True)
    shutil.rmtree(folder)
    return int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", done.stderr)[1])


def spread(values):
    return f"{statistics.median(values):7.2f}  ({min(values):.2f} to {max(values):.2f})"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("build")
    arguments.add_argument("--files", type=int, default=200_000)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--depths", default="1,16")
    arguments.add_argument("--memory", action="store_true",
                           help="peak memory at 100,000 and at 2,000,000 files instead")
    options = arguments.parse_args()
    build = os.path.abspath(options.build)
    gigafetch, floor = f"{build}/src/gigafetch", f"{build}/bench/floor"
    base = tempfile.mkdtemp(prefix="gigafetch-bench-", dir="/dev/shm")
    folder = f"{base}/out"

    def fetch(url, depth):
        return [gigafetch, "fetch", "--workers", "1", "--connections", str(CONNECTIONS),
                "--pipeline", str(depth), "--progress", "none", "--json", url, folder]

    try:
        if options.memory:
            for depth in map(int, options.depths.split(",")):
                peaks = []
                for files in (100_000, 2_000_000):
                    with Origin(gigafetch, files) as origin:
                        peaks.append(peak_kib(fetch(origin.url, depth), folder))
                print(f"depth {depth:3}: peak {peaks[0]} KiB at 100,000 files, {peaks[1]} KiB at "
                      f"2,000,000: ratio {peaks[1] / peaks[0]:.3f}")
            return
        with Origin(gigafetch, options.files) as origin:
            for depth in map(int, options.depths.split(",")):
                contenders = {
                    "floor": [floor, origin.port, str(options.files), str(SIZE), str(SEED),
                              str(CONNECTIONS), str(depth), folder],
                    "gigafetch": fetch(origin.url, depth),
                }
                figures = {name: [] for name in contenders}
                for run in range(options.runs + 1):  # the first is a warm-up
                    for name, command in contenders.items():
                        if name == "floor":
                            os.mkdir(folder)
                        cpu = measure(command, options.files, folder)
                        shutil.rmtree(folder)
                        if run > 0:
                            figures[name].append(cpu)
                for name, values in figures.items():
                    print(f"depth {depth:3}  {name:10} {spread(values)} us of CPU per file")
                ratios = [g / f for g, f in zip(figures["gigafetch"], figures["floor"])]
                print(f"depth {depth:3}  ratio      {spread(ratios)}")
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
