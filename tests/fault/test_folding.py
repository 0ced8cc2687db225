"""File systems that take two names for one, or refuse some: nothing is replaced, and every name is accounted for.

Each test runs on names that the shim folds, which works everywhere, and on a real mount (FUSE) where the kernel lets
one be made."""
import json
import os
import subprocess
from pathlib import Path

import pytest

from command import dead_letters, fetch, run, verify
from processes import wait_until
from raw_server import RawServer, answer, page, pages_of

SHIM = os.environ["GIGAFETCH_SHIM"]
FOLDING_FS = os.environ.get("GIGAFETCH_FOLDING_FS")
ALL = ["--workers", 2, "--batch", 2]


class Place:
    """A folder whose names fold. `env` is what a program needs to see it so; `below` sees it as it is."""

    def __init__(self, seen, real, env):
        self.seen, self.real, self.env = seen, real, env
        self.out = seen / "out"

    def files(self):
        found = (self.real / "out").rglob("*")
        return {str(path.relative_to(self.real / "out")): path.read_bytes() for path in found
                if path.is_file() and ".gigafetch" not in path.parts[len((self.real / "out").parts):]}

    def fetch(self, server, *options, **more):
        return fetch(server.url, self.out, *ALL, *options, env=self.env, **more)

    def verify(self, server, *options, **more):
        return verify(server.url, self.out, *options, env=self.env, **more)


def mount(rules, folder, at):
    """The process of a mount, or why there is none."""
    if not FOLDING_FS:
        return "the file system of the tests was not built: libfuse3 is missing"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse for us"
    process = subprocess.Popen([FOLDING_FS, rules, folder, at, "-f", "-s", "-o", "auto_unmount"] if os.getuid() else
                               [FOLDING_FS, rules, folder, at, "-f", "-s"], stderr=subprocess.PIPE)
    wait_until(lambda: os.path.ismount(at) or process.poll() is not None, "a mount")
    if process.poll() is None:
        return process
    return "nothing can be mounted here: " + process.communicate()[1].decode(errors="replace")


@pytest.fixture(params=["shim", "fuse"])
def place_of(request, tmp_path):
    """Rules (folding.h) to a Place."""
    mounts = []
    def make(rules):
        real = tmp_path / "real"
        real.mkdir()
        if request.param == "shim":
            return Place(real, real, {**os.environ, "LD_PRELOAD": SHIM, "GIGAFETCH_FOLD": f"{rules} {real}"})
        at = tmp_path / "mounted"
        at.mkdir()
        process = mount(rules, real, at)
        if isinstance(process, str):
            pytest.skip(process)
        mounts.append((process, at))
        return Place(at, real, dict(os.environ))
    yield make
    for process, at in mounts:
        subprocess.run(["umount" if not os.getuid() else "fusermount3", *([] if not os.getuid() else ["-u"]), at], check=True)
        process.wait(60)
        process.stderr.close()


def body_of(name):
    return f"<{name}>".encode()


def server_of(names, size=1000):
    return RawServer({name: body_of(name) for name in names}, pages_of(names, size))


def classes(out, file="failed.jsonl"):
    return {name: letter["class"] for name, letter in dead_letters(out, file).items()}


READMES = ["Readme", "README", "readme", "ReadMe", "other", "License", "LICENSE", "unique"]


@pytest.mark.parametrize("layout", ["tree", "flat"])
def test_of_names_that_fold_one_is_stored_and_each_other_is_a_conflict_that_names_both(layout, place_of):
    place = place_of("case")
    with server_of(READMES) as server:
        done = place.fetch(server, "--layout", layout, code=3)
        stored = place.files()
        assert len(stored) == 4 and {name.lower() for name in stored} == {"readme", "other", "license", "unique"}
        assert all(body == body_of(name) for name, body in stored.items())
        failed = dead_letters(place.out)
        assert set(failed) == set(READMES) - set(stored)
        for name, letter in failed.items():
            assert letter["class"] == "name-conflict"
            twin, = [other for other in stored if other.lower() == name.lower()]
            assert f"'{twin}'" in letter["error"] and f"'{name}'" in letter["error"] and "--sink tar" in letter["error"]
        assert done.summary["stored"] == 4 and done.summary["failed"] == 4
        # Verify finds what was stored, and the others missing; nothing twice.
        found = place.verify(server, code=3)
        assert found.summary["stored"] == 4 and found.summary["extra"] == 0
        assert classes(place.out, "verify.jsonl") == {name: "name-conflict" for name in failed}
        for name in READMES:
            shown = run("cat", place.out, name, env=place.env, code=0 if name in stored else 1)
            assert shown.out == (body_of(name).decode() if name in stored else "")


def test_in_fanout_names_that_fold_rarely_meet_and_are_told_apart_when_they_do(place_of):
    place = place_of("case")
    with server_of(READMES) as server:
        place.fetch(server, "--layout", "fanout", code=0)
        assert sorted(place.files().values()) == sorted(map(body_of, READMES))
        place.verify(server)


def test_packed_all_of_them_are_stored(place_of):
    place = place_of("case,form,trims,colon")
    names = READMES + ["a:b", "dot.", "dot", "caf\u00e9", "cafe\u0301"]
    with server_of(names) as server:
        done = place.fetch(server, "--sink", "tar")
        assert "file system" not in done.err
        place.verify(server, "--content")


def test_it_is_said_before_anything_is_asked_for(place_of):
    place = place_of("case,form,trims,colon")
    with RawServer() as server:
        server.on_list(answer(b"", "404 Not Found"))
        done = place.fetch(server, "--retries", 0, code=1)
    words = done.err.splitlines()[0]
    for said in ("README, Readme", "Unicode form", "dot or a space at the end", "with one of :", "name-conflict", "--sink tar"):
        assert said in words
    assert list((place.real / "out").rglob("*names*")) == []


def test_a_file_system_that_keeps_names_apart_is_not_spoken_of(tmp_path):
    with server_of(READMES) as server:
        done = fetch(server.url, tmp_path / "out")
        assert done.err == "" and done.summary["stored"] == len(READMES)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([".gigafetch", *READMES])
    assert not (tmp_path / "out" / ".gigafetch" / "names").exists()


def test_nothing_of_the_trial_is_left_where_the_state_is_elsewhere(tmp_path):
    with server_of(["a"]) as server:
        fetch(server.url, tmp_path / "out", "--state", tmp_path / "state")
    left = [path.name for path in (tmp_path / "out").iterdir() if path.name != ".gigafetch"]
    assert left == ["a"] and not (tmp_path / "out" / ".gigafetch" / "names").exists()


def test_what_a_trial_that_was_killed_has_left_is_removed(tmp_path):
    left = tmp_path / "out" / ".gigafetch" / "names"
    left.mkdir(parents=True)
    left.parent.chmod(0o700)
    (left / "case").touch()
    with server_of(["a"]) as server:
        fetch(server.url, tmp_path / "out")
        verify(server.url, tmp_path / "out")
    assert not left.exists()


def test_a_later_run_replaces_nothing_that_an_earlier_one_stored(place_of):
    place = place_of("case")
    with server_of(["Readme", "x"]) as server:
        place.fetch(server)
        server.pages = pages_of(["Readme", "x"], 1000)
    with server_of(["README", "X", "y"]) as other:
        # The same job as far as it can tell: a listing that has changed.
        other_url = other.url
        fetch(other_url, place.out, *ALL, "--restart", "--force", env=place.env, code=3)
        assert place.files() == {"Readme": body_of("Readme"), "x": body_of("x"), "y": body_of("y")}
        assert classes(place.out) == {"README": "name-conflict", "X": "name-conflict"}


def test_a_files_own_copy_is_replaced_as_ever(place_of):
    place = place_of("case")
    names = ["Readme", "A/b", "A/c"]
    with server_of(names) as server:
        place.fetch(server)
        for name in names:
            (place.real / "out" / name).write_bytes(b"old")
        place.fetch(server, "--restart")
        assert place.files() == {name: body_of(name) for name in names}
        place.verify(server, "--content")


def test_folders_fold_too_and_what_is_below_the_second_is_a_conflict(place_of):
    place = place_of("case")
    with server_of(["a/x"]) as first:
        place.fetch(first)
    names = ["a/x", "A/x", "A/y", "a/z", "b/C/d", "b/c/e"]
    with server_of(names) as server:
        fetch(server.url, place.out, "--workers", 1, "--restart", env=place.env, code=3)
        stored = place.files()
        assert {"a/x", "a/z"} < set(stored) and len(stored) == 3 and all(stored[n] == body_of(n) for n in stored)
        failed = dead_letters(place.out)
        assert set(failed) == set(names) - set(stored)
        assert {letter["class"] for letter in failed.values()} == {"name-conflict"}
        assert "'a'" in failed["A/y"]["error"] and "'A'" in failed["A/y"]["error"]
        assert place.verify(server, code=3).summary["extra"] == 0
        assert classes(place.out, "verify.jsonl") == {name: "name-conflict" for name in failed}


def test_no_name_reaches_the_state_folder_in_another_case(place_of):
    place = place_of("case")
    names = [".GIGAFETCH/ledger", ".Gigafetch/new", ".GigaFetch", "a"]
    with server_of(names) as server:
        place.fetch(server, code=3)
        assert place.files() == {"a": body_of("a")}
        assert set(classes(place.out).values()) == {"name-conflict"}
        place.verify(server, code=3)
    assert not (place.real / "out" / ".gigafetch" / "new").exists()


def test_a_name_that_fails_takes_no_others_file_with_it(place_of):
    place = place_of("case")
    with server_of(["Readme", "a/x"]) as server:
        place.fetch(server)
    with server_of(["Readme", "a/x", "README", "A/x"]) as server:
        for name in ("README", "A/x"):
            server.on_file(name, answer(b"", "404 Not Found"))
        fetch(server.url, place.out, *ALL, "--restart", env=place.env, code=3)
        assert place.files() == {"Readme": body_of("Readme"), "a/x": body_of("a/x")}


def test_forms_of_an_accent_are_told_apart(place_of):
    place = place_of("form")
    names = ["caf\u00e9", "cafe\u0301", "CAF\u00c9"]
    with server_of(names) as server:
        assert place.fetch(server, code=3).summary["stored"] == 2
        stored = place.files()
        assert len(stored) == 2 and all(body == body_of(name) for name, body in stored.items())
        (name, letter), = dead_letters(place.out).items()
        assert letter["class"] == "name-conflict" and name not in stored
        place.verify(server, code=3)


def test_names_that_would_be_spelled_in_another_way_are_refused(place_of):
    place = place_of("case,form,nfd,trims")
    names = ["caf\u00e9", "cafe\u0301", "dot.", "dot", "space ", "plain", "in/e\u0301", "d./x", "d/x"]
    with server_of(names) as server:
        place.fetch(server, code=3)
        stored = place.files()
        assert {"cafe\u0301", "plain", "in/e\u0301"} <= set(stored) and all(b == body_of(n) for n, b in stored.items())
        failed = classes(place.out)
        assert set(failed) | set(stored) == set(names) and failed["caf\u00e9"] in ("bad-name", "name-conflict")
        assert place.verify(server, code=3).summary["extra"] == 0


def test_names_that_the_file_system_refuses_fail_alone_and_the_sink_that_takes_them_is_named(place_of):
    place = place_of("colon")
    with server_of(["a:b", "c:d/e", "f/g:h", "ok", "f/ok"]) as server:
        done = place.fetch(server, code=3)
        assert place.files() == {"ok": body_of("ok"), "f/ok": body_of("f/ok")}
        assert "refuses names with one of :" in done.err
        letters = dead_letters(place.out)
        assert set(letters) == {"a:b", "c:d/e", "f/g:h"}
        assert all(letter["class"] == "bad-name" and "--sink tar" in letter["error"] for letter in letters.values())


def test_a_job_that_moves_from_a_disk_that_keeps_names_apart_to_one_that_does_not_is_refused(place_of, tmp_path):
    place = place_of("case")
    with server_of(READMES) as server:
        fetch(server.url, tmp_path / "out", "--limit", 3)
        (tmp_path / "out" / "README").unlink()
        (tmp_path / "out" / "readme").unlink()
        subprocess.run(["cp", "-r", tmp_path / "out", place.out], check=True)
        done = place.fetch(server, code=1)
        assert "kept all names apart" in done.err


def test_a_job_from_before_this_was_recorded_goes_on(place_of):
    place = place_of("case")
    with server_of(READMES) as server:
        # Packed or not, what was recorded then had no rules: as of a disk on which nothing could be tried.
        (place.real / "out" / ".gigafetch").mkdir(parents=True)
        (place.real / "out" / ".gigafetch").chmod(0o700)
        (place.real / "out" / ".gigafetch" / "names").touch()  # in the way of the trial
        place.fetch(server, "--limit", 2, code=None)
        (place.real / "out" / ".gigafetch" / "names").unlink()
        place.fetch(server, code=3)
        stored = place.files()
        assert len(stored) == 4 and all(body == body_of(name) for name, body in stored.items())
