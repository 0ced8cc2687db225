"""cat prints one stored file, byte for byte, from files and from shards."""
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

import catalogue
from catalogue import Origin
from command import BINARY, QUIET, Running, fetch, run
from raw_server import RawServer, page
from shards import indexes, shards

NOISE = random.Random(9).randbytes(3_000_000)
FILES = {"plain": b"plain\n", "empty": b"", "d/e/f": b"deep", "../up": b"up", "-x": b"dash", "h\u00fclle": b"\xff\0\n",
         "a%2Fb": b"escaped", "n" * 200: b"long", "streamed": NOISE[:1_000_000], "large": NOISE, "z" * 65: NOISE[:65_537],
         **{f"many/{i}": b"%d" % i * i for i in range(300)}}
STORES = {"tree": [], "flat": ["--layout", "flat"], "fanout": ["--layout", "fanout"], "tar": ["--sink", "tar"],
          "zstd": ["--sink", "tar", "--zstd", "1"], "small shards": ["--sink", "tar", "--shard-size", "9000"],
          "tar fanout": ["--sink", "tar", "--layout", "fanout"]}
PACKED = ["tar", "zstd", "small shards", "tar fanout"]


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """A finished copy of each kind."""
    folder = tmp_path_factory.mktemp("copies")
    with RawServer(FILES) as server:
        for store, options in STORES.items():
            fetch(server.url, folder / store, *options, "--workers", 2, "--batch", 25)
    return folder


def cat(out, name, *options, code=0):
    argv = [BINARY, "cat", *options, out, "--", name]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    assert done.returncode == code, f"{argv}: {done.returncode} {done.stderr}"
    return done.stdout if code == 0 else done.stderr.decode()


def check_all(out):
    for name, body in list(FILES.items())[:20] + [("many/299", FILES["many/299"])]:
        assert cat(out, name) == body, name


@pytest.mark.parametrize("store", STORES)
def test_every_file_is_printed_as_it_is(store, copies):
    check_all(copies / store)


@pytest.mark.parametrize("store", PACKED)
@pytest.mark.parametrize("damage", ["gone", "flipped", "cut", "zeros"])
def test_without_a_good_index_the_same_is_printed(damage, store, copies, out):
    shutil.copytree(copies / store, out)
    files = indexes(out)
    for index in files:
        raw = bytearray(index.read_bytes())
        if damage == "gone":
            index.unlink()
            continue
        if damage == "flipped":
            for at in range(3, len(raw), 50):
                raw[at] ^= 0xFF
        index.write_bytes({"flipped": raw, "cut": raw[:len(raw) // 2], "zeros": bytes(len(raw))}[damage])
    check_all(out)
    assert "no-such" in cat(out, "no-such", code=1)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", ["no-such", "d/e", "d", "Plain", "plain/", "many/300", "x" * 256, "x" * 5000, "", "."])
def test_a_name_that_is_not_stored_is_told(name, store, copies):
    told = cat(copies / store, name, code=1)
    assert told.startswith("gigafetch: ") and len(told) > 25 and told.count("\n") == 1, told
    assert name in told or len(name) > 200 or name == "", told


def test_a_name_that_is_not_fit_for_a_terminal_is_escaped(copies):
    for store in ("tree", "tar"):
        assert "\\x1b" in cat(copies / store, "\x1b[2J", code=1)


@pytest.mark.parametrize("store", PACKED)
def test_a_damaged_shard_is_told_and_not_printed(store, copies, out):
    shutil.copytree(copies / store, out)
    for shard in shards(out):
        shard.write_bytes(bytes(byte ^ 1 for byte in shard.read_bytes()))
    assert len(cat(out, "plain", code=1)) > 25


@pytest.mark.parametrize("store", PACKED)
def test_a_missing_shard_costs_its_own_files_only(store, copies, out):
    shutil.copytree(copies / store, out)
    least = min(shards(out), key=lambda shard: shard.stat().st_size)
    least.unlink()
    found = [name for name in list(FILES)[:40] if subprocess.run(
        [BINARY, "cat", out, "--", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0]
    assert len(found) > 0
    for name in found:
        assert cat(out, name) == FILES[name]


@pytest.mark.parametrize("store", ["tree", "tar", "zstd"])
def test_what_cannot_be_written_is_told(store, copies):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([BINARY, "cat", copies / store, "large"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"standard output" in done.stderr and b"No space" in done.stderr


@pytest.mark.parametrize("store", ["tree", "tar", "zstd"])
def test_a_reader_that_goes_away_ends_it(store, copies):
    with subprocess.Popen([BINARY, "cat", copies / store, "large"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as printing:
        assert printing.stdout.read(10) == FILES["large"][:10]
        printing.stdout.close()
        assert printing.wait(timeout=20) in (1, -signal.SIGPIPE)


@pytest.mark.parametrize("store", ["tree", "tar", "zstd"])
def test_the_state_may_lie_elsewhere(store, out, tmp_path):
    with RawServer({"a": b"aaa"}) as server:
        fetch(server.url, out, *STORES[store], "--state", tmp_path / "state")
    assert cat(out, "a", "--state", tmp_path / "state") == b"aaa"
    assert "--state" in cat(out, "a", code=1)


@pytest.mark.parametrize("store", ["tree", "tar", "zstd"])
def test_a_job_that_runs_may_be_looked_at(store, out):
    """Also when it is killed: what it has recorded is there."""
    names = catalogue.names(1000)
    with Origin("--files", 1000, "--page-size", 200) as origin:
        args = [*STORES[store], "--workers", 2, "--batch", 10, "--rate", 100]
        with Running("fetch", *QUIET, *args, origin.url, out) as run_:
            deadline = time.monotonic() + 20
            while subprocess.run([BINARY, "cat", out, names[0]], capture_output=True).stdout != \
                    catalogue.body_of(names[0]):
                assert time.monotonic() < deadline
            assert run_.process.poll() is None
            if store != "tree":
                assert names[999] in cat(out, names[999], code=1)
            run_.signal(signal.SIGKILL)
            run_.ended(code=-signal.SIGKILL)
        assert cat(out, names[0]) == catalogue.body_of(names[0])
        # Only what is recorded is read from shards; of a file nobody knows before the job is finished.
        assert ("may not be whole" in run("cat", out, names[0]).err) == (store == "tree")
        fetch(origin.url, out, *STORES[store])
        assert run("cat", out, names[0]).err == ""


def test_a_name_that_failed_is_not_there(out):
    with RawServer({"good": b"g"}, {None: page(["good", "bad", "nul\0"])}) as server:
        fetch(server.url, out, "--sink", "tar", code=3)
    assert cat(out, "good") == b"g"
    assert "bad" in cat(out, "bad", code=1)


def test_a_folder_that_no_fetch_filled_is_told(out):
    assert str(out) in cat(out, "a", code=1)
    out.mkdir()
    assert ".gigafetch" in cat(out, "a", code=1)
    (out / ".gigafetch").mkdir(mode=0o700)
    assert "no ledger" in cat(out, "a", code=1)


@pytest.mark.parametrize("args", [["cat"], ["cat", "out"], ["cat", "out", "a", "b"], ["cat", "--force", "out", "a"]])
def test_wrong_use_is_exit_2(args):
    assert run(*args, code=2).out == ""


@pytest.mark.parametrize("store", ["tree", "tar", "zstd"])
def test_nothing_is_changed_and_no_lock_is_taken(store, copies):
    before = {path: path.stat().st_mtime_ns for path in (copies / store).rglob("*")}
    cat(copies / store, "plain")
    assert {path: path.stat().st_mtime_ns for path in (copies / store).rglob("*")} == before
    assert not os.path.exists(copies / store / ".gigafetch" / "socket")
