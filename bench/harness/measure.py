"""Runs a command to its end and says what its whole process tree took."""
import json
import os
import signal
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass

SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Usage:
    status: int  # exit status; 128 + N after signal N
    seconds: float  # until the last process of the tree was gone
    cpu: float  # seconds, user and system, of the whole tree
    peak_kib: int  # memory of the largest process
    tree_kib: int | None  # most memory of all processes together, when it was watched
    output: str
    errors: str


@contextmanager
def pinned(cpu):
    """What is started inside runs on `cpu`, and so does this program meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _proportional_kib(pid):
    """Memory of a process, with shared pages divided among those that share them; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("Pss:")), 0)
    except OSError:
        return 0


def descendants(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = [int(child) for child in file.read().split()]
    except OSError:
        return []
    return children + [grandchild for child in children for grandchild in descendants(child)]


class TreeWatch(threading.Thread):
    """Samples the memory of all that descends from a process."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak_kib, self.ended = pid, 0, threading.Event()

    def run(self):
        while not self.ended.wait(SAMPLE_SECONDS):
            self.peak_kib = max(self.peak_kib, sum(map(_proportional_kib, descendants(self.pid))))


def measure(meter, command, cpus, folder, patience=600, watch_tree=False):
    """Runs `command` on `cpus` in `folder`. Its tree is killed after `patience` seconds: status 137."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as report, tempfile.TemporaryFile("w+") as out, \
            tempfile.TemporaryFile("w+") as err:
        argv = [meter, ",".join(map(str, sorted(cpus))), report.name, *map(str, command)]
        process = subprocess.Popen(argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        watch = TreeWatch(process.pid) if watch_tree else None
        if watch:
            watch.start()
        try:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            print(f"gave up after {patience} s", file=err)
        finally:
            while process.poll() is None:  # killed, or this program was interrupted
                for pid in descendants(process.pid):
                    os.kill(pid, signal.SIGKILL)
                try:
                    process.wait(timeout=0.1)
                except subprocess.TimeoutExpired:
                    pass
        if watch:
            watch.ended.set()
            watch.join()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
        if process.returncode != 0:
            raise RuntimeError(f"the meter failed ({process.returncode}): {texts[1][-500:]}")
        figures = json.load(report)
    return Usage(figures["status"], figures["seconds"], figures["user"] + figures["system"], figures["peak_kib"],
                 watch.peak_kib if watch else None, *texts)
