"""The demonstration: an origin, a fetch, a verify, a summary, and nothing left of any of it."""
import os
import re
import signal

import pytest

from command import Running, run
from layouts import below
from processes import children, comm, is_alive, wait_until


@pytest.fixture
def tmpdir_env(tmp_path):
    return {**os.environ, "TMPDIR": str(tmp_path)}


def test_the_demo_shows_the_whole_and_removes_its_folder(tmpdir_env, tmp_path):
    done = run("demo", "--files", 3000, "--workers", 3, env=tmpdir_env)
    for words in ("3,000 files of 100 bytes", "$ gigafetch fetch", "$ gigafetch verify",
                  "listed 3,000: stored 3,000, failed 0", "nothing is missing and nothing is extra",
                  "A billion files would take"):
        assert words in done.out
    assert "16 such cores" in done.out and not re.search(r"\bnan\b|\binf\b", done.out)
    assert list(tmp_path.iterdir()) == []


def test_the_commands_it_shows_can_be_run(tmpdir_env, tmp_path):
    out = tmp_path / "kept"
    done = run("demo", "--files", 500, "--size", 10, "--workers", 1, "--pipeline", 1, "--out", out, env=tmpdir_env)
    assert len(below(out, "-type", "f", "-not", "-path", "./.gigafetch/*")) == 500
    for command in re.findall(r"(?m)^\$ gigafetch (.*)", done.out):
        assert command.split()[0] in ("fetch", "verify") and command.endswith(str(out))


@pytest.mark.parametrize("files", [1, 2])
def test_the_smallest_demo_works(files, tmpdir_env):
    assert f"stored {files}, failed 0" in run("demo", "--files", files, "--workers", 2, env=tmpdir_env).out


def test_a_folder_that_is_not_free_is_refused(tmpdir_env, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    run("demo", "--files", 10, "--out", tmp_path / "full", env=tmpdir_env, code=1).says("not empty")
    assert below(tmp_path) in (["full", "full/mine"], ["full/mine", "full"])


MANY = 2 * 10**6  # twenty seconds' work or more, and fewer than a file system in memory has inodes for


def has_stored(folder):
    """Whether there is a file yet: to look at them all may take longer than to make them."""
    return below(folder, "-name", "file*", "-print0", "-quit")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_nothing(number, tmpdir_env, tmp_path):
    with Running("demo", "--files", MANY, "--workers", 2, env=tmpdir_env, start_new_session=True) as demo:
        wait_until(lambda: len(children(demo.pid)) == 4 and has_stored(tmp_path), "files stored")
        people = children(demo.pid)
        os.killpg(demo.pid, number)
        demo.ended(code=4, seconds=60)
    wait_until(lambda: not any(map(is_alive, people)), "everybody gone", seconds=10)
    assert list(tmp_path.iterdir()) == []


def test_a_demo_whose_origin_dies_says_so_and_ends(tmpdir_env, tmp_path):
    with Running("demo", "--files", MANY, "--workers", 1, env=tmpdir_env) as demo:
        origin = wait_until(lambda: [pid for pid in children(demo.pid) if comm(pid) == "gigafetch:demo"], "its origin")
        wait_until(lambda: has_stored(tmp_path), "files stored")
        os.kill(origin[0], signal.SIGKILL)
        demo.says("cannot connect")
        demo.signal(signal.SIGTERM)
        demo.ended(code=4, seconds=60)
    assert list(tmp_path.iterdir()) == []
