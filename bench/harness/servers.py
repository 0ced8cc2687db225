"""The origins: the embedded one, and nginx with real files. Each on one core, on a free loopback port."""
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from .measure import pinned

sys.path.insert(0, str(Path(__file__).parents[2] / "tests/e2e"))
from nginx import Nginx as RealFiles  # noqa: E402
from origin_process import OriginProcess  # noqa: E402

SEED = 1


@dataclass(frozen=True)
class Served:
    """What an origin serves."""
    kind: str  # "origin" or "nginx"
    files: int
    size: int = 100
    lag: int = 0  # milliseconds before each answer

    @property
    def page_size(self):
        return min(10_000, max(100, self.files // 20))  # pages enough to divide the work


class Origin(OriginProcess):
    """`gigafetch origin` with these options, on a core if one is given."""

    def __init__(self, gigafetch, *options, cpu=None, listen="127.0.0.1:0"):
        before = (lambda: os.sched_setaffinity(0, {cpu})) if cpu is not None else None
        # Of a session of its own: an interrupt from the terminal must not end it before its clients.
        super().__init__(gigafetch, *options, listen=listen, preexec_fn=before, start_new_session=True)

    def count(self):
        """Of an origin started with --count."""
        with urllib.request.urlopen(self.url + "/count") as answer:
            return json.load(answer)


def embedded(gigafetch, served, cpu, count=False):
    options = ["--files", served.files, "--size", served.size, "--page-size", served.page_size, "--seed", SEED]
    if served.lag:
        options += ["--lag", served.lag]
    return Origin(gigafetch, *options, *(["--count"] if count else []), cpu=cpu)


class Nginx(RealFiles):
    """Real files of the same names and sizes, on tmpfs; pages made beforehand; connections kept open."""

    def __init__(self, served, names, cpu):
        folder = Path(tempfile.mkdtemp(prefix="gigafetch-bench-nginx-", dir="/dev/shm"))
        super().__init__(folder, names, f"location /get/ {{ alias {folder}/files/; }}",
                         servers=["keepalive_requests 1000000000; location = /status { stub_status; }"],
                         page_size=served.page_size)
        self.cpu = cpu
        (folder / "files").mkdir()
        digits = itertools.cycle("0123456789abcdef")
        block = "".join(itertools.islice(digits, served.size + 16)).encode()
        for index, name in enumerate(names):
            (folder / "files" / name).write_bytes(block[index % 16:][:served.size])

    def __enter__(self):
        with pinned(self.cpu):
            super().__enter__()
        self.port = int(self.url.rsplit(":", 1)[1])
        return self

    def __exit__(self, *_):
        super().__exit__()
        shutil.rmtree(self.folder)

    def requests(self):
        """So many were answered; this one is counted too."""
        with urllib.request.urlopen(self.url + "/status") as answer:
            return int(re.search(r"\n\s*\d+ \d+ (\d+)", answer.read().decode())[1])


ENTRIES = {"names": "{name}\n", "urls": "{url}\n", "curl": 'url="{url}"\noutput="{name}"\n',
           "aria2": "{url}\n out={name}\n"}


class Servers:
    """Origins by what they serve, each started when it is first asked for and then kept."""

    def __init__(self, gigafetch, cpu):
        self.gigafetch, self.cpu, self.scratch = gigafetch, cpu, tempfile.mkdtemp(prefix="gigafetch-bench-lists-")
        self.running, self.listed = {}, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self.running.values():
            server.__exit__()
        shutil.rmtree(self.scratch)

    def names(self, served):
        """All of them, in their order. Not for tens of millions."""
        key = served.files
        if key not in self.listed:
            with embedded(self.gigafetch, Served("origin", served.files), self.cpu) as origin:
                done = subprocess.run([self.gigafetch, "ls", origin.url], stdout=subprocess.PIPE, check=True, text=True)
            self.listed[key] = done.stdout.split()
        return self.listed[key]

    def serving(self, served, count=False):
        """The origin of these files; one that counts its requests is another."""
        key = (served, count and served.kind == "origin")
        if key not in self.running:
            if served.kind == "nginx":
                self.running[key] = Nginx(served, self.names(served), self.cpu).__enter__()
            else:
                self.running[key] = embedded(self.gigafetch, served, self.cpu, count)
        return self.running[key]

    def list_file(self, served, url, form):
        """A file with an entry for each file that is served, for the clients that are given them all."""
        path = Path(self.scratch) / f"{form}-{served.files}-{url.rsplit(':', 1)[1]}"
        if not path.exists():
            path.write_text("".join(ENTRIES[form].format(url=f"{url}/get/{quote(name)}", name=name)
                                    for name in self.names(served)))
        return path
