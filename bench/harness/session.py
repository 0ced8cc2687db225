"""Runs contenders in turns and keeps what was measured of each."""
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field

from . import checks
from .contenders import Contender, Job
from .filesystems import FRESH
from .measure import measure, pinned
from .stats import Spread


@dataclass(frozen=True)
class Figures:
    """Of one run that did what it was asked to."""
    files: int
    seconds: float
    cpu: float
    peak_kib: int

    @property
    def cpu_us(self):
        return self.cpu * 1e6 / self.files

    @property
    def rate(self):
        return self.files / self.seconds


@dataclass
class Result:
    contender: Contender
    runs: list = field(default_factory=list)  # Figures
    state: str = "ok"  # or "failed", "not available"
    reason: str = ""
    requests: int | None = None  # as the server counted them
    tree_kib: int | None = None

    @property
    def ok(self):
        return self.state == "ok" and bool(self.runs)

    def spread(self, figure):
        return Spread([getattr(run, figure) for run in self.runs])


class Unavailable(Exception):
    """A contender that cannot be had here."""


class Session:
    def __init__(self, build, servers, fs, client_cpus, origin_cpu, patience=300):
        self.meter = f"{build}/bench/meter"
        self.servers, self.fs, self.patience = servers, fs, patience
        self.client_cpus, self.origin_cpu = client_cpus, origin_cpu

    def _requests_seen(self, server, served):
        return server.requests() if served.kind == "nginx" else server.count()["requests"]

    def _judge(self, contender, job, usage):
        """The number of files done."""
        if contender.group == "gigafetch" and usage.status == 2:
            raise Unavailable(next(iter(usage.errors.splitlines()), "refused"))
        if usage.status != 0:
            last_words = (usage.errors or usage.output).split()[-40:]
            raise checks.Wrong(f"exit {usage.status}: {' '.join(last_words)}")
        return contender.check(job, usage.output)

    def run_once(self, result, inspect):
        """One run. An inspected one is not timed: the server counts, and the memory of the tree is watched."""
        contender = result.contender
        if missing := [program for program in contender.programs if not shutil.which(program)]:
            raise Unavailable(f"no {missing[0]} on this machine")
        served = contender.served
        server = self.servers.serving(served, count=inspect)
        cpus = self.client_cpus[:1] if contender.cores == 1 else sorted({*self.client_cpus, self.origin_cpu})
        with FRESH[self.fs](served.files, served.size) as folder, pinned(self.origin_cpu):
            job = Job(served, server.url, server.port, folder, self.servers)
            counted = inspect and contender.check is not checks.wrk  # that one is given a time, not files
            seen = self._requests_seen(server, served) if counted else 0
            usage = measure(self.meter, contender.command(job), cpus, folder, self.patience, watch_tree=inspect)
            if counted:
                # nginx counts this very question, too.
                result.requests = self._requests_seen(server, served) - seen - (served.kind == "nginx")
            if inspect:
                result.tree_kib = usage.tree_kib
            files = self._judge(contender, job, usage)
        return Figures(files, usage.seconds, usage.cpu, usage.peak_kib)

    def attempt(self, result, inspect):
        """Runs once if nothing has gone wrong before, and notes what went wrong."""
        if result.state != "ok":
            return
        try:
            figures = self.run_once(result, inspect)
            if not inspect:
                result.runs.append(figures)
        except Unavailable as why:
            result.state, result.reason = "not available", str(why)
        except (checks.Wrong, OSError, RuntimeError, subprocess.SubprocessError) as why:
            result.state, result.reason = "failed", str(why)

    def compare(self, contenders, runs):
        """A warm-up of each, then `runs` rounds of all of them: drift of the machine meets everybody."""
        results = [Result(contender) for contender in contenders]
        begin = time.monotonic()
        for turn in range(runs + 1):
            for result in results:
                self.attempt(result, inspect=turn == 0)
                say(f"{'warm-up' if turn == 0 else f'run {turn}/{runs}'}  {time.monotonic() - begin:5.0f} s  "
                    f"{result.contender.name}{'' if result.state == 'ok' else ': ' + result.state}")
        return results


def say(text):
    print(text, file=sys.stderr, flush=True)


def processors():
    """(those of the clients, that of the origin)"""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[:1], allowed[-1]
