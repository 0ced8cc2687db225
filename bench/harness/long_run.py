"""A job that takes hours, in one run or several: what it took, and its memory and disk over time."""
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .measure import descendants

SAMPLE_SECONDS = 5


@dataclass
class Leg:
    """One run of the job. Without a summary when it was killed."""
    command: str  # "fetch" or "verify"
    begun: float
    before: float  # seconds that the legs before it took
    seconds: float = 0.0
    exit: int | None = None
    summary: dict | None = None
    peaks_kib: dict = field(default_factory=dict)  # process name: most memory it ever had
    disk: int = 0  # bytes, at its end


class Book:
    """What is known of the job, in a folder, so that it outlives this program."""

    def __init__(self, folder, job):
        """`job`: what must be the same in every run of it. Raises ValueError when it is not."""
        self.path, self.samples_path = Path(folder) / "job.json", Path(folder) / "samples.jsonl"
        self.job, self.legs = job, []
        if self.path.exists():
            known = json.loads(self.path.read_text())
            for key, value in job.items():
                if value is not None and known["job"][key] != value:
                    raise ValueError(f"{folder} holds a job with {key} {known['job'][key]}, not {value}")
            self.job = known["job"]
            self.legs = [Leg(**leg) for leg in known["legs"]]

    def save(self):
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"job": self.job, "legs": list(map(asdict, self.legs))}, indent=1))
        new.replace(self.path)

    def begin(self, command):
        self.legs.append(Leg(command, time.time(), sum(leg.seconds for leg in self.legs if leg.command == command)))
        self.save()
        return self.legs[-1]

    def of(self, command):
        return [leg for leg in self.legs if leg.command == command]

    def is_done(self, command):
        return any(leg.exit == 0 for leg in self.of(command))

    def samples(self):
        if not self.samples_path.exists():
            return []
        lines = self.samples_path.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]  # a killed run may leave half a line

    def peaks(self):
        """Of the fetch: the most of any leg."""
        peaks = {}
        for leg in self.of("fetch"):
            for name, kib in leg.peaks_kib.items():
                peaks[name] = max(kib, peaks.get(name, 0))
        return peaks


def _memory(pid):
    """(name, kib now, kib at most); None when the process is gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        return lines["Name"].strip(), int(lines["VmRSS"].split()[0]), int(lines["VmHWM"].split()[0])
    except (OSError, KeyError):
        return None


def _disk_bytes(folder):
    """What the files of a job take: shards are few, and single files are not counted one by one."""
    total = 0
    for below in (Path(folder), Path(folder) / ".gigafetch"):
        if below.is_dir():
            with os.scandir(below) as entries:
                total += sum(entry.stat().st_blocks * 512 for entry in entries if entry.is_file())
    return total


class Sampler(threading.Thread):
    """Reads what a run says of itself (--progress json), and looks at its processes once in a while."""

    def __init__(self, book, leg, process, folder, say, whole):
        super().__init__(daemon=True)
        self.book, self.leg, self.process, self.folder, self.say = book, leg, process, folder, say
        self.whole, self.next, self.trouble = whole, 0.0, ""

    def run(self):
        with open(self.book.samples_path, "a") as samples:
            for line in self.process.stderr:
                try:
                    progress = json.loads(line)
                except ValueError:  # a warning
                    self.trouble = line.strip()
                    self.say(self.trouble)
                    continue
                self.leg.seconds = progress["seconds"]
                if progress["seconds"] >= self.next:
                    self.next = progress["seconds"] + SAMPLE_SECONDS
                    self.sample(progress, samples)

    def sample(self, progress, samples):
        memory = {}
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            if found := _memory(pid):
                name, now, most = found
                memory[name] = now
                self.leg.peaks_kib[name] = max(most, self.leg.peaks_kib.get(name, 0))
        sample = {"command": self.leg.command, "seconds": self.leg.before + progress["seconds"],
                  "files": progress["stored"], "disk": _disk_bytes(self.folder), "kib": memory}
        samples.write(json.dumps(sample) + "\n")
        samples.flush()
        self.book.save()
        largest = max(memory.values(), default=0) / 1024
        self.say(f"{self.leg.command}  {sample['seconds']:7,.0f} s  {sample['files']:,} of {self.whole:,}  "
                 f"{progress['files_per_second']:,} files/s  {largest:.1f} MiB the largest  "
                 f"{sample['disk'] / 1e9:.2f} GB on disk")


def run_leg(book, command, argv, folder, cpus, say):
    """Runs the command until it ends, or is asked to. Its exit status."""
    leg = book.begin(command)
    process = subprocess.Popen(list(map(str, argv)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True,
                               preexec_fn=lambda: os.sched_setaffinity(0, cpus))
    before = {number: signal.signal(number, lambda *_: process.send_signal(signal.SIGTERM))
              for number in (signal.SIGINT, signal.SIGTERM)}
    begin = time.monotonic()
    sampler = Sampler(book, leg, process, folder, say, book.job["files"])
    sampler.start()
    try:
        output = process.stdout.read()
        leg.exit = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        sampler.join()
        for number, handler in before.items():
            signal.signal(number, handler)
    leg.seconds = time.monotonic() - begin
    leg.summary = json.loads(output) if output.strip() else None
    leg.disk = _disk_bytes(folder)
    book.save()
    return leg.exit
