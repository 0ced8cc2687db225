"""Names come from strangers: whatever they are, files land where the layout says, and nowhere else."""
import os
import pty
import re
import subprocess
import uuid
from collections import Counter
from urllib.parse import quote, unquote_to_bytes

import pytest

from command import BINARY, ONCE, dead_letters, fetch, run, verify
from layouts import below, fanout_tail, joined_tail, path_of, refusal, stored_files
from raw_server import RawServer, page, pages_of
from shards import packed

LAYOUTS = ["tree", "flat", "fanout"]
NOWHERE = f"gigafetch-e2e-{uuid.uuid4().hex}"

# Hand-made examples of the promise, beside the model in layouts.py.
TREE_PATHS = {
    "plain.txt": "plain.txt", "d/e/f": "d/e/f", "with space": "with space", "%": "%", "100%": "100%",
    "%41": "%2541", "%4": "%4", "%zz": "%zz", "%25": "%2525", "a+b": "a+b", "#1": "#1", "q?x=1&y=2": "q?x=1&y=2",
    "h\u00fclle": "h\u00fclle", "\u65e5\u672c/\U0001f600": "\u65e5\u672c/\U0001f600", "'single'": "'single'",
    '"double"': '"double"', "back\\slash": "back\\slash", "new\nline": "new%0Aline", "tab\t": "tab%09",
    "del\x7f": "del%7F", "\x01": "%01", "-rf": "-rf", "~": "~", "~root": "~root", "*": "*", "$(id)": "$(id)",
    ".": "%2E", "..": "%2E%2E", "...": "...", "../up": "%2E%2E/up", "in/../out": "in/%2E%2E/out",
    "in/./out": "in/%2E/out", "file..txt": "file..txt", "..hidden": "..hidden", "/": "%2F", "//": "%2F%2F",
    "end/": "end%2F", "two//slashes": "two/%2Fslashes", "/etc/passwd": "%2Fetc/passwd", "dots/..": "dots/%2E%2E",
    ".gigafetch": "%2Egigafetch", ".gigafetch/ledger": "%2Egigafetch/ledger", ".gigafetch/": ".gigafetch%2F",
    ".gigafetchx": ".gigafetchx", "in/.gigafetch/ledger": "in/.gigafetch/ledger", "lost+found/x": "lost+found/x",
    "CON": "CON", "trailing.": "trailing.", " ": " ", "..\\up": "..\\up", "http://x/y": "http:/%2Fx/y",
    "\u202egnp.exe": "\u202egnp.exe",
}


def hostile_names(outside):
    """`outside` is a folder that no name may reach."""
    names = list(TREE_PATHS)
    ups = ("/", "//", "../", "../../", "../" * 40, "x/../../", "./../", "\\..\\", "..%2F")
    names += [up + NOWHERE for up in ups]
    names += [f"{outside}/escaped", f"/{outside}/escaped", f"a1/..{outside}/escaped", "%2e%2e/%2e%2e/" + NOWHERE,
              "..\u2215" + NOWHERE, "%2E%2E", "..%00", "%00", "%2F", "a%2Fb", "%c0%ae%c0%ae/x", "\uff0e\uff0e/x"]
    names += [".gigafetch/socket", ".gigafetch/lock", ".gigafetch/failed.jsonl", "./.gigafetch/ledger",
              ".gigafetch//ledger", "/.gigafetch/ledger", "x/../.gigafetch/ledger", ".GIGAFETCH/ledger",
              "%2Egigafetch/ledger", "%2egigafetch", ".gigafetch~"]
    names += [chr(c) for c in range(1, 0x20)] + [f"c{chr(c)}d/e{chr(c)}" for c in (1, 9, 10, 13, 27, 31, 127)]
    names += ["n" * 255, "n" * 256, "n" * 1000, "m/" * 100 + "x", "\u00e9" * 127, "\u00e9" * 128, "%41" * 51,
              "%41" * 64, "\n" * 85, "\n" * 86, "k/" * 2047 + "x", "k/" * 2048 + "x", "z" * 4096, "z" * 4097,
              "\U0001f600" * 70, "long/" + "w" * 255 + "/x", "long/" + "w" * 256 + "/x",
              "t" * 254 + "~", "~" * 300, "%4" * 200]
    names += ["", "\0", "nul\0in", "\0/x", "in/\0"]
    names += ["//x", "///", "x///y", "x//", "y/./", "z/..", "...//...", "/./x", "/../x", "q/ /r", " /s", "u/ "]
    names += [f"rest-{c}-{c}{c}" for c in "!$&'()*,;:=@[]{}|^`<>"]
    return list(dict.fromkeys(names))


def without_conflicts(names):
    """All but those that a tree needs as a folder too, and those."""
    paths = {name: path_of("tree", name) for name in names}
    folders = {path[:at] for path in paths.values() for at, c in enumerate(path) if c == "/"}
    both = [name for name in names if paths[name] in folders]
    return [name for name in names if name not in both], both


def body_of(name):
    return b"the bytes of " + name.encode()


@pytest.mark.parametrize("depth", [1, 16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_name_is_stored_inside_or_refused_by_class(layout, depth, tmp_path):
    outside = tmp_path / "outside"
    out = tmp_path / "a" / "b" / "out"
    for folder in (outside, out.parent):
        folder.mkdir(parents=True)
    names = hostile_names(outside)
    if layout == "tree":
        names, _ = without_conflicts(names)
    before = sorted(below(tmp_path))
    with RawServer({name: body_of(name) for name in names}, {None: page(names)}) as server:
        summary = fetch(server.url, out, "--layout", layout, "--workers", 3, "--pipeline", depth, *ONCE, code=3).summary
        targets = [target for _, target, _ in server.requests]
        again = verify(server.url, out, "--content", code=3).summary
    assert sorted(below(tmp_path, "-not", "-path", "./a/b/out*")) == before
    assert not os.path.exists(f"/{NOWHERE}")

    refused = {name: refusal(layout, name) for name in names if refusal(layout, name)}
    letters = dead_letters(out)
    assert {name: letter["class"] for name, letter in letters.items()} == refused
    assert all(letter["attempts"] == 0 and letter["status"] == 0 for letter in letters.values())
    assert (summary["listed"], summary["rejected"], summary["failed"]) == (len(names), len(refused), 0)
    assert (again["stored"], again["rejected"], again["extra"]) == (summary["stored"], len(refused), 0)

    stored = {name for name in names if name not in refused}
    found = stored_files(out)
    if layout == "fanout":
        assert sorted((joined_tail(path), body) for path, body in found.items()) == \
            sorted((fanout_tail(name), body_of(name)) for name in stored)
    else:
        assert found == {path_of(layout, name): body_of(name) for name in stored}

    gets = [target.removeprefix("/get/") for target in targets if target.startswith("/get/")]
    assert Counter(unquote_to_bytes(get).decode() for get in gets) == Counter(stored)
    assert all(re.fullmatch(r"(?:[A-Za-z0-9._~/-]|%[0-9A-F]{2})*", get) for get in gets)


def test_the_paths_in_a_tree_are_those_that_people_expect(out):
    for at, names in enumerate(without_conflicts(TREE_PATHS)):
        folder = out.with_name(f"out{at}")
        with RawServer({name: body_of(name) for name in names}) as server:
            fetch(server.url, folder, "--workers", 2)
        assert stored_files(folder) == {TREE_PATHS[name]: body_of(name) for name in names}


@pytest.mark.parametrize("layout, words", [("tree", "fanout"), ("flat", "fanout"), ("fanout", "tar")])
def test_a_name_too_long_is_told_what_would_take_it(layout, words, out):
    names = ["n" * 256, "x" * 4090, "\n" * 1400]
    with RawServer({name: b"x" for name in names}) as server:
        summary = fetch(server.url, out, "--layout", layout, "--workers", 1, code=3).summary
    letters = dead_letters(out)
    assert all(letter["class"] == "name-too-long" and words in letter["error"] for letter in letters.values())
    assert summary["stored"] == (1 if layout == "fanout" else 0)


def test_fanout_spreads_names_over_its_folders(out):
    names = [f"n{i}" for i in range(2000)]
    with RawServer({name: b"x" for name in names}) as server:
        fetch(server.url, out, "--layout", "fanout", "--workers", 2, "--pipeline", 16)
    folders = Counter(path[:5] for path in stored_files(out))
    assert len(folders) > 1800 and len({path[:2] for path in folders}) > 240


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("file_first", [True, False])
def test_a_name_that_is_also_a_folder_fails_and_the_other_is_stored(workers, file_first, out):
    pairs = [(f"n{i}", f"n{i}/x" if i % 2 else f"n{i}/deep/er") for i in range(100)]
    names = [name for pair in pairs for name in (pair if file_first else pair[::-1])]
    with RawServer({name: body_of(name) for name in names}, pages_of(names, 30)) as server:
        summary = fetch(server.url, out, "--workers", workers, "--pipeline", 4, code=3).summary
    assert (summary["stored"], summary["failed"]) == (100, 100)
    letters = dead_letters(out)
    assert all(letter["class"] == "name-conflict" and "file" in letter["error"] and "folder" in letter["error"]
               for letter in letters.values())
    assert stored_files(out) == {name: body_of(name) for name in names if name not in letters}
    assert all((file in letters) != (inner in letters) for file, inner in pairs)


@pytest.mark.parametrize("layout", ["flat", "fanout"])
def test_other_layouts_have_no_conflict_of_file_and_folder(layout, out):
    names = ["a", "a/b", "a/b/c", "x/y", "x"]
    with RawServer({name: body_of(name) for name in names}) as server:
        assert fetch(server.url, out, "--layout", layout, "--workers", 1).summary["stored"] == 5
        verify(server.url, out, "--content")


@pytest.mark.parametrize("depth", [1, 16])
def test_duplicates_within_a_page_are_counted_and_fetched_once(depth, out):
    names = [f"n{i % 70}" for i in range(210)]
    with RawServer({name: body_of(name) for name in names}, {None: page(names)}) as server:
        summary = fetch(server.url, out, "--workers", 4, "--pipeline", depth, *ONCE).summary
        assert (summary["listed"], summary["stored"], summary["duplicates"]) == (210, 70, 140)
        assert server.gets() == 70
        assert run("ls", server.url).out.splitlines() == names[:70]
    assert stored_files(out) == {name: body_of(name) for name in names}


# Pairs that a mapping without escapes of its own, or that undoes too many, would put in one place.
ALIKE = ["x/y", "x%2Fy", "x%252Fy", "A", "%41", "new\nline", "new%0Aline", "end/", "end%2F", "t~", "t%7E", "../up", "%2E%2E/up",
         ".gigafetch", "%2Egigafetch", "\xe9", "e\u0301", "%C3%A9"]
NESTED = ["d", "d/e", "d/e/f"]
SINKS = {"files": ["--sink", "files"], "tar": ["--sink", "tar"]}


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("inner_first", [False, True])
def test_names_on_one_page_that_could_be_taken_for_each_other(inner_first, layout, sink, out):
    """No two names have one path; of a file and a folder of one name a tree holds one; a name that is listed again counts
    as a duplicate, wherever it stands, and its file is asked for once."""
    names = ALIKE + (NESTED[::-1] if inner_first else NESTED)
    listed = ["twice", *names, "twice", "A", *names[-3:], "twice", "twice"]
    files = {name: body_of(name) for name in listed}
    options = ["--layout", layout, *SINKS[sink], "--workers", 1, "--pipeline", 4]
    conflict = (layout, sink) == ("tree", "files")
    with RawServer(files, {None: page(listed)}) as server:
        summary = fetch(server.url, out, *options, *ONCE, code=3 if conflict else 0).summary
        failed = 2 if conflict else 0
        assert (summary["listed"], summary["duplicates"], summary["rejected"]) == (len(listed), 7, 0)
        assert (summary["stored"], summary["failed"]) == (len(files) - failed, failed)
        assert all(server.count("/get/" + quote(name)) == 1 for name in files)
        letters = dead_letters(out)
        assert letters.keys() < set(NESTED) and all(each["class"] == "name-conflict" for each in letters.values())
        for name, body in files.items():
            if name not in letters:
                assert run("cat", out, name).out == body.decode()
        found = stored_files(out) if sink == "files" else packed(out)
        assert sorted(found.values()) == sorted(body for name, body in files.items() if name not in letters)
        assert sum(map(len, found.values())) == summary["bytes"]
        again = fetch(server.url, out, *options, code=3 if conflict else 0).summary
        assert [again[key] for key in ("listed", "stored", "failed", "duplicates", "requests")] == \
            [len(listed), len(files) - failed, failed, 7, 0]
        checked = verify(server.url, out, "--content", code=3 if conflict else 0).summary
        assert (checked["listed"], checked["stored"], checked["duplicates"], checked["failed"], checked["extra"]) == \
            (len(listed), len(files) - failed, 7, failed, 0)


@pytest.mark.parametrize("depth", [1, 16])
def test_duplicates_across_pages_are_stored_once_on_disk(depth, out):
    names = [f"d{i % 7}/n{i}" for i in range(50)] * 8
    with RawServer({name: body_of(name) * 100 for name in names}, pages_of(names, 50)) as server:
        summary = fetch(server.url, out, "--workers", 4, "--batch", 10, "--pipeline", depth).summary
        assert (summary["listed"], summary["stored"], summary["duplicates"]) == (400, 400, 0)
        assert verify(server.url, out, "--content").summary["extra"] == 0
    assert stored_files(out) == {name: body_of(name) * 100 for name in names}


def test_ls_prints_names_as_they_are_but_for_what_would_break_a_line(out):
    names = [name for name in hostile_names(out) if len(name.encode()) <= 4096]
    lines = [re.sub("[\x00-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", name) for name in names]
    with RawServer({}, {None: page(names)}) as server:
        assert run("ls", server.url).out.split("\n")[:-1] == lines


def test_ls_keeps_the_order_of_the_listing_for_names_of_any_length():
    names = ["a", "b" * 5000, "c", "d"]
    with RawServer({}, {None: page(names)}) as server:
        assert run("ls", server.url).out.splitlines() == names


def test_ls_to_a_terminal_shows_nothing_that_a_terminal_obeys():
    evil = ["\x1b[2Jcleared", "\u202egnp.exe", "back\x08space", "\u200bhidden", "\u2066iso", "plain h\u00fclle"]
    with RawServer({}, {None: page(evil)}) as server:
        ours, terminal = pty.openpty()
        listing = subprocess.Popen([BINARY, "ls", server.url], stdout=terminal)
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # how a terminal ends
            pass
        os.close(ours)
        assert listing.wait() == 0
    text = shown.decode()
    assert not set(text) & set("\x1b\x08\u202e\u200b\u2066")
    assert text.split() == ["\\x1b[2Jcleared", "\\u{202e}gnp.exe", "back\\x08space", "\\u{200b}hidden", "\\u{2066}iso",
                            "plain", "h\u00fclle"]
