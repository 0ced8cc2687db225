"""Who is measured, and with what command. To each its own number of files, so that all take about as long."""
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from . import checks
from .servers import SEED, Served, Servers

BASELINES = Path(__file__).parents[1] / "baselines"
WRK_SCRIPT = Path(__file__).parents[1] / "wrk.lua"
CONNECTIONS = 64
DEPTHS = (1, 16, 64)
WORKERS = (1, 2, 4, 16)


@dataclass(frozen=True)
class Job:
    """One run: what a command and a check need to know."""
    served: Served
    url: str
    port: int
    folder: str  # empty, on a fresh file system; the command runs in it
    servers: Servers = field(repr=False)

    @property
    def names(self):
        return self.servers.names(self.served)

    def list_file(self, form):
        return self.servers.list_file(self.served, self.url, form)


@dataclass(frozen=True)
class Contender:
    name: str  # what --only is matched against
    group: str  # "limit", "gigafetch", "peer", "baseline"
    served: Served
    command: Callable[[Job], list]
    check: Callable[[Job, str], int]  # (job, output): the files done; raises checks.Wrong
    note: str = ""
    cores: int = 1
    programs: tuple = ()  # found on PATH, or the contender is not available


def _floor(build, sink, depth, files):
    served = Served("origin", files)
    return Contender(
        f"floor {sink} d{depth}", "limit", served,
        lambda job: [f"{build}/bench/floor", sink, job.port, files, served.size, SEED, CONNECTIONS, depth, job.folder],
        checks.files if sink == "files" else checks.packed, "an epoll loop that trusts the origin")


def _wrk(depth, seconds):
    return Contender(
        f"wrk d{depth}", "limit", Served("origin", 100_000),
        lambda job: ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", WRK_SCRIPT, job.url, "--", depth,
                     *job.names[:depth]],
        checks.wrk, f"stores nothing; the same {depth} files again and again" if depth > 1 else
        "stores nothing; the same file again and again", programs=("wrk",))


SINKS = {
    "files": ([], checks.files),
    "tar": (["--sink", "tar"], checks.shards),
    "tar+zstd1": (["--sink", "tar", "--zstd", "1"], checks.shards),
}


def gigafetch(build, sink, depth, workers, served, name=None, cores=1):
    options, check = SINKS[sink]
    return Contender(
        name or f"gigafetch {sink} d{depth} w{workers} {served.kind}", "gigafetch", served,
        lambda job: [f"{build}/src/gigafetch", "fetch", *options, "--workers", workers, "--connections",
                     CONNECTIONS, "--pipeline", depth, "--progress", "none", "--json", job.url, job.folder],
        check, cores=cores)


def _baseline(name, files, note):
    return Contender(
        f"python {name}", "baseline", Served("origin", files),
        lambda job: [sys.executable, BASELINES / f"{name}.py", job.url, job.folder], checks.files, note)


GIVEN = "given the list of URLs"
# Program, command and note of each, at what was the best of several settings on one core.
PEERS = {
    "wget2": (("wget2",), lambda job: [
        "wget2", "--no-config", "-q", "-nd", "--max-threads=4", "--http2=off", "--robots=off", "--hsts=off",
        "--compression=none", "-i", job.list_file("urls")], "4 threads"),
    "curl -Z": (("curl",), lambda job: [
        "curl", "-q", "-s", "-Z", "--parallel-max", "16", "-K", job.list_file("curl")], "16 at a time"),
    "aria2": (("aria2c",), lambda job: [
        "aria2c", "--no-conf", "-q", "-j", "16", "-x", "1", "-s", "1", "--file-allocation=none",
        "--auto-save-interval=0", "--deferred-input=true", "--summary-interval=0", "--max-download-result=0",
        "--disk-cache=0", "--auto-file-renaming=false", "--allow-overwrite=true", "--show-console-readout=false",
        "--disable-ipv6=true", "--async-dns=false", "-i", job.list_file("aria2")], "16 at a time"),
    "rclone": (("rclone",), lambda job: [
        "rclone", "copy", "-q", "--config", "", "--transfers", "4", "--checkers", "1", "--no-traverse",
        "--no-check-dest", "--ignore-checksum", "--http-no-head", "--http-url", job.url + "/get", "--files-from-raw",
        job.list_file("names"), ":http:", job.folder], "4 at a time, no HEAD"),
    "xargs curl": (("xargs", "curl"), lambda job: [
        "xargs", "-a", job.list_file("urls"), "-P", "2", "-n", "5000", "curl", "-q", "-s", "--remote-name-all"],
        "2 at a time, 5,000 URLs each"),
}


def _peer(name, files):
    programs, command, note = PEERS[name]
    return Contender(name, "peer", Served("origin", files), command, checks.files, f"{GIVEN}; {note}",
                     programs=programs)


def everybody(build, quick, most_files):
    """All of them; those that are compared with each other stand together. No run has more than `most_files` files."""
    def count(whole):
        return max(1, min(most_files, whole // 4 if quick else whole))

    single, real, peer, slow = map(count, (200_000, 60_000, 40_000, 10_000))
    packed = min(most_files, 200_000 if quick else 400_000)  # a start takes some 0.01 us of each

    def ours(sink, depth, workers, kind):
        files = real if kind == "nginx" else single if sink == "files" else packed
        return gigafetch(build, sink, depth, workers, Served(kind, files))

    for depth in DEPTHS:
        yield _floor(build, "files", depth, single)
        yield ours("files", depth, 1, "origin")
        yield _floor(build, "packed", depth, packed)
        yield ours("tar", depth, 1, "origin")
        yield _wrk(depth, 1 if quick else 3)
        yield ours("tar+zstd1", depth, 1, "origin")
    for sink in SINKS:
        for kind in ("origin", "nginx"):
            for depth in DEPTHS:
                for workers in WORKERS:
                    is_new = workers > 1 or kind == "nginx"
                    if is_new and not (quick and workers > 1 and (depth != 16 or workers == 2 or kind == "nginx")):
                        yield ours(sink, depth, workers, kind)
    for name in PEERS:
        yield _peer(name, peer)
    yield _baseline("sync", slow, "requests.Session")
    yield _baseline("threads", slow, "requests, 16 threads")
    yield _baseline("processes", slow, "requests, 4 processes")
    yield _baseline("event_loop", peer, "aiohttp on uvloop, 64 at a time")
    yield _baseline("combo", peer, "2 processes, each aiohttp on uvloop, 64 at a time")
