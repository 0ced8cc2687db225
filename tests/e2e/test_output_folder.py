"""Where the files go: what is missing, in the way, full, or somebody else's is refused, and nothing is harmed."""
import os
import socket
import stat
import subprocess

import pytest

from command import ONCE, dead_letters, fetch, run, verify
from layouts import stored_files
from raw_server import RawServer

FILES = {"a": b"A" * 10, "b": b"B" * 20, "sub/c": b"C" * 30}
WITHOUT_PRIVILEGE = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.fixture(scope="module")
def server():
    with RawServer(FILES) as server:
        yield server


def refused(server, out, *options, words=(), code=1, **more):
    before = server.gets()
    done = fetch(server.url, out, "--workers", 1, *options, code=code, **more).says(*words)
    assert done.out == "" and server.gets() == before
    return done


def test_only_the_last_part_of_the_folder_is_made(server, tmp_path):
    refused(server, tmp_path / "no" / "out", words=["no/out", "does not exist", "make it first"])
    assert not (tmp_path / "no").exists()
    fetch(server.url, tmp_path / "out", "--workers", 1)
    fetch(server.url, f"{tmp_path}/slash/", "--workers", 1)
    assert stored_files(tmp_path / "out") == stored_files(tmp_path / "slash") == FILES


def test_the_umask_holds_for_files_and_folders(server, out):
    fetch(server.url, out, "--workers", 1, umask=0o027)
    modes = {path: stat.S_IMODE((out / path).stat().st_mode) for path in ("", "a", "sub", "sub/c")}
    assert modes == {"": 0o750, "a": 0o640, "sub": 0o750, "sub/c": 0o640}


def test_a_relative_path_is_meant_from_here(server, tmp_path):
    run("fetch", "--workers", 1, server.url, "here", cwd=tmp_path)
    run("verify", "--content", "--workers", 1, server.url, "./here", cwd=tmp_path)
    assert stored_files(tmp_path / "here") == FILES


@pytest.mark.parametrize("layer", ["folder", "parent"])
def test_a_folder_that_cannot_be_written_to_is_named(layer, server, out):
    out.mkdir()
    place = out if layer == "folder" else out / "inner"
    out.chmod(0o555)
    refused(server, place, words=[str(place), "Permission denied"], prefix=WITHOUT_PRIVILEGE)
    out.chmod(0o755)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "link to a file", "pipe", "dangling link"])
def test_what_is_no_folder_is_refused(kind, server, out, tmp_path):
    target = tmp_path / "target"
    if kind == "pipe":
        os.mkfifo(out)
    elif kind == "file":
        out.write_bytes(b"mine")
    else:
        out.symlink_to(target)
        if kind == "link to a file":
            target.write_bytes(b"mine")
    refused(server, out, words=[str(out), "not a folder" if kind != "dangling link" else "No such file"])
    assert target.exists() == (kind == "link to a file")


def test_a_folder_with_things_in_it_is_left_alone_unless_told(server, out):
    out.mkdir()
    (out / "mine").write_bytes(b"mine")
    (out / "a").write_bytes(b"my own a")
    for options in ([], ["--restart"]):
        refused(server, out, *options, words=[str(out), "not empty", "--force"])
        assert sorted(os.listdir(out)) == ["a", "mine"]
    fetch(server.url, out, "--workers", 1, "--force")
    assert stored_files(out) == {**FILES, "mine": b"mine"}
    fetch(server.url, out, "--workers", 1)


def test_an_empty_state_folder_does_not_make_a_full_folder_ours(server, out):
    (out / ".gigafetch").mkdir(parents=True, mode=0o700)
    (out / "mine").write_bytes(b"mine")
    for options in ([], ["--restart"]):
        refused(server, out, *options, words=["not empty", "--force"])
    assert stored_files(out) == {"mine": b"mine"}


def test_a_fresh_file_system_counts_as_empty(server, out):
    (out / "lost+found").mkdir(parents=True)
    fetch(server.url, out, "--workers", 1)
    assert stored_files(out) == FILES


DIFFERENCES = {
    "URL": ([], ["the URL", "http://"]), "layout": (["--layout", "flat"], ["--layout", "'tree'", "'flat'"]),
    "include": (["--include", "a*"], ["--include", "not given", "'a*'"]),
    "exclude": (["--exclude", "b*"], ["--exclude", "not given", "'b*'"]),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_another_jobs_folder_is_refused_with_the_difference(what, server, out):
    fetch(server.url, out, "--workers", 1)
    options, words = DIFFERENCES[what]
    with RawServer(FILES, base="/other" if what == "URL" else "") as other:
        place = other if what == "URL" else server
        refused(place, out, *options, words=[str(out), "another job", "--restart", *words])
        assert stored_files(out) == FILES
        fetch(place.url, out, "--workers", 1, *options, "--restart")


def test_what_may_change_from_run_to_run_makes_no_other_job(server, out):
    fetch(server.url, out, "--workers", 1)
    fetch(server.url + "/", out, "--workers", 3, "--connections", 2, "--pipeline", "auto", "--batch", 1, "--limit", 2,
          "--retries", 0, "--stall-timeout", 5, "--connect-timeout", 5, "--rate", 1000, "--max-file-size", "1M",
          "--durability", "file", "--header", "X-Y: z")
    assert stored_files(out) == FILES


@pytest.mark.parametrize("damage", ["a bit", "empty", "other", "format"])
def test_a_damaged_ledger_is_refused_until_told_to_forget_it(damage, server, out):
    fetch(server.url, out, "--workers", 1)
    ledger = out / ".gigafetch" / "ledger"
    whole = ledger.read_bytes()
    damaged = {"a bit": whole[:30] + bytes([whole[30] ^ 1]) + whole[31:], "empty": b"", "other": b"x" * len(whole),
               "format": whole[:8] + b"\1" + whole[9:]}[damage]
    ledger.write_bytes(damaged)
    refused(server, out, words=["ledger", "format 1" if damage == "format" else "damaged at byte", "--restart"])
    verify(server.url, out, code=1).says("ledger")
    assert ledger.read_bytes() == damaged
    asked = server.gets()
    fetch(server.url, out, "--workers", 1, "--restart", *ONCE)
    assert server.gets() == asked + len(FILES)


def test_whatever_byte_of_a_ledger_is_damaged_no_file_is_lost(server, out):
    fetch(server.url, out, "--workers", 1)
    ledger = out / ".gigafetch" / "ledger"
    whole = ledger.read_bytes()
    for at in range(0, len(whole), 3):
        ledger.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1:])
        done = fetch(server.url, out, "--workers", 1, code=None)
        if done.code == 0:
            assert done.summary["stored"] == len(FILES) and stored_files(out) == FILES
        else:
            done.says("ledger", "--restart" if at < 24 else "damaged at byte")


@pytest.mark.parametrize("layout", ["tree", "flat", "fanout"])
def test_planted_links_are_never_followed(layout, server, out, tmp_path):
    fetch(server.url, out, "--workers", 1, "--layout", layout)
    secret, folder = tmp_path / "secret", tmp_path / "folder"
    secret.write_bytes(b"secret")
    folder.mkdir()
    paths = {path[6:] if layout == "fanout" else path: out / path for path in stored_files(out)}
    a, c = paths["a"], paths["sub/c" if layout == "tree" else "sub%2Fc"]
    a.unlink()
    a.symlink_to(secret)
    for path in (c, *c.parents):
        if path == out:
            break
        subprocess.run(["rm", "-rf", path], check=True)
    top = out / c.relative_to(out).parts[0]
    top.symlink_to(folder)
    fetch(server.url, out, "--workers", 1, "--layout", layout, "--restart", code=3)
    letters = dead_letters(out)
    assert {name: letter["class"] for name, letter in letters.items()} == {"a": "unsafe-path", "sub/c": "unsafe-path"}
    assert all("symbolic link" in letter["error"] for letter in letters.values())
    assert secret.read_bytes() == b"secret" and list(folder.iterdir()) == []
    assert a.is_symlink() and top.is_symlink() and paths["b"].read_bytes() == FILES["b"]


@pytest.mark.parametrize("kind", ["dangling link", "hard link", "pipe", "socket", "read-only file"])
def test_other_things_in_a_files_place_lead_nowhere(kind, server, out, tmp_path):
    fetch(server.url, out, "--workers", 1)
    place, elsewhere = out / "a", tmp_path / "elsewhere"
    place.unlink()
    listening = socket.socket(socket.AF_UNIX)
    if kind == "dangling link":
        place.symlink_to(elsewhere)
    elif kind == "hard link":
        elsewhere.write_bytes(b"elsewhere")
        os.link(elsewhere, place)
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        listening.bind(os.path.relpath(place))
    else:
        place.write_bytes(b"old")
        place.chmod(0o400)
    replaced = kind in ("hard link", "read-only file")
    fetch(server.url, out, "--workers", 1, "--restart", code=0 if replaced else 3)
    listening.close()
    if replaced:
        assert stored_files(out) == FILES
    else:
        assert dead_letters(out)["a"]["class"] == "unsafe-path"
    assert (elsewhere.read_bytes() if elsewhere.exists() else b"elsewhere") == b"elsewhere"


def test_a_state_folder_elsewhere_holds_everything_but_the_files(server, out, tmp_path):
    state = tmp_path / ("long-" * 20) / ("path-" * 20)  # longer than a socket's address may be
    state.parent.mkdir()
    fetch(server.url, out, "--workers", 2, "--state", state)
    assert stored_files(out) == FILES and os.listdir(out / ".gigafetch") == ["job"]  # the mark
    assert {"ledger", "failed.jsonl"} <= set(os.listdir(state)) and stat.S_IMODE(state.stat().st_mode) == 0o700
    verify(server.url, out, "--state", state)
    verify(server.url, out, code=1).says("state", "--state")


def test_a_state_folder_that_names_could_reach_is_refused(server, out, tmp_path):
    out.mkdir()
    (tmp_path / "way").symlink_to(out)
    for state in (out / "state", out, out / ".gigafetch" / "x", tmp_path / "way" / "state", f"{out}/../out/x"):
        refused(server, out, "--state", state, words=["--state", "output folder"], code=2)
    assert list(out.iterdir()) == []


def test_a_state_folder_must_be_private_and_ones_own(server, out):
    (out / ".gigafetch").mkdir(parents=True)
    (out / ".gigafetch").chmod(0o755)
    refused(server, out, words=[".gigafetch", "chmod 700"])
    assert stat.S_IMODE((out / ".gigafetch").stat().st_mode) == 0o755
    (out / ".gigafetch").rmdir()
    fetch(server.url, out, "--workers", 1)
    assert stat.S_IMODE((out / ".gigafetch").stat().st_mode) == 0o700
    if os.geteuid() == 0:
        os.chown(out / ".gigafetch", 65534, 65534)
        refused(server, out, words=[".gigafetch", "another user", "65534"])


def test_a_state_folder_belongs_to_one_output_folder(server, out, tmp_path):
    state, other = tmp_path / "state", tmp_path / "other"
    fetch(server.url, out, "--workers", 1, "--state", state)
    other.mkdir()
    (other / "mine").write_bytes(b"mine")
    for options in ([], ["--restart"]):
        refused(server, other, "--state", state, *options, words=["not empty", "--force"])
    (other / "mine").unlink()
    refused(server, other, "--state", state, words=["another job", str(out), str(other)])
    run("verify", "--state", state, server.url, other, code=1).says("another job", str(out), str(other))
    fetch(server.url, out, "--workers", 1, "--state", state)


def test_a_mistyped_command_can_be_put_right_as_long_as_nothing_is_stored(server, out):
    fetch("http://no-such-host.test", out, "--workers", 1, code=1)
    fetch(server.url, out, "--workers", 1, "--layout", "flat")
    refused(server, out, words=["another job", "--layout"])


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_state_folder_that_is_none_is_refused(kind, server, out, tmp_path):
    out.mkdir()
    if kind == "file":
        (out / ".gigafetch").write_bytes(b"mine")
    else:
        (tmp_path / "elsewhere").mkdir()
        (out / ".gigafetch").symlink_to(tmp_path / "elsewhere")
    refused(server, out, words=[".gigafetch"])
    if kind == "link":
        assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("planted", ["ledger", "lock", "failed.jsonl", "failed.jsonl.new", "failures", "pages",
                                     "socket", "ledger.new"])
def test_links_planted_in_the_state_folder_are_not_followed(planted, server, out, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (out / ".gigafetch").mkdir(parents=True, mode=0o700)
    (out / ".gigafetch" / planted).symlink_to(secret)
    run("fetch", "--workers", 1, server.url, out, code=0 if planted in ("socket", "failed.jsonl", "pages") else 1)
    assert secret.read_bytes() == b"secret"


class SmallFileSystem:
    """A tmpfs of its own: mounted here as root, else in a user namespace that every command joins."""

    def __init__(self, at, options):
        at.mkdir()
        self.at, self.prefix, self.keeper = at, [], None
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(at)]
        if os.geteuid() == 0 and subprocess.run(mount, stderr=subprocess.DEVNULL).returncode == 0:
            return
        hold = ["sh", "-c", '"$@" && echo mounted && exec cat', "sh", *mount]
        self.keeper = subprocess.Popen(["unshare", "-Urm", *hold],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.keeper.stdout.readline() == b"mounted\n", "neither root nor user namespaces"
        self.prefix = ["nsenter", "-t", str(self.keeper.pid), "-U", "-m", "--preserve-credentials"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.keeper:
            self.keeper.stdin.close()
            self.keeper.wait()
        else:
            subprocess.run(["umount", self.at], check=True)

    def sh(self, script):
        return subprocess.run([*self.prefix, "sh", "-c", script], check=True, stdout=subprocess.PIPE).stdout


@pytest.mark.parametrize("what", ["blocks", "inodes"])
@pytest.mark.parametrize("depth", [1, 16])
def test_a_full_file_system_stops_the_run_which_goes_on_when_there_is_room(what, depth, tmp_path):
    files = {f"d{i % 5}/f{i:03}": (f"{i:03}" * 5000).encode() if what == "blocks" else b"x" for i in range(300)}
    with RawServer(files) as server, \
            SmallFileSystem(tmp_path / "small", "size=16m,nr_inodes=1000") as small:
        out, ballast = small.at / "out", small.at / "ballast"
        small.sh(f"mkdir {ballast}; cd {ballast}; "
                 + ("head -c 13m /dev/zero > file" if what == "blocks" else "seq 800 | xargs touch"))
        options = ["--workers", 2, "--pipeline", depth, "--state", tmp_path / "state"]
        full = fetch(server.url, out, *options, code=1, prefix=small.prefix)
        full.says("No space left on device", "worker")
        whole = small.sh(f"cd {out} && find . -path ./.gigafetch -prune -o -type f -size +0 -printf '%P %s\\n'").decode().split("\n")[:-1]
        assert 0 < len(whole) < len(files)
        assert all(int(line.split()[1]) == len(files[line.split()[0]]) for line in whole)
        assert full.summary["stored"] <= len(whole)
        fetch(server.url, out, *options, code=1, prefix=small.prefix)
        small.sh(f"rm -r {ballast}")
        assert fetch(server.url, out, *options, prefix=small.prefix).summary["stored"] == len(files)
        verify(server.url, out, "--content", "--state", tmp_path / "state", prefix=small.prefix)


def test_a_full_file_system_is_told_with_what_to_do_about_it(tmp_path):
    with RawServer({"large": b"x" * 2_000_000}) as server, SmallFileSystem(tmp_path / "small", "size=1m") as small:
        full = fetch(server.url, small.at / "out", "--workers", 1, "--min-free", 0, code=1, prefix=small.prefix)
        full.says("No space left on device", "large", "free", "same command again")
        assert small.sh(f"find {small.at}/out -name large") == b""


def test_a_file_system_that_is_full_from_the_start_is_told(server, tmp_path):
    with SmallFileSystem(tmp_path / "small", "size=64k,nr_inodes=3") as small:
        small.sh(f"head -c 1m /dev/zero > {small.at}/ballast || true")
        fetch(server.url, small.at / "out", "--workers", 1, code=1, prefix=small.prefix).says("No space left on device")
