"""The demonstration: an origin, a fetch, a verify, a look inside, a summary, and nothing left of any of it."""
import os
import re
import signal
import subprocess

import pytest

from catalogue import body_of, name_of
from command import BINARY, Running, run
from layouts import below
from processes import children, comm, is_alive, wait_until


@pytest.fixture
def tmpdir_env(tmp_path):
    return {**os.environ, "TMPDIR": str(tmp_path)}


def test_the_demo_packs_shows_the_whole_and_removes_its_folder(tmpdir_env, tmp_path):
    done = run("demo", "--files", 3000, "--workers", 3, env=tmpdir_env)
    for words in ("3,000 files of 100 bytes", "$ gigafetch fetch --sink tar --zstd 1 --pipeline 16 ",
                  "$ gigafetch verify", "listed 3,000: stored 3,000, failed 0", "worker-00-000000.tar.zst",
                  "nothing is missing and nothing is extra", "A billion files would take, packed so",
                  f"Removing {tmp_path}/gigafetch-demo-"):
        assert words in done.out
    assert "16 such cores" in done.out and not re.search(r"\bnan\b|\binf\b", done.out)
    assert list(tmp_path.iterdir()) == []


def test_it_names_its_folder_before_anything_else(tmpdir_env, tmp_path):
    first = run("demo", "--files", 10, "--workers", 1, env=tmpdir_env).out.splitlines()[0]
    assert f"{tmp_path}/gigafetch-demo-" in first and "removed" in first


def test_files_of_their_own_come_on_request_and_go_again(tmpdir_env, tmp_path):
    done = run("demo", "--files", 3000, "--workers", 2, "--sink", "files", env=tmpdir_env)
    assert "$ gigafetch fetch --layout fanout --pipeline 16 " in done.out
    assert "would take, each in a file of its own" in done.out and ".tar" not in done.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sink", ["tar", "files"])
def test_it_looks_at_a_file_and_shows_its_bytes(sink, tmpdir_env):
    done = run("demo", "--files", 500, "--workers", 1, "--sink", sink, env=tmpdir_env)
    name, shown = re.search(r"(?m)^\$ gigafetch cat \S+ (\S+)\n(.*)$", done.out).groups()
    assert name == name_of(250) and shown.encode() == body_of(name)


def test_of_a_large_file_it_shows_the_beginning(tmpdir_env):
    done = run("demo", "--files", 3, "--size", 200_000, "--workers", 1, env=tmpdir_env)
    name = re.search(r"(?m)^\$ gigafetch cat \S+ (\S+)$", done.out).group(1)
    assert f"\n{body_of(name).decode()}... (200,000 bytes)\n" in done.out


@pytest.mark.parametrize("sink", ["tar", "files"])
def test_the_commands_it_shows_can_be_run(sink, tmpdir_env, tmp_path):
    out = tmp_path / "kept"
    done = run("demo", "--files", 500, "--size", 10, "--workers", 1, "--pipeline", 1, "--out", out, "--sink", sink, env=tmpdir_env)
    assert "Removing" not in done.out and f"'{out}', and stay there" in done.out
    found = below(out, "-type", "f", "-not", "-path", "./.gigafetch/*")
    assert len(found) == (500 if sink == "files" else 2), found
    commands = re.findall(r"(?m)^\$ gigafetch (.*)", done.out)
    assert [command.split()[0] for command in commands] == ["fetch", "verify", "cat"]
    assert run(*commands[2].split()).out in done.out


@pytest.mark.parametrize("files", [1, 2])
@pytest.mark.parametrize("sink", ["tar", "files"])
def test_the_smallest_demo_works(files, sink, tmpdir_env):
    done = run("demo", "--files", files, "--workers", 2, "--sink", sink, env=tmpdir_env)
    assert f"stored {files}, failed 0" in done.out


@pytest.mark.parametrize("sink", ["tar", "files"])
def test_a_folder_that_is_not_free_is_refused(sink, tmpdir_env, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    run("demo", "--files", 10, "--out", tmp_path / "full", "--sink", sink, env=tmpdir_env, code=1).says("not empty")
    assert below(tmp_path) in (["full", "full/mine"], ["full/mine", "full"])


MANY = 2 * 10**6  # twenty seconds' work or more as files, and fewer than a file system in memory has inodes for


def people_of(pid):
    """All that a demo has started."""
    found = children(pid)
    return found + [p for child in found for p in people_of(child)]


def has_stored(folder):
    """Whether there is a file yet: to look at them all may take longer than to make them."""
    return below(folder, "-name", "file*", "-print0", "-quit")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("whom", ["its group", "itself"])
def test_a_demo_that_is_interrupted_leaves_nothing(number, whom, tmpdir_env, tmp_path):
    with Running("demo", "--files", MANY, "--workers", 2, "--sink", "files", env=tmpdir_env, start_new_session=True) as demo:
        wait_until(lambda: len(people_of(demo.pid)) >= 5 and has_stored(tmp_path), "files stored")
        people = people_of(demo.pid)
        (os.killpg if whom == "its group" else os.kill)(demo.pid, number)
        done = demo.ended(code=4, seconds=60)
    assert not any(map(is_alive, people))
    assert f"Removing {tmp_path}" in done.out and list(tmp_path.iterdir()) == []


MOMENTS = ["The files go to", "An origin", "$ gigafetch fetch", "listed ", "$ gigafetch verify", "Every listed file",
           "$ gigafetch cat", "A billion files"]


@pytest.mark.parametrize("sink", ["tar", "files"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_at_whatever_moment_it_is_stopped_nothing_is_left(moment, sink, tmpdir_env, tmp_path):
    with Running("demo", "--files", 20000, "--workers", 2, "--sink", sink, env=tmpdir_env) as demo:
        for line in demo.process.stdout:
            if line.decode().startswith(moment):
                break
        demo.signal(signal.SIGTERM)
        # The last moments may be over before the signal comes.
        assert demo.ended(seconds=60).code in ([4] if moment in MOMENTS[:3] else [0, 4])
    assert list(tmp_path.iterdir()) == []


def test_a_removal_goes_on_when_it_is_interrupted(tmpdir_env, tmp_path):
    with Running("demo", "--files", 20000, "--workers", 2, "--sink", "files", env=tmpdir_env) as demo:
        wait_until(lambda: demo.process.stdout.readline().startswith(b"Removing"), "the removal")
        demo.signal(signal.SIGINT)
        assert demo.ended(seconds=60).code in (0, 4)
    assert list(tmp_path.iterdir()) == []


def test_whoever_tells_a_removal_twice_is_told_what_is_left(tmpdir_env, tmp_path):
    with Running("demo", "--files", 20000, "--workers", 2, "--sink", "files", env=tmpdir_env) as demo:
        wait_until(lambda: demo.process.stdout.readline().startswith(b"Removing"), "the removal")
        demo.signal(signal.SIGINT)
        demo.signal(signal.SIGTERM)
        done = demo.ended(seconds=60)
    left = list(tmp_path.iterdir())
    assert (f"the rest is left there: rm -rf {left[0]}" if left else "Removed.") in done.out


def test_a_demo_whose_output_nobody_reads_leaves_nothing(tmpdir_env, tmp_path):
    with subprocess.Popen([BINARY, "demo", "--files", "2000", "--workers", "1"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, env=tmpdir_env, bufsize=0) as demo:
        demo.stdout.readline()
        demo.stdout.close()
        demo.wait(60)
    assert list(tmp_path.iterdir()) == []


def test_a_demo_whose_output_is_stuck_can_be_stopped(tmpdir_env, tmp_path):
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    try:
        while True:
            os.write(ends[1], b"x" * 65536)
    except BlockingIOError:
        os.set_blocking(ends[1], True)
    with subprocess.Popen([BINARY, "demo", "--files", "2000", "--workers", "1"], stdout=ends[1],
                          stderr=subprocess.DEVNULL, env=tmpdir_env) as demo:
        wait_until(lambda: len(people_of(demo.pid)) >= 2, "its origin")
        people = people_of(demo.pid)
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(60) == 4
    for end in ends:
        os.close(end)
    assert list(tmp_path.iterdir()) == [] and not [p for p in people if comm(p).startswith("gigafetch:")]


def test_a_demo_whose_process_dies_says_so_and_leaves_nothing(tmpdir_env, tmp_path):
    with Running("demo", "--files", MANY, "--workers", 1, "--sink", "files", env=tmpdir_env) as demo:
        wait_until(lambda: has_stored(tmp_path), "files stored")
        show, = children(demo.pid)
        os.kill(show, signal.SIGKILL)
        demo.ended(code=1, seconds=60).says("killed by signal 9")
    assert list(tmp_path.iterdir()) == []


def test_a_demo_whose_origin_dies_says_so_and_ends(tmpdir_env, tmp_path):
    with Running("demo", "--files", MANY, "--workers", 1, "--sink", "files", env=tmpdir_env) as demo:
        origin = wait_until(lambda: [pid for pid in people_of(demo.pid) if comm(pid) == "gigafetch:demo"], "its origin")
        wait_until(lambda: has_stored(tmp_path), "files stored")
        os.kill(origin[0], signal.SIGKILL)
        demo.says("cannot connect")
        demo.signal(signal.SIGTERM)
        demo.ended(code=4, seconds=60)
    assert list(tmp_path.iterdir()) == []
