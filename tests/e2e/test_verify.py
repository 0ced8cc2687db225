"""verify tells whole copies from others: nothing missing, nothing extra, and with --content nothing different."""
import os
import subprocess

import pytest

from command import ONCE, dead_letters, fetch, json_lines, run, verify
from layouts import below, stored_files
from nginx import free_port
from raw_server import RawServer, answer, page, pages_of

FILES = {f"{folder}/f{i:02}": f"{folder}{i:02} ".encode() * (1 + 300 * i) for folder in "ab" for i in range(30)}
FILES["top"] = b"top"
LAYOUTS = ["tree", "flat", "fanout"]
VICTIM = "b/f07"


@pytest.fixture(scope="module")
def server():
    with RawServer(FILES, pages_of(list(FILES), 25)) as server:
        yield server


def copy(server, out, layout="tree"):
    """Name to path of each file of a fresh copy."""
    fetch(server.url, out, "--workers", 2, "--layout", layout)
    hashes = 6 if layout == "fanout" else 0
    return {path[hashes:].replace("%2F", "/"): out / path for path in stored_files(out)}


def findings(out):
    return {name: letter["class"] for name, letter in dead_letters(out, "verify.jsonl").items()}


def snapshot(out):
    return {path: (out / path).lstat().st_mtime_ns for path in below(out, "-not", "-path", "./.gigafetch*")}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("content", [[], ["--content"], ["--content", "--pipeline", "16"]])
def test_a_whole_copy_is_found_whole_and_left_as_it_is(layout, content, server, out):
    copy(server, out, layout)
    before = snapshot(out)
    asked = server.gets()
    done = verify(server.url, out, "--workers", 3, *content, *ONCE)
    summary = done.summary
    assert (summary["listed"], summary["stored"], summary["failed"], summary["extra"]) == (len(FILES), len(FILES), 0, 0)
    assert server.gets() - asked == (len(FILES) if content else 0)
    assert findings(out) == {} and snapshot(out) == before and done.err == ""


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("content", [[], ["--content"]])
def test_a_missing_file_is_named(layout, content, server, out):
    copy(server, out, layout)[VICTIM].unlink()
    done = verify(server.url, out, "--workers", 2, *content, code=3).says("1 listed name", "verify.jsonl", str(out))
    summary = done.summary
    assert (summary["stored"], summary["failed"], summary["extra"]) == (len(FILES) - 1, 1, 0)
    assert findings(out) == {VICTIM: "missing"}
    fetch(server.url, out, "--workers", 1, "--layout", layout, "--restart")
    verify(server.url, out, *content)


DAMAGES = {
    "a changed byte": lambda body: body[:500] + bytes([body[500] ^ 1]) + body[501:],
    "a changed last byte": lambda body: body[:-1] + b"!",
    "cut by one": lambda body: body[:-1], "cut to nothing": lambda body: b"",
    "longer by one": lambda body: body + b"x", "longer by much": lambda body: body * 50,
    "zeros": lambda body: b"\0" * len(body),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_with_other_bytes_is_found_by_content(layout, damage, server, out):
    place = copy(server, out, layout)[VICTIM]
    place.write_bytes(DAMAGES[damage](FILES[VICTIM]))
    summary = verify(server.url, out, "--content", "--workers", 2, "--pipeline", 4, code=3).summary
    assert (summary["stored"], summary["failed"], summary["extra"]) == (len(FILES) - 1, 1, 0)
    letter = dead_letters(out, "verify.jsonl")[VICTIM]
    assert letter["class"] == "different" and place.name in letter["error"] and "byte" in letter["error"]
    if damage == "a changed byte":
        assert "byte 500" in letter["error"]
        verify(server.url, out, "--workers", 2, code=3).says("not as it was stored", "verify.jsonl")
        (letter,) = dead_letters(out, "verify.jsonl").values()  # the page that it is on
        assert letter["class"] == "different" and "page" in letter["error"]


def test_other_bytes_of_an_empty_file_and_of_a_large_one_are_found(out):
    files = {"empty": b"", "large": os.urandom(1_000_000), "whole": b"w"}
    with RawServer(files) as server:
        fetch(server.url, out, "--workers", 1)
        (out / "empty").write_bytes(b"x")
        (out / "large").write_bytes(files["large"][:-1] + bytes([files["large"][-1] ^ 1]))
        verify(server.url, out, "--content", "--workers", 1, code=3)
    assert findings(out) == {"empty": "different", "large": "different"}
    assert "byte 999999" in dead_letters(out, "verify.jsonl")["large"]["error"]


EXTRAS = {
    "tree": ["extra", "a/extra", "new/er/extra", "%41", "new\nline", "a/%2E", "c%2Fd"],
    "flat": ["extra", "a%2Fextra", "a%2fextra", "folder/extra", "%41"],
    "fanout": ["extra", "00/extra", "00/00/extra", "00/00/top", "zz/zz/top", "00/00/x~/extra"],
}


@pytest.mark.parametrize("layout, path", [(layout, path) for layout in LAYOUTS for path in EXTRAS[layout]])
def test_an_extra_file_is_counted_and_shown(layout, path, server, out):
    copy(server, out, layout)
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    (out / path).write_bytes(b"extra")
    for content in ([], ["--content"]):
        done = verify(server.url, out, "--workers", 2, *content, code=3)
        done.says("not listed, but on disk", path.replace("\n", "\\x0a"), "1 entries on disk are not listed")
        assert (done.summary["extra"], done.summary["failed"], done.summary["stored"]) == (1, 0, len(FILES))


@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "dangling link", "pipe"])
def test_an_extra_thing_that_is_no_file_is_counted_and_not_followed(kind, server, out, tmp_path):
    copy(server, out)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"x")
    thing = out / "a" / "thing"
    if kind == "pipe":
        os.mkfifo(thing)
    else:
        targets = {"link to a file": out / "top", "link to a folder": tmp_path / "elsewhere"}
        thing.symlink_to(targets.get(kind, "nowhere"))
    for content in ([], ["--content"]):
        done = verify(server.url, out, "--workers", 1, *content, code=3).says("a/thing", "not listed")
        assert done.summary["extra"] == 1


@pytest.mark.parametrize("kind", ["a link to its own bytes", "a link for its folder", "a folder", "a pipe"])
@pytest.mark.parametrize("content", [[], ["--content"]])
def test_a_thing_in_a_files_place_is_not_the_file(kind, content, server, out, tmp_path):
    place = copy(server, out)[VICTIM]
    if kind == "a link for its folder":
        place.parent.rename(tmp_path / "elsewhere")
        place.parent.symlink_to(tmp_path / "elsewhere")
    else:
        place.rename(tmp_path / "elsewhere")
        if kind == "a folder":
            place.mkdir()
        elif kind == "a pipe":
            os.mkfifo(place)
        else:
            place.symlink_to(tmp_path / "elsewhere")
    verify(server.url, out, "--workers", 1, *content, code=3)
    found = findings(out)
    assert found[VICTIM] == ("name-conflict" if kind == "a folder" else "unsafe-path")
    assert len(found) == (30 if kind == "a link for its folder" else 1)


def test_empty_folders_and_lost_and_found_are_no_extras(server, out):
    copy(server, out)
    for folder in ("lost+found", "empty", "a/empty/too"):
        (out / folder).mkdir(parents=True)
    assert verify(server.url, out).summary["extra"] == 0


def test_names_listed_on_several_pages_are_no_extras(out):
    names = list(FILES)
    pages = {None: page(names + names[:3], "2"), "2": page(names[10:40], "3"), "3": page(names[:5])}
    with RawServer(FILES, pages) as server:
        fetch(server.url, out, "--workers", 2)
        for content in ([], ["--content"]):
            summary = verify(server.url, out, "--workers", 2, *content).summary
            assert (summary["listed"], summary["stored"], summary["duplicates"], summary["extra"]) == (99, 96, 3, 0)
        (out / "extra").write_bytes(b"x")
        (out / names[0]).unlink()
        summary = verify(server.url, out, "--workers", 2, code=3).summary
        assert (summary["failed"], summary["extra"]) == (2, 1)


def test_many_differences_are_all_counted_and_some_shown(server, out):
    places = copy(server, out)
    for at in range(2000):
        (out / f"extra{at}").touch()
    for name in list(FILES)[:20]:
        places[name].unlink()
    done = verify(server.url, out, code=3).says("2,000 entries", "20 listed names")
    assert (done.summary["extra"], done.summary["failed"]) == (2000, 20)
    assert 1 <= done.err.count("not listed, but on disk") <= 20
    assert set(findings(out)) == set(list(FILES)[:20])


def test_what_the_origin_has_gained_or_lost_since_is_found(out):
    with RawServer(FILES, port=free_port()) as before:
        fetch(before.url, out, "--workers", 1)
    now = {name: body for name, body in FILES.items() if name != VICTIM} | {"gained": b"g"}
    with RawServer(now, port=before.port) as after:
        done = verify(after.url, out, "--workers", 1, code=3).says(VICTIM, "not listed")
    assert (done.summary["extra"], findings(out)) == (1, {"gained": "missing"})


def test_a_file_that_the_origin_no_longer_gives_is_a_failure_of_content(server, out):
    copy(server, out)
    server.on_file(VICTIM, answer(b"", "404 Not Found"))
    try:
        verify(server.url, out, "--content", "--workers", 1, code=3)
        assert findings(out) == {VICTIM: "http-status"}
        assert (out / VICTIM).read_bytes() == FILES[VICTIM]
    finally:
        server.scripts.clear()


def test_what_failed_to_arrive_is_missing_and_what_was_rejected_is_rejected(out):
    names = ["good", "bad", "nul\0", "x" * 300]
    with RawServer({"good": b"g"}, {None: page(names)}) as server:
        fetch(server.url, out, "--workers", 1, code=3)
        summary = verify(server.url, out, "--workers", 1, code=3).summary
    assert (summary["stored"], summary["failed"], summary["rejected"], summary["extra"]) == (1, 1, 2, 0)
    assert findings(out) == {"bad": "missing", "nul\0": "bad-name", "x" * 300: "name-too-long"}


def test_without_json_the_extras_are_in_the_summary_too(server, out):
    copy(server, out)
    (out / "extra").touch()
    assert "extra on disk 1" in run("verify", "--workers", 1, server.url, out, code=3).out


def test_a_fetchs_failures_survive_a_verify(out):
    with RawServer({"good": b"g"}, {None: page(["good", "bad"])}) as server:
        fetch(server.url, out, "--workers", 1, code=3)
        verify(server.url, out, "--workers", 1, code=3)
    assert list(dead_letters(out)) == ["bad"] and len(json_lines(out / ".gigafetch" / "verify.jsonl")) == 1


def test_another_url_is_refused_with_both(server, out):
    copy(server, out)
    with RawServer(FILES) as other:
        verify(other.url, out, code=1).says("another job", server.url, other.url)


def test_a_folder_that_no_fetch_filled_is_refused(server, out, tmp_path):
    verify(server.url, out, code=1).says(str(out), "No such file")
    out.mkdir()
    verify(server.url, out, code=1).says(str(out), ".gigafetch", "--state")
    (out / ".gigafetch").mkdir(mode=0o700)
    verify(server.url, out, code=1).says(str(out), "no ledger")
    (tmp_path / "file").touch()
    verify(server.url, tmp_path / "file", code=1).says("not a folder")
    assert not (out / ".gigafetch" / "ledger").exists()


def test_a_listing_that_fails_is_no_verdict(server, out):
    copy(server, out)
    server.on_list(answer(b"<html>"))
    try:
        done = verify(server.url, out, code=1).says("page 1", "GET /list")
        assert "extra" not in done.err
    finally:
        server.scripts.clear()


def test_verify_needs_no_write_permission_outside_its_state(server, out):
    copy(server, out)
    subprocess.run(["chmod", "-R", "a-w", out / "a", out / "b"], check=True)
    verify(server.url, out, "--content", "--workers", 2)
    subprocess.run(["chmod", "-R", "u+w", out], check=True)
