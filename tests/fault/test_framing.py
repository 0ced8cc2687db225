"""Framing that goes wrong at random, and kills in the middle: never a wrong byte under a name, on disk or in a shard.

Each job is drawn from its number; GIGAFETCH_FRAMING_JOBS ("17,4711") repeats some of them, one at a time.
"""
import collections
import functools
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from command import QUIET, Running
from conftest_shared import remove
from framing_judge import judge
from misframing_server import (ANNOUNCED, LATE, RESET, SILENT, MisframingServer, Service, announced_empty,
                               announced_off, body_of, chunks, cut, doubled, dropped, followed_by, halves_swapped,
                               lengths)
from oracle import SINKS, check_counts_add_up, scaled
from processes import children, comm
from raw_server import answer

JOBS = scaled(40, 10_000)
AT_ONCE = 8  # most of their time is waiting
RUNS = 8  # of a job; one that takes more has been killed too often
LARGE = 80_000  # bytes: more than is gathered, so written as it comes
CHOSEN = os.environ.get("GIGAFETCH_FRAMING_JOBS")


def surplus(rng):
    """More comes than was asked for."""
    wait = rng.choice([None, 0.0, 0.005, LATE])
    return rng.choice([
        lambda: cut(rng.choice([1, 2, 3, 7]), wait),
        lambda: announced_empty(wait),
        lambda: doubled(wait),
        lambda: followed_by(rng.choice([b"x", b"\0", b"stray bytes\r\n\r\n", rng.randbytes(20), b"HTTP/1.1 "]), wait),
        lambda: followed_by(b"\r\n", wait),
        halves_swapped,
    ])()


def shortage(rng):
    """Less comes. Beside the other kind it could make a sum that no client can tell from a right one."""
    return rng.choice([
        lambda: announced_off(rng.choice([1, 2, 3, 17, 100, 700])),
        dropped,
        halves_swapped,
    ])()


def body(rng, number, name):
    """Now and then a large one, and one that looks like an answer."""
    size = rng.choices([None, LARGE], [30, 1])[0]
    whole = body_of(name, number, size)
    return answer(whole) if rng.random() < 0.03 else whole


class Job:
    def __init__(self, number):
        rng = self.rng = random.Random(number)
        self.number = number
        names = [f"n{i:03}" for i in range(rng.choice([3, 20, 60, 150]))]
        files = {name: body(rng, number, name) for name in names}
        self.depth, self.sink = rng.choice([1, 4, 16]), rng.choice(list(SINKS))
        short = rng.random() < 0.3
        # Of those who are kept waiting only a few, or the job is over when the origin has been given up.
        count = rng.choice([1, 2, 4] if short else [1, 2, 4, len(names) // 10, len(names)])
        faulty = rng.sample(names, min(len(names), count))
        faults = {name: (shortage if short else surplus)(rng) for name in faulty}
        requests = rng.choice([None, None, 1, 5])
        ending = rng.choice([ANNOUNCED, ANNOUNCED, SILENT, RESET])
        self.service = Service(files, faults, rng.choice([lengths, chunks]), times=rng.choice([None, None, 1, 2]),
                               requests=requests, ending=ending, heeded=rng.random() < 0.8,
                               spared=rng.random() < 0.4, page_size=rng.choice([7, 50, 1000]))
        if rng.random() < 0.2:
            self.service.missing = set(rng.sample(names, len(names) // 10 + 1))
        # By whose death, when so many answers have been asked for; mostly so slow that something is left to do then.
        self.deaths = sorted((rng.randrange(1, 2 * len(names)), rng.choice(["worker", "worker", "coordinator", "all"]))
                             for _ in range(rng.choice([0, 0, 1, 2, 4])))
        if self.deaths and rng.random() < 0.7:
            self.service.lag = 0.003
        self.settings = ["--workers", rng.choice([1, 1, 2]), "--connections", rng.choice([1, 2, 4]),
                         "--pipeline", self.depth, "--batch", rng.choice([5, 20, 1000]), "--layout", "flat",
                         "--retries", rng.choice([1, 3]), "--stall-timeout", 0.4, "--durability", "process",
                         *SINKS[self.sink]]
        if self.sink != "files" and rng.random() < 0.3:
            self.settings += ["--shard-size", "4K"]
        self.runs = self.kills = 0

    def __str__(self):
        service = self.service
        kept = "kept" if service.requests is None else f"{service.requests} requests on each, then {service.ending}"
        return f"job {self.number}: {len(service.files)} files, {self.sink}, depth {self.depth}, {kept}," \
               f" {len(service.faults)} faulty, {self.runs} runs, {self.kills} kills"

    def asked(self):
        return len(self.service.asked)

    def kill(self, run, who):
        kids = {comm(pid): pid for pid in children(run.pid)}
        found = {"coordinator": ["gigafetch:coord"], "worker": ["gigafetch:w00", "gigafetch:w01"]}.get(who)
        victims = [run.pid] if found is None else [kids[name] for name in found if name in kids]
        if victims:
            try:
                os.kill(self.rng.choice(victims), signal.SIGKILL)
                self.kills += 1
            except ProcessLookupError:
                pass

    def run(self, out):
        self.runs += 1
        with Running("fetch", *QUIET, *self.settings, self.service.url, out) as run:
            while self.deaths and run.process.poll() is None:
                if self.asked() < self.deaths[0][0]:
                    time.sleep(0.002)
                else:
                    self.kill(run, self.deaths.pop(0)[1])
            return run.ended()

    def come_to_an_end(self, folder):
        """How many names are right, failed, and so on."""
        out = folder / "out"
        done = self.run(out)
        # 1: five deaths in a row with nothing stored between, which the same command forgives.
        while done.code in (1, -signal.SIGKILL) and self.runs < RUNS:
            assert done.code != 1 or "nothing stored in between" in done.err, f"{done}"
            done = self.run(out)
        assert done.code in (0, 3), f"{done}"
        check_counts_add_up(done.summary)
        service = self.service
        excused = service.excuses()
        failed = judge(out, service.files, folder, excused)
        assert (done.code == 3) == bool(failed), f"{failed}: {done}"
        assert done.summary["stored"] == len(service.files) - len(failed), f"{done}"
        refused = {name for name, cause in failed.items() if cause == "http-status"}
        assert refused - excused <= service.missing, f"{refused - service.missing} have another's 404: {done}"
        others = failed.keys() - refused - service.faults.keys()
        return {"right": len(service.files) - len(failed), "failed": len(failed) - len(refused),
                "failed through others": len(others), "refused": len(refused), "excused": len(excused),
                "doubted": sum(count > 1 for count in service.counts.values()), "kills": self.kills}


def outcome(number, server, tmp_path):
    """What the job came to; or what is wrong with it, a text."""
    job = Job(number)
    server.add(job.service)
    folder = tmp_path / str(number)
    folder.mkdir()
    try:
        return job.come_to_an_end(folder)
    except AssertionError as error:
        return f"{job}\n{error}"
    finally:
        server.remove(job.service)
        remove(folder)


def test_no_framing_puts_a_wrong_byte_under_a_name(tmp_path):
    numbers = list(map(int, CHOSEN.split(","))) if CHOSEN else range(JOBS)
    sums, bad = collections.Counter(), []
    with MisframingServer() as server, ThreadPoolExecutor(1 if CHOSEN else AT_ONCE) as pool:
        for came_to in pool.map(functools.partial(outcome, server=server, tmp_path=tmp_path), numbers):
            if isinstance(came_to, str):
                bad.append(came_to)
                print(came_to, flush=True)
            else:
                sums.update(came_to)
    print(f"\n{len(numbers)} jobs: " + ", ".join(f"{count} {what}" for what, count in sums.items()))
    assert not bad, f"{len(bad)} of {len(numbers)} jobs, the first of them:\n" + "\n".join(bad)[:6000]
    if not CHOSEN:
        assert sums["failed"] > 0 and sums["doubted"] > sums["failed"] and sums["kills"] > 0
