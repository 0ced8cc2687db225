"""What holds for every test: files in memory where there is room, and no process left behind."""
import collections
import os
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest

from processes import all_pids, is_alive, wait_until, with_environment

MARK = f"GIGAFETCH_E2E={uuid.uuid4().hex}"  # in the environment of whatever a test starts
ROOM = 2 << 30


def pytest_configure(config):
    os.environ.__setitem__(*MARK.split("=", 1))
    # Started by nohup, or in a script's background, what is tested would rightly ignore them.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    memory = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
    if config.option.basetemp is None and memory and memory.f_bavail * memory.f_frsize > ROOM:
        config.option.basetemp = tempfile.mkdtemp(prefix="gigafetch-e2e-", dir="/dev/shm")
        config.add_cleanup(lambda: remove(config.option.basetemp))


def pytest_collection_modifyitems(items):
    """Of each test's cases only one in GIGAFETCH_EVERY is run, where that is set. Of two parameters both vary."""
    every = int(os.environ.get("GIGAFETCH_EVERY", 1))
    seen = collections.Counter()

    def has_its_turn(item):
        test = item.nodeid.partition("[")[0]
        at, seen[test] = seen[test], seen[test] + 1
        return at % every == at // every % every

    items[:] = filter(has_its_turn, items)


def remove(folder):
    """Also one that is deeper than Python's recursion."""
    subprocess.run(["rm", "-rf", "--", folder], check=True)


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path):
    before = set(all_pids())
    yield
    left = with_environment(MARK, set(all_pids()) - before)
    try:
        wait_until(lambda: not any(map(is_alive, left)), "every process gone", seconds=10)
    finally:
        for pid in filter(is_alive, left):
            os.kill(pid, signal.SIGKILL)
        remove(tmp_path)


@pytest.fixture
def out(tmp_path) -> Path:
    """An output folder that does not exist yet."""
    return tmp_path / "out"
