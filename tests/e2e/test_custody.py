"""A job goes on only in the folders that it was left in: emptied, not mounted, replaced, copied or shared ones are told."""
import os
import shutil
import subprocess

import pytest

from command import BINARY, dead_letters, fetch, run, verify
from layouts import stored_files
from raw_server import RawServer, page
from shards import members, shards, tool

FILES = {f"f{i:02}": f"body {i}".encode() for i in range(40)}
ARGS = ["--workers", 1, "--batch", 5]
SINKS = pytest.mark.parametrize("sink", ["files", "tar"])


@pytest.fixture(scope="module")
def server():
    with RawServer(FILES) as server:
        yield server


def place(kind, out, tmp_path):
    """Options for the state folder in OUT, or elsewhere."""
    return ["--state", tmp_path / "state"] if kind == "elsewhere" else []


def refused(server, out, *options, words=()):
    before = server.gets()
    done = fetch(server.url, out, *ARGS, *options, code=1).says(*words)
    assert done.out == "" and server.gets() == before
    return done


def is_whole(server, out, *options):
    verify(server.url, out, "--content", "--workers", 1, *options)


def empty(folder, all_of_it):
    for entry in folder.iterdir():
        if all_of_it or not entry.name.startswith("."):  # what rm -rf OUT/* leaves
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@SINKS
@pytest.mark.parametrize("state", ["inside", "elsewhere"])
def test_a_folder_that_was_emptied_is_not_taken_for_whole(state, sink, server, out, tmp_path):
    options = [*place(state, out, tmp_path), "--sink", sink]
    fetch(server.url, out, *ARGS, *options)
    empty(out, all_of_it=False)
    refused(server, out, *options, words=[out, "mount", "--restart"])
    fetch(server.url, out, *ARGS, *options, "--restart")
    is_whole(server, out, *options[:-2])


@SINKS
def test_a_folder_that_is_not_mounted_is_told_from_the_one_that_was_filled(sink, server, out, tmp_path):
    options = ["--state", tmp_path / "state", "--sink", sink]
    fetch(server.url, out, *ARGS, *options, "--limit", 20)
    out.rename(tmp_path / "volume")
    out.mkdir()
    refused(server, out, *options, words=["mount", "--restart"])
    (out / "something").write_bytes(b"else")
    if sink == "tar":
        (out / "worker-00-000000.idx").write_bytes(b"")
    refused(server, out, *options, words=["mount", "--repair", "--restart"])
    refused(server, out, *options, "--repair", words=["holds", "recorded", "--restart"])
    shutil.rmtree(out)
    (tmp_path / "volume").rename(out)
    assert fetch(server.url, out, *ARGS, *options).summary["stored"] == len(FILES)
    is_whole(server, out, *options[:-2])


def test_a_folder_with_the_mark_of_another_job_is_refused(server, out, tmp_path):
    mine, other = ["--state", tmp_path / "mine"], ["--state", tmp_path / "other"]
    fetch(server.url, out, *ARGS, *mine)
    mark = (out / ".gigafetch" / "job").read_bytes()
    assert mark.startswith(b"gigafetch job ") and len(mark) == 31 and (tmp_path / "mine" / "job").read_bytes() == mark
    refused(server, out, words=["state folder is elsewhere", "--state"])
    fetch(server.url, out, *ARGS, *other, "--force")
    refused(server, out, *mine, words=["that of another", "--repair", "--restart"])
    # It holds what is recorded, as the operator says.
    fetch(server.url, out, *ARGS, *mine, "--repair").says("accepted", "verify")
    assert (out / ".gigafetch" / "job").read_bytes() == mark
    assert fetch(server.url, out, *ARGS, *mine).summary["requests"] == 0
    is_whole(server, out, *mine)


@pytest.mark.parametrize("state", ["inside", "elsewhere"])
def test_the_mark_is_no_file_of_the_job(state, server, out, tmp_path):
    options = place(state, out, tmp_path)
    names = {"job": b"1", ".gigafetch/job": b"2", "gigafetch/job": b"3", "%2Egigafetch/job": b"4"}
    with RawServer(names) as odd:
        fetch(odd.url, out, *ARGS, *options)
        assert verify(odd.url, out, "--workers", 1, *options).summary["extra"] == 0
        for name, body in names.items():
            assert tool(BINARY, "cat", *options, out, name) == body
        assert fetch(odd.url, out, *ARGS, *options).summary["requests"] == 0


def as_format_3(state):
    """The ledger as an earlier version would have left it, in its header; runs of that time recorded no places."""
    fixture = state / "ledger"
    whole = bytearray(fixture.read_bytes())
    whole[8] = 3
    fixture.write_bytes(whole)


def test_a_ledger_of_the_earlier_format_goes_on_as_one_of_this(server, out):
    fetch(server.url, out, *ARGS, "--limit", 20)
    ledger = out / ".gigafetch" / "ledger"
    as_format_3(ledger.parent)
    assert fetch(server.url, out, *ARGS).summary["stored"] == len(FILES)
    assert ledger.read_bytes()[8] == 4
    assert fetch(server.url, out, *ARGS).summary["requests"] == 0
    is_whole(server, out)


@SINKS
def test_a_folder_that_was_moved_goes_on_and_a_copy_only_when_told(sink, server, out, tmp_path):
    fetch(server.url, out, *ARGS, "--sink", sink, "--limit", 20)
    moved, copy, part = tmp_path / "moved", tmp_path / "copy", tmp_path / "part"
    out.rename(moved)
    fetch(server.url, moved, *ARGS, "--sink", sink, "--limit", 30)
    subprocess.run(["cp", "-a", moved, copy], check=True)
    subprocess.run(["cp", "-a", moved, part], check=True)
    refused(server, copy, "--sink", sink, words=["copy", "mv", "--repair", "--restart"])
    # What was stored in the original since is nothing to the copy.
    fetch(server.url, moved, *ARGS, "--sink", sink)
    fetch(server.url, copy, *ARGS, "--sink", sink, "--repair").says("accepted", "verify")
    is_whole(server, copy)
    is_whole(server, moved)
    next(path for path in sorted(part.iterdir()) if path.name.startswith(("f", "worker")) and path.suffix != ".idx").unlink()
    refused(server, part, "--sink", sink, "--repair", words=["recorded", "--restart"])


@SINKS
def test_a_copy_made_of_links_and_the_original_do_not_write_to_each_other(sink, server, out, tmp_path):
    options, copy = ["--sink", sink], tmp_path / "copy"
    fetch(server.url, out, *ARGS, *options, "--limit", 20)
    subprocess.run(["cp", "-al", out, copy], check=True)
    refused(server, out, *options, words=["another link", "ledger", "--repair"])
    fetch(server.url, out, *ARGS, *options, "--repair")
    is_whole(server, out)
    assert (out / ".gigafetch" / "ledger").stat().st_nlink == 1
    refused(server, copy, *options, words=["copy", "--repair", "--restart"])
    fetch(server.url, copy, *ARGS, *options, "--restart", "--force")
    is_whole(server, copy)
    is_whole(server, out)


def test_a_copy_made_of_links_whose_ledger_went_on_with_the_originals_is_not_taken_for_whole(server, out, tmp_path):
    fetch(server.url, out, *ARGS, "--limit", 20)
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-al", out, copy], check=True)
    fetch(server.url, out, *ARGS, "--repair")
    # As an earlier version would have written: into both.
    (copy / ".gigafetch" / "ledger").write_bytes((out / ".gigafetch" / "ledger").read_bytes())
    refused(server, copy, words=["copy"])
    refused(server, copy, "--repair", words=["holds 20 files, and 40 are recorded", "--restart"])


@pytest.mark.parametrize("state", ["inside", "elsewhere"])
@pytest.mark.parametrize("place_of_damage", [0, 17, 30])
def test_the_advice_for_a_damaged_beginning_of_a_packed_job_works(place_of_damage, state, server, out, tmp_path):
    options = [*place(state, out, tmp_path), "--sink", "tar"]
    fetch(server.url, out, *ARGS, *options)
    ledger = (tmp_path / "state" if state == "elsewhere" else out / ".gigafetch") / "ledger"
    whole = bytearray(ledger.read_bytes())
    whole[place_of_damage] ^= 1
    ledger.write_bytes(whole)
    refused(server, out, *options, words=["ledger is damaged", "--restart"])
    assert fetch(server.url, out, *ARGS, *options, "--restart").summary["stored"] == len(FILES)
    is_whole(server, out, *options[:-2])


def records(ledger):
    """(offset, type, end) of each record (store/record.h)."""
    at = 24
    while at < len(ledger):
        begin, shift, length = at, 0, 0
        kind, at = ledger[at], at + 1
        while True:
            byte, at = ledger[at], at + 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        at += length + 8
        yield begin, kind, at


def test_a_write_torn_between_a_shard_and_its_names_packs_no_name_twice(server, out):
    """Cut behind the record of a shard's end, which does not end its write."""
    fetch(server.url, out, *ARGS, "--sink", "tar", "--durability", "process")
    state = out / ".gigafetch"
    kept = {path: path.read_bytes() for path in [*shards(out), *out.glob("*.idx"), state / "ledger", state / "failures"]}
    shard = 12
    cuts = [end for _, kind, end in records(kept[state / "ledger"]) if kind == shard]
    assert cuts
    for cut in cuts[:5]:
        for path in [*shards(out), *out.glob("*.idx")]:
            path.unlink()
        for path, body in kept.items():
            path.write_bytes(body)
        os.truncate(state / "ledger", cut)
        fetch(server.url, out, *ARGS, "--sink", "tar")
        assert verify(server.url, out, "--workers", 1).summary["stored"] == len(FILES)
        assert sum(len(members(path)) for path in shards(out)) == len(FILES)


def test_a_clock_that_was_set_back_does_not_bring_old_bytes_back(out):
    """The order of the members is the ledger's."""
    with RawServer({name: b"old" for name in "abc"}) as server:
        fetch(server.url, out, "--sink", "tar", "--workers", 2, "--limit", 3)
        # As if the first run had been tomorrow: its members' times, with the headers' sums.
        for shard in shards(out):
            raw = bytearray(shard.read_bytes())
            for at in range(0, len(raw), 512):
                if raw[at + 257:at + 262] == b"ustar":
                    later = int(raw[at + 136:at + 147], 8) + 86400
                    raw[at + 136:at + 147] = b"%011o" % later
                    raw[at + 148:at + 156] = b" " * 8
                    raw[at + 148:at + 156] = b"%06o\0 " % sum(raw[at:at + 512])
            shard.write_bytes(raw)
        server.files = {name: b"new" for name in (b"d", b"c", b"b", b"a")}
        server.pages = {None: page(["d", "c", "b", "a"])}
        fetch(server.url, out, "--sink", "tar", "--workers", 2)
        for name in "abcd":
            assert tool(BINARY, "cat", out, name) == b"new"
        verify(server.url, out, "--workers", 1).says("3 files that also stand there again")
        verify(server.url, out, "--workers", 1, "--content")


@pytest.mark.parametrize("file", ["ledger", "failures", "pages", "index", "shard"])
def test_a_pipe_in_a_files_place_holds_nobody_up(file, server, out):
    fetch(server.url, out, *ARGS, "--sink", "tar", "--limit", 20)
    state = out / ".gigafetch"
    path = {"index": out / "worker-00-000000.idx", "shard": out / "worker-00-000000.tar"}.get(file, state / file)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    for args in (["fetch", "--sink", "tar", *ARGS, server.url, out], ["verify", "--workers", 1, server.url, out],
                 ["cat", out, "f03"]):
        done = run(*args, code=None)
        assert done.code in (0, 1, 3), f"{done}"
    assert not dead_letters(out) or file == "failures"


class Image:
    """A file system of its own in a file, that can be taken away and put back."""

    def __init__(self, tmp_path):
        self.file, self.at = tmp_path / "image", tmp_path / "mnt"
        self.at.mkdir()
        with open(self.file, "wb") as image:
            image.truncate(32 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.file], check=True, env={**os.environ, "PATH": "/sbin:/usr/sbin:/bin:/usr/bin"})

    def mount(self):
        return subprocess.run(["mount", "-o", "loop", self.file, self.at], stderr=subprocess.DEVNULL).returncode == 0

    def umount(self):
        subprocess.run(["umount", self.at], check=True)


@pytest.fixture
def image(tmp_path):
    image = Image(tmp_path)
    if os.geteuid() != 0 or not image.mount():
        pytest.skip("nothing can be mounted here; tests/fault/test_power_loss.py pretends it")
    yield image
    image.umount()


@SINKS
def test_what_was_not_synced_before_a_volume_went_and_came_back_is_fetched_again(sink, server, image, tmp_path):
    out, options = image.at / "out", ["--state", tmp_path / "state", "--sink", sink, "--durability", "process"]
    fetch(server.url, out, *ARGS, *options, "--limit", 10)
    asked = server.gets()
    under_the_same_mount = fetch(server.url, out, *ARGS, *options, "--limit", 20)
    assert server.gets() == asked + 10 and "fetched again" not in under_the_same_mount.err
    image.umount()
    assert image.mount()
    for path in out.iterdir():
        if path.is_file():
            os.truncate(path, 0)  # its pages were lost
    fetch(server.url, out, *ARGS, *options).says("mounted anew", "fetched again")
    is_whole(server, out, *options[:2])
