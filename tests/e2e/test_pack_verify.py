"""verify of packed output: what is damaged is found, whatever the indexes say, and all else is found whole."""
import functools
import io
import os
import random
import shutil
import signal
import tarfile

import pytest

import catalogue
from catalogue import Origin
from command import ONCE, QUIET, Running, dead_letters, fetch, run, verify
from processes import wait_until
from raw_server import RawServer, answer, page, pages_of
from shards import END, indexes, members, shards, tool, unpacked

FILES = 400
SINKS = {"tar": ["--sink", "tar"], "zstd": ["--sink", "tar", "--zstd", "1"]}
BOTH = pytest.mark.parametrize("sink", SINKS)
CONTENT = pytest.mark.parametrize("content", [[], ["--content"]])
INDEXES = pytest.mark.parametrize("with_index", [True, False])
FRAME = b"\x28\xb5\x2f\xfd"  # how one begins


@pytest.fixture(scope="module")
def origin():
    with Origin("--files", FILES, "--page-size", 100) as origin:
        yield origin


@pytest.fixture(scope="module")
def whole_copies(origin, tmp_path_factory):
    """A copy for each sink, some shards per worker, as one run has left it."""
    copies = {sink: tmp_path_factory.mktemp("whole") / sink for sink in SINKS}
    for sink, folder in copies.items():
        size = 15_000 if sink == "tar" else 5000
        fetch(origin.url, folder, *SINKS[sink], "--workers", 2, "--batch", 20, "--shard-size", size)
    return copies


@pytest.fixture
def copy(whole_copies):
    return functools.partial(copied, whole_copies)


def copied(whole_copies, out, sink, with_index=True):
    """The shards of a copy that may be damaged."""
    shutil.copytree(whole_copies[sink], out)
    if not with_index:
        for index in indexes(out):
            index.unlink()
    assert len(shards(out)) > 2
    return shards(out)


def names_in(shard):
    return {path for path, _ in members(shard)}


def findings(out):
    return {name: letter["class"] for name, letter in dead_letters(out, "verify.jsonl").items()}


def flip(path, at):
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0x04
    path.write_bytes(raw)


def without_end(shard):
    """The shard's bytes up to its end of archive."""
    raw = shard.read_bytes()
    return raw[:raw.rindex(FRAME)] if shard.suffix == ".zst" else raw[:-len(END)]


def appended(shard, members):
    """Puts these (name, body) behind all others, where an archiver would."""
    more = io.BytesIO()
    with tarfile.open(fileobj=more, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
        size = more.tell()
    tail = more.getvalue()[:size] + END
    shard.write_bytes(without_end(shard) + (tool("zstd", "-qc", input=tail) if shard.suffix == ".zst" else tail))


@BOTH
@INDEXES
@CONTENT
def test_a_whole_copy_is_found_whole_and_left_as_it_is(content, with_index, sink, origin, copy, out):
    copy(out, sink, with_index)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.glob("worker-*")}
    done = verify(origin.url, out, "--workers", 3, *content)
    summary = done.summary
    assert (summary["listed"], summary["stored"], summary["failed"], summary["extra"]) == (FILES, FILES, 0, 0)
    assert summary["bytes"] == FILES * 100 and done.err == "" and findings(out) == {}
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.glob("worker-*")} == before


@BOTH
@INDEXES
@CONTENT
def test_the_names_of_a_missing_shard_are_named(content, with_index, sink, origin, copy, out):
    shard = copy(out, sink, with_index)[1]
    lost = names_in(shard)
    shard.unlink()
    done = verify(origin.url, out, "--workers", 2, *content, code=3).says(f"{len(lost)} listed names", "verify.jsonl")
    assert findings(out) == dict.fromkeys(lost, "missing")
    assert (done.summary["stored"], done.summary["failed"]) == (FILES - len(lost), len(lost))


CUTS = {"to nothing": 0.0, "in the middle": 0.5, "by its end": 0.9}


@BOTH
@INDEXES
@CONTENT
@pytest.mark.parametrize("cut", CUTS)
def test_what_a_cut_shard_has_lost_is_named(cut, content, with_index, sink, origin, copy, out):
    shard = copy(out, sink, with_index)[0]
    mine = names_in(shard)
    raw = shard.read_bytes()
    shard.write_bytes(raw[:int(len(raw) * CUTS[cut])])
    done = verify(origin.url, out, "--workers", 2, *content, code=3).says("verify.jsonl")
    found = findings(out)
    assert 0 < len(found) == done.summary["failed"] and found.keys() <= mine
    assert set(found.values()) <= {"missing", "different"}
    if cut == "to nothing":
        assert found == dict.fromkeys(mine, "missing")


@INDEXES
@CONTENT
@pytest.mark.parametrize("field", [0, 124, 148, 156, 257])
def test_a_flipped_byte_in_a_header_is_found(field, content, with_index, origin, copy, out):
    shard = copy(out, "tar", with_index)[0]
    paths = [path for path, _ in members(shard)]
    flip(shard, 3 * 1024 + field)
    done = verify(origin.url, out, "--workers", 2, *content, code=3)
    done.says("verify.jsonl", *([] if content else [shard.name, "byte"]))
    found = findings(out)
    if with_index:
        assert found.keys() == {paths[3]}
    else:  # nothing tells where the next member begins
        assert paths[3] in found and found.keys() <= set(paths)


@INDEXES
def test_a_flipped_byte_in_a_body_is_found(with_index, origin, copy, out):
    shard = copy(out, "tar", with_index)[0]
    paths = [path for path, _ in members(shard)]
    flip(shard, 3 * 1024 + 512 + 50)
    verify(origin.url, out, "--workers", 2, code=3).says("not as it was stored", "verify.jsonl")
    (letter,) = dead_letters(out, "verify.jsonl").values()  # the page that it is on
    assert letter["class"] == "different" and "page" in letter["error"]
    verify(origin.url, out, "--workers", 2, "--content", code=3)
    assert findings(out) == {paths[3]: "different"}
    assert "byte 50" in dead_letters(out, "verify.jsonl")[paths[3]]["error"]


@INDEXES
@CONTENT
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.9])
def test_a_flipped_byte_in_a_frame_is_found(part, content, with_index, origin, copy, out):
    shard = copy(out, "zstd", with_index)[0]
    mine = names_in(shard)
    flip(shard, int(len(without_end(shard)) * part))
    done = verify(origin.url, out, "--workers", 2, *content, code=3)
    done.says(shard.name, "byte")
    found = findings(out)
    assert len(found) == done.summary["failed"] and found.keys() <= mine
    if part == 0.0:
        assert found, "a frame that does not begin as one is lost"
    if found:
        done.says("verify.jsonl")
    else:  # what has changed is between the files, or the frame's checksum
        done.says("every listed name is there")
    if with_index:
        assert len(found) <= 20, "only the files of that frame are lost"


def damage_without_loss(shard):
    """Makes a frame's head say that it has no checksum: then the one that it has stands between frames."""
    flip(shard, shard.read_bytes().index(FRAME, 4) + 4)  # RFC 8878, section 3.1.1.1.1


# What verify says of it: names that are lost, entries that nobody listed, damage alone, and damage besides.
LOST, EXTRA = "listed names are not stored as they should be", "entries on disk are not listed"
DAMAGE_ALONE = "every listed name is there, but not all of the shards can be read"
DAMAGE_TOO = "not all of the shards can be read: the listed names that this has cost are among those"
VERDICTS = {LOST, EXTRA, DAMAGE_ALONE, DAMAGE_TOO}
NOT_AS_LISTED = "do not hold exactly what is listed"


def says_only(done, *verdicts):
    done.says(*verdicts)
    wrong = [verdict for verdict in VERDICTS.difference(verdicts) if verdict in done.err]
    assert not wrong, f"{wrong}: {done}"


@CONTENT
def test_damage_that_costs_no_file_is_no_success(content, origin, copy, out):
    shard = copy(out, "zstd")[0]
    damage_without_loss(shard)
    done = verify(origin.url, out, "--workers", 2, *content, code=3)
    done.says(shard.name, "byte", "every listed name is there")
    says_only(done, DAMAGE_ALONE)
    assert NOT_AS_LISTED not in done.err and "as it was stored" not in done.err
    assert findings(out) == {} and done.summary["stored"] == FILES


@CONTENT
def test_names_that_are_lost_without_damage_are_told_as_such(content, origin, copy, out):
    copy(out, "zstd")[1].unlink()
    done = verify(origin.url, out, "--workers", 2, *content, code=3)
    says_only(done, LOST)
    assert (NOT_AS_LISTED in done.err) == (not content)


@CONTENT
def test_names_that_are_lost_and_damage_besides_are_both_told(content, origin, copy, out):
    damaged, gone, *_ = copy(out, "zstd")
    lost = names_in(gone)
    gone.unlink()
    damage_without_loss(damaged)
    done = verify(origin.url, out, "--workers", 2, *content, code=3).says(damaged.name, "byte", f"{len(lost)} listed")
    says_only(done, LOST, DAMAGE_TOO)
    assert findings(out) == dict.fromkeys(lost, "missing")


@CONTENT
def test_extra_members_and_damage_besides_are_both_told(content, origin, copy, out):
    damaged, longer, *_ = copy(out, "zstd")
    appended(longer, [("extra", b"x")])
    damage_without_loss(damaged)
    done = verify(origin.url, out, "--workers", 2, *content, code=3)
    says_only(done, EXTRA, DAMAGE_ALONE)
    assert (done.summary["extra"], done.summary["failed"], done.summary["stored"]) == (1, 0, FILES)


@CONTENT
def test_copies_that_stand_there_again_are_no_difference(content, origin, copy, out):
    first, second, *_ = copy(out, "tar")
    appended(second, members(first)[:3])
    done = verify(origin.url, out, "--workers", 2, *content).says("3 files that also stand there again")
    says_only(done)
    assert done.summary["extra"] == 0 and findings(out) == {}


@BOTH
@INDEXES
@CONTENT
def test_an_extra_member_is_counted_and_shown(content, with_index, sink, origin, copy, out):
    appended(copy(out, sink, with_index)[0], [("extra", b"x"), ("a%2f", b"no name leads here")])
    done = verify(origin.url, out, "--workers", 2, *content, code=3)
    done.says("not listed, but on disk: 'extra'", "'a%2f'", "2 entries on disk are not listed")
    assert (done.summary["extra"], done.summary["failed"], done.summary["stored"]) == (2, 0, FILES)


@BOTH
@CONTENT
@pytest.mark.parametrize("damage", ["flipped", "cut", "zeros", "longer", "empty"])
def test_a_damaged_index_changes_nothing(damage, content, sink, origin, copy, out):
    all_shards = copy(out, sink)
    files = indexes(out)
    for index in files:
        raw = bytearray(index.read_bytes())
        assert len(raw) > 40
        if damage == "flipped":
            for at in range(5, len(raw), 61):
                raw[at] ^= 0xFF
        index.write_bytes({"flipped": raw, "cut": raw[:len(raw) // 2], "zeros": bytes(len(raw)), "longer": raw * 2,
                           "empty": b""}[damage])
    verify(origin.url, out, "--workers", 2, *content)
    lost = names_in(all_shards[0])
    all_shards[0].unlink()
    verify(origin.url, out, "--workers", 2, *content, code=3)
    assert findings(out) == dict.fromkeys(lost, "missing")


@BOTH
def test_other_bytes_at_the_origin_are_found_by_content(sink, out):
    files = {f"n{i}": b"body %d " % i * (1 + 3000 * i) for i in range(12)}
    with RawServer(files) as server:
        fetch(server.url, out, *SINKS[sink], "--workers", 2)
        for name, body in (("n0", b""), ("n3", files["n3"][:-1] + b"!"), ("n11", files["n11"] + b"x")):
            server.on_file(name, answer(body))
        server.on_file("n5", answer(b"", "404 Gone"))
        verify(server.url, out, "--workers", 2)
        verify(server.url, out, "--workers", 2, "--content", code=3)
    assert findings(out) == {"n0": "different", "n3": "different", "n11": "different", "n5": "http-status"}


@BOTH
@INDEXES
def test_what_a_killed_run_had_recorded_is_verified(with_index, sink, origin, out):
    """Its shards are not ended yet, and what stands behind their recorded end does not count."""
    args = [*SINKS[sink], "--workers", 2, "--batch", 20, "--rate", 20]
    with Running("fetch", *QUIET, *args, origin.url, out) as running:
        wait_until(lambda: run("cat", out, catalogue.name_of(0), code=None).code == 0, "a file recorded as stored")
        running.signal(signal.SIGKILL)
        running.ended(code=-signal.SIGKILL)
    for index in indexes(out) if not with_index else []:
        index.unlink()
    for shard in shards(out):
        with open(shard, "ab") as file:
            file.write(b"torn" * 300)
    for content in ([], ["--content"]):
        done = verify(origin.url, out, "--workers", 2, *content, code=3)
        assert done.summary["extra"] == 0 and set(findings(out).values()) == {"missing"}
        assert 0 < done.summary["stored"] < FILES
    fetch(origin.url, out, *SINKS[sink])
    verify(origin.url, out, "--content")


MEMORY = 48 << 20  # bytes a process may take


@BOTH
def test_many_large_files_are_compared_side_by_side_in_little_memory(sink, out):
    """Each of the 64 connections has one under way."""
    with Origin("--files", 128, "--size", 2_000_000) as large:
        fetch(large.url, out, *SINKS[sink], "--workers", 1)
        summary = verify(large.url, out, "--content", "--workers", 1).summary
    assert summary["bytes"] == 128 * 2_000_000 and summary["peak_rss_bytes"] < MEMORY


@BOTH
@pytest.mark.parametrize("count, size", [(400, 100_000), (120, 500_000)])
def test_members_are_compared_in_little_memory_in_whatever_order_they_are_listed(count, size, sink, out):
    """Each of them is in another frame than the one before."""
    dice = random.Random(1)
    files = {f"f{i:03}": dice.randbytes(size) for i in range(count)}
    shuffled = dice.sample(list(files), count)
    with RawServer(files) as server:
        fetch(server.url, out, *SINKS[sink], "--workers", 1)
        server.pages = {None: page(shuffled)}
        summary = verify(server.url, out, "--content", "--workers", 1).summary
    assert summary["bytes"] == count * size and summary["peak_rss_bytes"] < MEMORY


def test_all_frames_and_readers_that_are_in_use_have_little_memory(out):
    """Answers come bit by bit, so that all are in use; and what is asked for counts, for malloc(3) writes to it."""
    dice = random.Random(1)
    files = {f"f{i:03}": dice.randbytes(100_000) for i in range(400)}
    with RawServer(files) as server:
        fetch(server.url, out, *SINKS["zstd"], "--workers", 1)
        server.pages = {None: page(dice.sample(list(files), len(files)))}
        for name, body in files.items():
            cuts = [0, *sorted(dice.sample(range(len(body)), 3)), len(body) + 100]
            pieces = [answer(body)[begin:end] for begin, end in zip(cuts, cuts[1:])]
            server.on_file(name, [step for piece in pieces for step in (piece, dice.choice([0.02, 0.1]))])
        done = verify(server.url, out, "--content", "--workers", 1, env={**os.environ, "MALLOC_PERTURB_": "85"})
    assert done.summary["stored"] == len(files) and done.summary["peak_rss_bytes"] < 42 << 20


@CONTENT
def test_an_older_copy_does_not_stand_in_for_a_newer_one_that_is_damaged(content, out):
    names, body = ["a", "b"], b"x" * 2000
    with RawServer(dict.fromkeys(names, body), {None: page(["a"], "m1"), "m1": page([])}) as server:
        args = [server.url, out, "--sink", "tar", "--shard-size", 1, "--batch", 1, "--workers", 1]
        fetch(*args, "--limit", 1)
        server.pages = {None: page(["b", "a"])}
        fetch(*args)
        older, newer = [shard for shard in shards(out) if "a" in names_in(shard)]
        newer.write_bytes(newer.read_bytes()[:700])
        done = verify(server.url, out, "--workers", 1, *content, code=3)
    assert findings(out) == {"a": "different"} and done.summary["stored"] == 1
    assert older.exists()


class Growing(RawServer):
    """Lists a name more each time."""

    def plain_answer(self, target):
        if target == "/list":
            self.files[b"more%d" % self.count("/list")] = b"m"
            return answer(page(name.decode() for name in self.files))
        return super().plain_answer(target)


@CONTENT
def test_an_origin_that_gains_names_all_the_time_is_compared_with_one_of_its_listings(content, out):
    with RawServer(catalogue.files(50)) as server:
        fetch(server.url, out, *SINKS["tar"], "--workers", 1)
    with Growing(catalogue.files(50), port=server.port) as server:
        done = verify(server.url, out, "--workers", 1, *content, code=3)
    summary = done.summary
    assert summary["extra"] == 0 and summary["stored"] == 50
    if not content:
        assert summary["listed"] == 50 + server.count("/list") and summary["failed"] == server.count("/list")
        assert set(findings(out).values()) == {"missing"} and len(findings(out)) == summary["failed"]


def test_names_that_are_too_long_and_names_that_failed_are_all_among_the_findings(out):
    long, files = "l" * 70_000, {"a": b"a"}
    with RawServer(files, {None: page(["a", "gone"])}) as server:
        fetch(server.url, out, *SINKS["tar"], "--workers", 1, code=3)
        server.pages = {None: page(["a", "gone", long])}
        done = verify(server.url, out, "--workers", 1, code=3)
    assert (done.summary["stored"], done.summary["failed"], done.summary["rejected"]) == (1, 1, 1)
    assert set(findings(out)) == {"gone", long}


@BOTH
@INDEXES
@CONTENT
def test_names_that_the_origin_has_gained_and_lost_are_told_apart(content, with_index, sink, out):
    before = catalogue.files(4000)
    now = dict(list(before.items())[5:]) | {f"gained{i}": b"g" for i in range(7)}
    with RawServer(before, pages_of(list(before), 1000)) as server:
        fetch(server.url, out, *SINKS[sink], "--workers", 2, "--pipeline", 16)
    for index in indexes(out) if not with_index else []:
        index.unlink()
    with RawServer(now, pages_of(list(now), 1000), port=server.port) as server:
        done = verify(server.url, out, "--workers", 2, "--pipeline", 16, *content, *ONCE, code=3)
    done.says("5 entries on disk are not listed", "7 listed names", *(f"on disk: '{name}'" for name in list(before)[:5]))
    summary = done.summary
    assert (summary["listed"], summary["stored"], summary["failed"], summary["extra"]) == (4002, 3995, 7, 5)
    assert summary["bytes"] == 3995 * 100 and summary["peak_rss_bytes"] < MEMORY
    assert findings(out) == {f"gained{i}": "missing" for i in range(7)}
    assert server.gets() == (3995 if content else 0) + 7 * bool(content)


@CONTENT
def test_a_name_listed_on_two_pages_is_missing_on_both(content, out):
    names = [f"n{i}" for i in range(30)]
    with RawServer({name: b"b" for name in names}, {None: page(names, "2"), "2": page(names[:10])}) as server:
        fetch(server.url, out, "--sink", "tar", "--workers", 1, "--batch", 5, "--shard-size", 1)
        verify(server.url, out, "--workers", 2, *content)
        lost = [shard for shard in shards(out) if "n3" in names_in(shard)]
        for shard in lost:
            shard.unlink()
        done = verify(server.url, out, "--workers", 2, *content, code=3)
    assert done.summary["failed"] == 10 and set(findings(out)) == {f"n{i}" for i in range(5)}
    assert done.summary["listed"] == 40 and done.summary["extra"] == 0
