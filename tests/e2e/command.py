"""The binary under test: run to its end, or started and watched."""
import json
import os
import subprocess
import threading
import time
from pathlib import Path

BINARY = os.environ["GIGAFETCH"]
PATIENCE = 300  # seconds that any run may take, on any machine
QUIET = ["--json", "--progress", "none"]
# For who counts requests, or connections: with a try left, an answer that is a second late is asked for elsewhere.
ONCE = ["--retries", 0]

SUMMARY_TYPES = {
    "listed": int, "stored": int, "failed": int, "rejected": int, "duplicates": int, "filtered": int,
    "bytes": int, "pages": int, "requests": int, "retries": int, "workers": int, "resumed": bool,
    "seconds": float, "files_per_second": float, "cpu_seconds": float, "cpu_us_per_file": float,
    "peak_rss_bytes": int, "listing_bound": float, "exit": int,
}


class Run:
    """A run that has ended."""

    def __init__(self, args, code, out, err, seconds=0.0):
        self.args, self.code, self.out, self.err, self.seconds = args, code, out, err, seconds
        assert "Sanitizer" not in err and "runtime error:" not in err, f"{self}"

    def __str__(self):
        return f"{self.args} ended with {self.code}\n{self.out[-2000:]}\n{self.err[-4000:]}"

    @property
    def summary(self):
        """The one JSON object on standard output, with every key of the contract."""
        lines = self.out.splitlines()
        assert len(lines) == 1, f"{self}"
        summary = json.loads(lines[0])
        for key, kind in SUMMARY_TYPES.items():
            assert type(summary.get(key)) is kind, f"{key}: {self}"
        assert summary["exit"] == self.code, f"{self}"
        settled = sum(summary[key] for key in ("stored", "failed", "rejected", "duplicates"))
        assert summary["listed"] == settled, f"{self}"
        return summary

    def says(self, *words):
        """Standard error holds every word."""
        for word in words:
            assert str(word) in self.err, f"no {word!r}: {self}"
        return self


def _decoded(raw):
    return raw.decode("utf-8", "surrogateescape")


def run(*args, code=0, prefix=(), **popen):
    """Runs the binary to its end; any exit status but `code` is a failure of the test."""
    argv = [*prefix, BINARY, *map(str, args)]
    begin = time.monotonic()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=PATIENCE, **popen)
    result = Run(args, done.returncode, _decoded(done.stdout), _decoded(done.stderr),
                 time.monotonic() - begin)
    assert code is None or result.code == code, f"{result}"
    return result


def fetch(url, out, *options, code=0, **more):
    """A whole fetch. Its figures, and failed.jsonl beside them, are checked whatever the test is for."""
    done = run("fetch", *QUIET, *options, url, out, code=code, **more)
    if done.code in (0, 3) and "--state" not in options:
        summary = done.summary
        assert len(dead_letters(out)) == summary["failed"] + summary["rejected"], f"{done}"
        assert (done.code == 3) == bool(summary["failed"] + summary["rejected"]), f"{done}"
    return done


def verify(url, out, *options, code=0, **more):
    return run("verify", *QUIET, *options, url, out, code=code, **more)


def json_lines(path):
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()]


def dead_letters(out, file="failed.jsonl"):
    """Name to what failed.jsonl says of it."""
    letters = json_lines(Path(out) / ".gigafetch" / file)
    for letter in letters:
        assert list(letter) == ["name", "class", "status", "attempts", "error"], letter
        assert type(letter["status"]) is int and type(letter["attempts"]) is int and letter["error"], letter
    return {letter["name"]: letter for letter in letters}


class Running:
    """A run under way. Ended by its own pid when the test leaves it."""

    def __init__(self, *args, prefix=(), **popen):
        self.args = args
        # Without a buffer, for in one would be lost to ended() what came with a line that was waited for.
        self.process = subprocess.Popen([*prefix, BINARY, *map(str, args)], stdin=subprocess.DEVNULL, bufsize=0,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **popen)
        self.pid = self.process.pid
        self._watchdog = threading.Timer(PATIENCE, self.process.kill)
        self._watchdog.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._watchdog.cancel()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def signal(self, number):
        self.process.send_signal(number)

    def says(self, text):
        """Waits for a line of its log with `text`, and returns it."""
        log = []
        for line in self.process.stderr:
            log.append(_decoded(line))
            if text in log[-1]:
                return log[-1]
        raise AssertionError(f"it ended and never said {text!r}, but: {''.join(log)}")

    def ended(self, code=None, seconds=PATIENCE):
        """Waits for the end."""
        begin = time.monotonic()
        out, err = self.process.communicate(timeout=seconds)
        result = Run(self.args, self.process.returncode, _decoded(out), _decoded(err or b""),
                     time.monotonic() - begin)
        assert code is None or result.code == code, f"{result}"
        return result
