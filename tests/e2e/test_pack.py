"""Packed output: archives that every tar reads, with every file once, whatever stops the run."""
import itertools
import json
import os
import random
import signal
import subprocess
import time
import urllib.request
import uuid

import pytest

import catalogue
from catalogue import Origin
from command import BINARY, ONCE, QUIET, Running, dead_letters, fetch, run, verify
from layouts import fanout_tail, joined_tail, path_of, stored_files
from processes import wait_until
from raw_server import FIN, HANG, RawServer, answer, chunked, page, pages_of
from scale import scaled
from shards import FILE, check_packed, check_readable, check_tidy, indexes, listed_by, members, packed, shards, tool

MIB = 1 << 20
SINKS = {"tar": ["--sink", "tar"], "zstd": ["--sink", "tar", "--zstd", "3"]}
BOTH = pytest.mark.parametrize("sink", SINKS)
NOWHERE = f"gigafetch-e2e-{uuid.uuid4().hex}"


def body_of(name):
    return b"the bytes of " + name.encode()


def extract(out, sink, into, program="tar"):
    """As a user would. Path to bytes."""
    into.mkdir()
    for shard in shards(out):
        if sink == "zstd" and program == "tar":
            with subprocess.Popen(["zstd", "-dcq", shard], stdout=subprocess.PIPE) as plain:
                tool("tar", "-x", "-C", into, stdin=plain.stdout)
            assert plain.returncode == 0
        else:
            tool(program, "-xf", shard, "-C", into)
    return stored_files(into)


@BOTH
@pytest.mark.parametrize("layout", ["tree", "flat", "fanout"])
@pytest.mark.parametrize("batch", [1, 100_000])
def test_every_file_is_in_a_shard_once_and_every_program_reads_it(batch, layout, sink, out, tmp_path):
    files = catalogue.files(1000)
    with Origin("--files", 1000, "--page-size", 300, "--count") as origin:
        done = fetch(origin.url, out, *SINKS[sink], "--layout", layout, "--batch", batch, "--workers", 3)
        assert done.err == ""
        assert (done.summary["listed"], done.summary["stored"], done.summary["bytes"]) == (1000, 1000, 100_000)
        assert verify(origin.url, out, "--workers", 2).err == ""
        assert verify(origin.url, out, "--workers", 2, "--content").summary["extra"] == 0
    assert {FILE.fullmatch(path.name)[3] for path in shards(out)} == {None if sink == "tar" else ".zst"}
    check_packed(out, files, layout)
    check_tidy(out)
    assert check_readable(out) == 1000
    for program in ("tar", "bsdtar"):
        found = extract(out, sink, tmp_path / program, program)
        assert {path.rsplit("/", 1)[-1]: body for path, body in found.items()} == files
        assert layout != "fanout" or all(path.count("/") == 2 for path in found)


SIZES = [0, 1, 511, 512, 513, 1023, 1024, 1025, 65_535, 65_536, 65_537, 100_000, 10 * MIB, 10 * MIB + 1]
FRAMINGS = {"length": answer, "chunks": lambda body: chunked(body, 8191),
            "end": lambda body: [b"HTTP/1.1 200 OK\r\n\r\n" + body, FIN]}


@pytest.fixture(scope="module")
def sized():
    noise = random.Random(4).randbytes(10 * MIB + 1)
    return {f"{framing}/{size}": noise[:size] for framing in FRAMINGS for size in SIZES}


@pytest.fixture(scope="module")
def sized_server(sized):
    with RawServer(sized, pages_of(list(sized), 17)) as server:
        for name, body in sized.items():
            server.on_file(name, FRAMINGS[name.split("/")[0]](body))
        yield server


@pytest.mark.parametrize("depth, sink", scaled([(1, "tar"), (16, "zstd")], itertools.product([1, 16], SINKS)))
def test_bodies_of_every_size_and_framing_are_whole(depth, sink, sized, sized_server, out, tmp_path):
    done = fetch(sized_server.url, out, *SINKS[sink], "--workers", 2, "--pipeline", depth, "--connections", 6,
                 "--allow-unframed")
    assert done.summary["bytes"] == sum(map(len, sized.values()))
    check_packed(out, sized)
    check_readable(out)
    check_tidy(out)
    assert extract(out, sink, tmp_path / "in") == sized
    verify(sized_server.url, out, "--workers", 2, "--content", "--allow-unframed")


@BOTH
def test_a_body_beyond_the_limit_is_in_no_shard(sink, sized, sized_server, out):
    """Also one of which no length was told, and so of which some was written."""
    done = fetch(sized_server.url, out, *SINKS[sink], "--workers", 1, "--max-file-size", "100000", "--allow-unframed",
                 code=3)
    small = {name: body for name, body in sized.items() if len(body) <= 100_000}
    assert (done.summary["stored"], done.summary["failed"]) == (len(small), len(sized) - len(small))
    check_packed(out, small)
    check_readable(out)


def breaks_off(body):
    """An answer that ends in the middle, and then the whole."""
    return [[answer(body)[:-len(body) // 2], FIN], [answer(body)]]


@BOTH
def test_what_arrived_of_a_body_that_broke_off_is_in_no_shard(sink, out):
    noise = random.Random(5).randbytes(2 * MIB)
    files = {f"n{size}": noise[:size] for size in (50, 5000, 70_000, 300_000, 2 * MIB)}
    for at in range(20):
        files[f"large{at}"] = noise[at:600_000 + at]
    with RawServer(files) as server:
        for name, body in files.items():
            server.on_file(name, *breaks_off(body))
        fetch(server.url, out, *SINKS[sink], "--workers", 1, "--connections", 5)
        verify(server.url, out, "--content", "--workers", 1)
    check_packed(out, files)
    check_readable(out)


LONG = ["n" * 100, "n" * 101, "d/" * 49 + "xy", "d/" * 50 + "xy", "p/" * 120 + "x", "c" * 255, "e/" + "w" * 255,
        "\u00e9" * 60, "\u65e5" * 85]
TOO_LONG_FOR_A_DISK = ["c" * 256, "c" * 1000, "f/" + "w" * 256 + "/x", "z" * 4096, "k/" * 2047 + "x", "\n" * 1400]


@BOTH
@pytest.mark.parametrize("layout", ["tree", "flat"])
def test_long_names_are_stored_and_only_what_no_one_could_list_is_refused(layout, sink, out, tmp_path):
    names = LONG + TOO_LONG_FOR_A_DISK
    with RawServer({name: body_of(name) for name in names}, {None: page([*names, "z" * 4097, "", "a\0b"])}) as server:
        summary = fetch(server.url, out, *SINKS[sink], "--layout", layout, "--workers", 2, code=3).summary
        assert (summary["stored"], summary["rejected"]) == (len(names), 3)
        verify(server.url, out, "--workers", 2, code=3)
        assert len(dead_letters(out, "verify.jsonl")) == 3
        for name in names:
            assert run("cat", out, name).out.encode() == body_of(name)
    assert {letter["class"] for letter in dead_letters(out).values()} == {"name-too-long", "bad-name"}
    check_packed(out, {name: body_of(name) for name in names}, layout)
    check_readable(out)
    with RawServer({name: body_of(name) for name in LONG}) as server:
        fetch(server.url, tmp_path / "long", *SINKS[sink], "--workers", 2)
    assert extract(tmp_path / "long", sink, tmp_path / "in") == {name: body_of(name) for name in LONG}


def hostile_names(outside):
    ups = ("/", "//", "../", "../../", "../" * 40, "x/../../", "./../", "..%2F")
    names = [up + NOWHERE for up in ups] + [f"{outside}/escaped", f"/{outside}/escaped", f"a1/..{outside}/escaped"]
    names += ["a//b", "a/b/", "..", ".", "/", "//", "in/./x", "x//", "...", "-x", "-rf", "--checkpoint-action=exec=id",
              "%", "%41", "100%", "%2F", "%2e%2e", "new\nline", "tab\t", "\x01", "del\x7f", "back\\slash", "*",
              "$(id)", "~root", " ", "trailing ", "h\u00fclle", "\U0001f600", "\u202egnp.exe", "@file", "=x", "a=b",
              "worker-00-000000.tar", "worker-00-000000.idx", ".gigafetch", ".gigafetch/ledger", "PaxHeader",
              "in/.gigafetch/ledger", "12 path=evil"]
    return names + [chr(c) for c in range(2, 0x20)]


@BOTH
@pytest.mark.parametrize("layout", ["tree", "flat", "fanout"])
def test_no_name_is_extracted_outside(layout, sink, out, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    names = hostile_names(outside)
    if layout == "tree":  # in which a file and a folder of one name cannot both be extracted
        paths = [path_of(layout, name) for name in names]
        folders = {path[:at] for path in paths for at, c in enumerate(path) if c == "/"}
        names = [name for name in names if path_of(layout, name) not in folders]
    files = {name: body_of(name) for name in names}
    with RawServer(files) as server:
        fetch(server.url, out, *SINKS[sink], "--layout", layout, "--workers", 2)
        verify(server.url, out, "--content")
    check_packed(out, files, layout)
    check_readable(out)
    for program in ("tar", "bsdtar"):
        (tmp_path / program).mkdir()
        found = extract(out, sink, tmp_path / program / "in", program)
        if layout == "fanout":
            assert sorted(map(joined_tail, found)) == sorted(map(fanout_tail, names))
        else:
            assert found == {path_of(layout, name): files[name] for name in names}
        assert os.listdir(tmp_path / program) == ["in"]
    assert os.listdir(outside) == [] and not os.path.exists(f"/{NOWHERE}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bsdtar", "out", "outside", "tar"]


@BOTH
def test_a_name_that_is_also_a_folder_is_no_conflict_in_an_archive(sink, out):
    files = {name: body_of(name) for name in ("a", "a/b", "a/b/c", "x/y", "x")}
    with RawServer(files) as server:
        fetch(server.url, out, *SINKS[sink], "--workers", 1)
        verify(server.url, out, "--content")
        for name, body in files.items():
            assert run("cat", out, name).out.encode() == body
    check_packed(out, files)


def test_memory_does_not_grow_with_the_number_of_files(out, tmp_path):
    """From where all buffers are full. One byte kept for each file would pass; what an index has of it, 8, would not."""
    peaks = []
    for count, folder in ((200_000, tmp_path / "few"), (600_000, out)):
        with Origin("--files", count, "--page-size", 5000) as origin:
            summary = fetch(origin.url, folder, "--sink", "tar", "--zstd", 1, "--workers", 1, "--pipeline", 16).summary
        assert summary["stored"] == count
        peaks.append(summary["peak_rss_bytes"])
    assert peaks[1] - peaks[0] < 3 * MIB, peaks


@BOTH
def test_shards_are_rolled_at_their_size(sink, out):
    files = catalogue.files(2000)
    with Origin("--files", 2000) as origin:
        fetch(origin.url, out, *SINKS[sink], "--workers", 2, "--batch", 50, "--shard-size", 20_000)
        verify(origin.url, out)
    sizes = [path.stat().st_size for path in shards(out)]
    most = 20_000 + 50 * 1024 + 1024
    assert len(sizes) >= (20 if sink == "tar" else 5) and max(sizes) <= most
    numbers = [tuple(map(int, FILE.fullmatch(path.name).groups()[:2])) for path in shards(out)]
    for worker in (0, 1):
        mine = [number for who, number in numbers if who == worker]
        assert mine == list(range(len(mine))), numbers
    assert sum(size >= 20_000 for size in sizes) >= len(sizes) - 2  # all but the last of each worker
    check_packed(out, files)
    check_tidy(out)
    check_readable(out)


def test_a_shard_size_of_one_byte_makes_a_shard_a_batch(out):
    with Origin("--files", 100) as origin:
        fetch(origin.url, out, "--sink", "tar", "--workers", 1, "--batch", 10, "--shard-size", 1)
        verify(origin.url, out)
    assert len(shards(out)) == 10 and all(len(members(shard)) == 10 for shard in shards(out))
    check_packed(out, catalogue.files(100))


def test_an_empty_listing_makes_no_shard(out):
    with RawServer({}) as server:
        assert fetch(server.url, out, "--sink", "tar").summary["stored"] == 0
        verify(server.url, out)
    assert shards(out) == [] and indexes(out) == []


@pytest.mark.parametrize("options, words", [
    (["--zstd", "3"], ["--zstd", "--sink tar"]),
    (["--sink", "files", "--zstd", "3"], ["--zstd", "--sink tar"]),
    (["--sink", "tar", "--zstd", "0"], ["--zstd"]), (["--sink", "tar", "--zstd", "20"], ["--zstd"]),
    (["--sink", "tar", "--zstd", "-1"], ["--zstd"]), (["--sink", "tar", "--zstd", "x"], ["--zstd"]),
    (["--sink", "tar", "--zstd", ""], ["--zstd"]), (["--sink", "tar", "--zstd"], ["--zstd"]),
    (["--shard-size", "1G"], ["--shard-size", "--sink tar"]),
    (["--sink", "files", "--shard-size", "1G"], ["--shard-size", "--sink tar"]),
    (["--sink", "tar", "--shard-size", "0"], ["--shard-size"]),
    (["--sink", "tar", "--shard-size", "-1"], ["--shard-size"]),
    (["--sink", "tar", "--shard-size", "1X"], ["--shard-size"]), (["--sink", "zip"], ["--sink"]),
])
def test_wrong_use_is_exit_2_and_makes_nothing(options, words, out):
    args = options if options[-1] == "--zstd" else [*options, "http://127.0.0.1:9", out]
    done = run("fetch", *args, code=2).says(*words)
    assert done.out == "" and not out.exists()


@BOTH
def test_names_that_failed_are_in_no_shard(sink, out):
    files = catalogue.files(2000)
    with Origin("--files", 2000, "--page-size", 500, "--error-rate", 0.2) as origin:
        done = fetch(origin.url, out, *SINKS[sink], "--workers", 2, "--retries", 0, code=3)
        failed = dead_letters(out)
        assert len(failed) == done.summary["failed"] > 100
        check_packed(out, {name: body for name, body in files.items() if name not in failed})
        check_readable(out)
        verified = verify(origin.url, out, code=3)
        assert "each name" not in verified.err, "what failed explains the difference"
        assert (verified.summary["stored"], verified.summary["failed"]) == (2000 - len(failed), len(failed))
        assert dead_letters(out, "verify.jsonl").keys() == failed.keys()
        for _ in range(9):
            code = fetch(origin.url, out, *SINKS[sink], "--retries", 3, "--retry-failed", code=None).code
            if code == 0:
                break
        assert code == 0
        verify(origin.url, out)
    check_packed(out, files)
    check_tidy(out)
    check_readable(out)


@BOTH
@pytest.mark.parametrize("level", ["file", "process"])
def test_every_durability_stores_the_same(level, sink, out):
    with Origin("--files", 1000, "--page-size", 300) as origin:
        fetch(origin.url, out, *SINKS[sink], "--durability", level, "--workers", 2)
        verify(origin.url, out)
    check_packed(out, catalogue.files(1000))


@BOTH
def test_a_limit_and_then_the_rest(sink, out):
    names = catalogue.names(100)
    with Origin("--files", 100, "--page-size", 30, "--count") as origin:
        for limit in (0, 7, 40, 60, 100, 200):
            summary = fetch(origin.url, out, *SINKS[sink], "--workers", 2, "--limit", limit).summary
            assert summary["listed"] == summary["stored"] == min(limit, 100)
            check_packed(out, {name: catalogue.body_of(name) for name in names[:limit]})
            check_readable(out)
        assert fetch(origin.url, out, *SINKS[sink]).says("nothing was left to do").summary["requests"] == 0
        verify(origin.url, out)
    check_tidy(out)


@BOTH
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_archives_are_whole_after_a_stop_and_the_next_run_adds_the_rest(signal_number, sink, out):
    args = [*SINKS[sink], "--workers", 2, "--batch", 50, *ONCE]
    files = catalogue.files(3000)
    with Origin("--files", 3000, "--page-size", 500, "--lag", 10, "--count") as origin:
        with Running("fetch", *QUIET, *args, "--rate", 250, origin.url, out) as running:
            wait_until(out.exists, "an output folder")
            wait_until(lambda: any(path.stat().st_size > 20_000 for path in shards(out)), "a shard grown")
            running.signal(signal_number)
            done = running.ended(code=4)
        before = packed(out)
        assert 0 < len(before) == done.summary["stored"] < 3000
        check_readable(out)
        check_tidy(out)
        assert all(files[path] == body for path, body in before.items())
        first = {path: path.read_bytes() for path in shards(out)}
        assert fetch(origin.url, out, *args).summary["resumed"]
        with urllib.request.urlopen(origin.url + "/count") as answered:
            assert json.load(answered)["requests"] == 3000, "a file was fetched again"
        assert all(path.read_bytes() == body for path, body in first.items()), "a shard that was ended is changed"
        assert fetch(origin.url, out, *args).summary["requests"] == 0
        verify(origin.url, out)
    check_packed(out, files)
    check_readable(out)
    check_tidy(out)


@BOTH
def test_the_next_run_may_have_other_workers_and_another_level(sink, out):
    other = SINKS["zstd" if sink == "tar" else "tar"]
    with Origin("--files", 900, "--page-size", 100) as origin:
        fetch(origin.url, out, *SINKS[sink], "--workers", 4, "--limit", 300)
        fetch(origin.url, out, *other, "--workers", 1, "--limit", 600, "--shard-size", 5000)
        fetch(origin.url, out, *SINKS[sink], "--workers", 3)
        verify(origin.url, out, "--workers", 2)
        verify(origin.url, out, "--content")
    assert {path.suffix for path in shards(out)} == {".tar", ".zst"}
    assert len({FILE.fullmatch(path.name).groups()[:2] for path in shards(out)}) == len(shards(out))
    check_packed(out, catalogue.files(900))
    check_readable(out)
    check_tidy(out)


def test_restart_replaces_the_shards(out):
    with Origin("--files", 500) as origin:
        fetch(origin.url, out, "--sink", "tar", "--workers", 4, "--shard-size", 5000, "--batch", 20)
        assert len(shards(out)) > 10
        fetch(origin.url, out, "--sink", "tar", "--zstd", 1, "--workers", 1, "--restart")
        assert [path.name for path in shards(out)] == ["worker-00-000000.tar.zst"]
        check_packed(out, catalogue.files(500))
        check_tidy(out)
        fetch(origin.url, out, "--restart")
        assert shards(out) == [] and indexes(out) == []
    assert stored_files(out) == catalogue.files(500)


@pytest.mark.parametrize("file", ["worker-00-000000.tar", "worker-07-000003.tar.zst", "worker-00-000000.idx"])
@pytest.mark.parametrize("options", [[], ["--force"]])
def test_a_folder_with_anothers_shards_is_refused(options, file, out):
    out.mkdir()
    (out / file).write_bytes(b"mine")
    with Origin("--files", 10) as origin:
        fetch(origin.url, out, "--sink", "tar", *options, code=1).says(str(out), "another folder")
    assert (out / file).read_bytes() == b"mine" and shards(out) in ([], [out / file])


def test_a_job_keeps_its_sink(out, tmp_path):
    with Origin("--files", 10) as origin:
        fetch(origin.url, out, "--sink", "tar")
        fetch(origin.url, out, code=1).says("another job", "sink")
        fetch(origin.url, out, "--force", code=1).says("another job", "sink")
        fetch(origin.url, tmp_path / "files")
        fetch(origin.url, tmp_path / "files", "--sink", "tar", code=1).says("another job", "sink")
    check_packed(out, catalogue.files(10))


@BOTH
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_shard_that_has_lost_what_was_recorded_is_told(how, sink, out):
    """One that was still written to: a finished one is for verify to look at."""
    first = catalogue.name_of(0)
    with Origin("--files", 1000) as origin:
        args = ["--workers", 1, "--batch", 10, "--rate", 100, *SINKS[sink]]
        with Running("fetch", *QUIET, *args, origin.url, out) as running:
            wait_until(lambda: run("cat", out, first, code=None).code == 0, "a file recorded as stored")
            running.signal(signal.SIGKILL)
            running.ended(code=-signal.SIGKILL)
        shard, = shards(out)
        if how == "cut":
            os.truncate(shard, 100)
        else:
            shard.unlink()
        for done in (fetch(origin.url, out, *SINKS[sink], code=1), verify(origin.url, out, code=1),
                     run("cat", out, first, code=1)):
            done.says("worker-00-000000.tar", "stored in it")
        fetch(origin.url, out, *SINKS[sink], code=1).says("--restart")
        fetch(origin.url, out, *SINKS[sink], "--restart")
        verify(origin.url, out)
    check_packed(out, catalogue.files(1000))
    check_tidy(out)


def test_names_listed_on_several_pages_are_stored_as_often(out):
    """The second copy counts, as with files; verify is content with it."""
    files = {f"n{i:02}": body_of(f"n{i:02}") for i in range(61)}
    names = list(files)
    pages = {None: page(names + names[:3], "2"), "2": page(names[10:40], "3"), "3": page(names[:5])}
    with RawServer(files, pages) as server:
        summary = fetch(server.url, out, "--sink", "tar", "--workers", 2).summary
        assert (summary["listed"], summary["stored"], summary["duplicates"]) == (99, 96, 3)
        for content in ([], ["--content"]):
            again = verify(server.url, out, "--workers", 2, *content).summary
            assert (again["stored"], again["duplicates"], again["extra"]) == (96, 3, 0)
        assert run("cat", out, names[0]).out.encode() == files[names[0]]
    found = [path for shard in shards(out) for path, _ in members(shard)]
    assert sorted(found) == sorted(names + names[10:40] + names[:5])
    check_readable(out)


def test_of_two_copies_the_latest_counts_also_for_tar_when_it_is_told_so(out, tmp_path):
    names = ["fails", "a", "b"]
    with RawServer({name: b"old" for name in names}) as server:
        fetch(server.url, out, "--sink", "tar", "--workers", 1, "--limit", 3)
        stored_at = int(time.time())
        wait_until(lambda: int(time.time()) > stored_at, "the next second")
        # Another listing, so that all of it is fetched again.
        server.files = {name: b"new" for name in (b"c", b"b", b"a", b"fails")}
        server.pages = {None: page(["c", "b", "a", "fails"])}
        server.on_file("fails", answer(b"", "404 Not Found"))
        done = fetch(server.url, out, "--sink", "tar", "--workers", 1, code=3)
        assert (done.summary["stored"], done.summary["failed"]) == (3, 1)
        assert dead_letters(out).keys() == {"fails"}
        bodies = {"a": b"new", "b": b"new", "c": b"new", "fails": b"old"}
        for name, body in bodies.items():
            assert tool(BINARY, "cat", out, name) == body
        verify(server.url, out).says("2 files that also stand there again")
    # In an order in which the shards of several workers may stand.
    archives = b"".join(shard.read_bytes() for shard in reversed(shards(out)))
    for options, expected in ([], {**bodies, "a": b"old", "b": b"old"}), (["--keep-newer-files"], bodies):
        into = tmp_path / "-".join(["into", *options])
        into.mkdir()
        subprocess.run(["tar", "-xi", *options, "-C", into], input=archives, check=True, capture_output=True)
        assert stored_files(into) == expected


@BOTH
def test_shards_of_a_run_that_was_cut_short_hold_what_counts_and_are_ended_by_the_next(sink, out):
    files = {f"f{i}": body_of(f"f{i}") for i in range(100)}
    large = random.Random(1).randbytes(MIB)
    # The first on its connection: no other answer waits there to be proven.
    with RawServer({"large": large} | files) as server:
        args = [*SINKS[sink], "--workers", 1]
        server.on_file("large", [answer(large)[:-1000], HANG])
        with Running("fetch", *QUIET, *args, server.url, out) as running:
            wait_until(lambda: out.exists() and len(shards(out)) == 2, "a shard of each kind")
            wait_until(lambda: run("cat", out, "f7", code=None).code == 0, "a lot that counts")
            running.signal(signal.SIGTERM)
            running.signal(signal.SIGINT)
            done = running.ended(4)
        assert "run the same command again" in done.err
        # The streamed file was given up, and leaves an empty shard; the other holds whole members, and no end of archive.
        whole = min((shard for shard in shards(out) if shard.stat().st_size), key=lambda shard: shard.stat().st_size)
        if sink == "zstd":
            tool("zstd", "-tq", whole)
        assert sorted(listed_by("tar", whole)) == sorted(name.encode() for name in files)
        assert tool(BINARY, "cat", out, "f7") == files["f7"]
        run("cat", out, "large", code=1)
        verify(server.url, out, code=3)
        server.on_file("large", answer(large))
        assert fetch(server.url, out, *args).summary["stored"] == len(files) + 1
        verify(server.url, out)
    check_packed(out, files | {"large": large})
    check_tidy(out)


@BOTH
def test_a_run_that_is_stopped_while_a_file_hangs_ends_its_shards_with_all_that_was_answered(sink, out):
    files = {f"f{i}": body_of(f"f{i}") for i in range(100)}
    large = random.Random(1).randbytes(MIB)
    with RawServer(files | {"large": large}) as server:
        args = [*SINKS[sink], "--workers", 1, "--connections", 2]
        server.on_file("large", [answer(large)[:-1000], HANG])
        with Running("fetch", *QUIET, *args, server.url, out) as running:
            wait_until(lambda: server.count("/get/large") == 1 and server.gets() == len(files) + 1, "all asked for")
            running.signal(signal.SIGTERM)
            done = running.ended(4)
        assert done.summary["stored"] == len(files)
        check_packed(out, files)
        server.on_file("large", answer(large))
        asked = server.gets()
        assert fetch(server.url, out, *args).summary["stored"] == len(files) + 1
        assert server.gets() == asked + 1
    check_packed(out, files | {"large": large})
    check_tidy(out)


def test_a_shard_that_somebody_has_unpacked_in_place_is_told(out):
    with Origin("--files", 100) as origin:
        fetch(origin.url, out, *SINKS["zstd"], "--workers", 1)
        unpacked = out / "worker-00-000000.tar"
        unpacked.write_bytes(b"somebody's")
        verify(origin.url, out, code=1).says("worker-00-000000.tar", "worker-00-000000.tar.zst")
        run("cat", out, catalogue.name_of(0), code=1).says("worker-00-000000.tar.zst")
        assert unpacked.read_bytes() == b"somebody's"
        unpacked.unlink()
        verify(origin.url, out)


def test_restart_takes_no_shards_but_those_of_the_job(out):
    out.mkdir()
    foreign = out / "worker-00-000000.tar"
    foreign.write_bytes(b"somebody's")
    with Origin("--files", 10) as origin:
        fetch(origin.url, out, "--force")  # into the same folder, and of no concern to files
        fetch(origin.url, out, "--sink", "tar", "--restart", "--force", code=1).says("worker-")
        assert foreign.read_bytes() == b"somebody's"
