"""The command line: wrong use is exit 2 with the option named and nothing on standard output; help names it all."""
import re

import pytest

from command import fetch, run
from layouts import stored_files
from raw_server import RawServer

URL = "http://127.0.0.1:9"

# What design.md lists, as far as this version has it.
OPTIONS = {
    "fetch": "--api --workers --connections --pipeline --batch --sink --zstd --shard-size --layout --state --durability --retries "
             "--connect-timeout --stall-timeout --list-timeout --max-page-size --rate --limit --include --exclude --header --bearer-file "
             "--max-file-size --progress --json --log-level --restart --force --config --help",
    "ls": "--api --retries --connect-timeout --stall-timeout --list-timeout --max-page-size --limit --include --exclude --header --bearer-file "
          "--log-level --help",
    "verify": "--content --state --api --workers --connections --pipeline --batch --retries --connect-timeout "
              "--stall-timeout --list-timeout --max-page-size --rate --header --bearer-file --progress --json --log-level --help",
    "cat": "--state --help",
    "origin": "--listen --files --size --page-size --lag --seed --workers --error-rate --throttle-rate --reset-rate "
              "--truncate-rate --stall-rate --close-rate --busy-rate --max-rate --retry-after --count --help",
    "demo": "--files --size --workers --pipeline --sink --out --help",
}

WRONG = {
    "no command": ([], ["command"]),
    "no such command": (["fech", URL, "out"], ["fech"]),
    "no URL": (["fetch"], ["URL"]),
    "no folder": (["fetch", URL], ["OUT"]),
    "one too many": (["fetch", URL, "out", "more"], ["more"]),
    "no such option": (["fetch", "--wrokers", "3", URL, "out"], ["--wrokers"]),
    "no value": (["fetch", URL, "out", "--workers"], ["--workers"]),
    "option of another command": (["ls", "--force", URL], ["--force"]),
    "an abbreviation": (["fetch", "--work", "3", URL, "out"], ["--work"]),
}
NUMBERS = {
    "--workers": ["0", "-1", "1025", "x", "1.5", "", "1e3", "0x", "99999999999999999999"],
    "--connections": ["0", "-1", "65537", "x"],
    "--pipeline": ["0", "-1", "1025", "automatic", "", "1.5"],
    "--batch": ["0", "-1", "65537000", "x"],
    "--retries": ["-1", "1001", "x", "4294967296"],
    "--connect-timeout": ["0", "-1", "86401", "x", "nan", "inf"],
    "--list-timeout": ["0", "-1", "x", "nan"],
    "--max-page-size": ["-1", "x", "1X", "1.5G"],
    "--stall-timeout": ["0", "-1", "x", "nan", "-nan", "inf"],
    "--rate": ["0", "-1", "x", "nan", "inf"],
    "--limit": ["-1", "x", "1.5", "18446744073709551616"],
    "--max-file-size": ["-1", "x", "1X", "1.5G", "99999999999G"],
    "--layout": ["", "Tree", "list"],
    "--sink": ["tar.gz", "file"],
    "--api": ["s3x", ""],
    "--durability": ["none", ""],
    "--progress": ["bar", ""],
    "--log-level": ["loud", ""],
}
BAD_URLS = {
    "https://127.0.0.1:9/": ["https", "http://"], "ftp://127.0.0.1/": ["ftp", "http://"],
    "127.0.0.1:9": ["127.0.0.1:9"], "localhost": ["localhost"], "/list": ["/list"], "": ["URL"],
    "http://": ["http://"], "http:///x": ["http:///x"],
    "http://127.0.0.1:0/": ["port"], "http://127.0.0.1:65536/": ["port"], "http://127.0.0.1:x/": ["http://"],
    "http://[::1/": ["http://"], "http://a b/": ["http://"], "http://127.0.0.1:9/?q": ["?"],
    "http://127.0.0.1:9/#f": ["#"], "http://127.0.0.1:9/\r\nX: y": ["http://"], "http://%6cocalhost/": ["host"],
}
BAD_HEADERS = {
    "Authorization: Bearer s3cret": ["Authorization", "--bearer-file"], "authorization: x": ["--bearer-file"],
    "Proxy-Authorization: s3cret": ["--bearer-file"], "Cookie: id=s3cret": ["Cookie", "--bearer-file"],
    "Host: x": ["Host"], "Connection: close": ["Connection"], "Content-Length: 5": ["Content-Length"],
    "Transfer-Encoding: chunked": ["Transfer-Encoding"], "Accept-Encoding: gzip": ["Accept-Encoding"],
    "Range: bytes=0-1": ["Range"], "no colon": ["--header", "Name: value"], ": x": ["--header"], "a b: c": ["--header"],
    "X: y\r\nEvil: z": ["control"], "X: y\nEvil: z": ["control"], "X: \x7f": ["control"],
}


def wrong(args, words, tmp_path):
    done = run(*args, code=2, cwd=tmp_path).says(*words, "--help" if "gigafetch: " not in words else "")
    assert done.out == "" and list(tmp_path.iterdir()) == []
    return done


@pytest.mark.parametrize("what", WRONG)
def test_wrong_use_is_told(what, tmp_path):
    wrong(*WRONG[what], tmp_path).says("See 'gigafetch")


@pytest.mark.parametrize("option", NUMBERS)
def test_a_wrong_value_is_told_with_its_option(option, tmp_path):
    taken = []
    for value in NUMBERS[option]:
        done = run("fetch", f"{option}={value}", "https://nobody", "out", code=2, cwd=tmp_path)
        assert done.out == "" and list(tmp_path.iterdir()) == []
        if option not in done.err:
            taken.append(value)
    assert taken == []


@pytest.mark.parametrize("option, value", [
    ("--files", "-1"), ("--files", "10000000001"), ("--size", "x"), ("--lag", "-1"), ("--lag", "nan"),
    ("--page-size", "0"), ("--page-size", "500001"), ("--workers", "0"), ("--error-rate", "1.1"),
    ("--error-rate", "-0.1"), ("--stall-rate", "nan"), ("--seed", "-1"), ("--listen", "nowhere"),
])
def test_a_wrong_value_of_origin_is_told_with_its_option(option, value, tmp_path):
    # A value that is taken would start a server: the second --listen stops that.
    stop = [] if option == "--listen" else ["--listen", "nowhere"]
    done = run("origin", f"{option}={value}", *stop, code=2, cwd=tmp_path).says(option)
    assert done.out == ""


@pytest.mark.parametrize("url", BAD_URLS)
@pytest.mark.parametrize("command", ["fetch", "ls", "verify"])
def test_a_url_that_cannot_be_fetched_from_is_refused(command, url, tmp_path):
    done = run(command, url, *([] if command == "ls" else ["out"]), code=2, cwd=tmp_path).says(*BAD_URLS[url])
    assert done.out == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", [
    "http://me:s3cret@127.0.0.1/", "http://s3cret@127.0.0.1/", "http://me:s3cret@[::1", "https://me:s3cret@x/",
    "http://me:s3cret@host:99999/", "http://me:s3 cret@h/", "s3cret@h", "http://me:s3cret%40@x/",
])
def test_credentials_in_a_url_are_refused_and_not_shown(url, tmp_path):
    done = run("fetch", url, "out", code=2, cwd=tmp_path)
    assert "s3" not in done.err + done.out
    if url.startswith("http://") and url.endswith("127.0.0.1/"):
        done.says("credentials", "--bearer-file")


@pytest.mark.parametrize("header", BAD_HEADERS)
def test_a_header_that_is_not_the_users_to_set_is_refused(header, tmp_path):
    done = run("fetch", "--header", header, URL, "out", code=2, cwd=tmp_path).says(*BAD_HEADERS[header])
    assert "s3cret" not in done.err and done.out == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content, words", [
    (None, ["No such file"]), (b"", ["empty"]), (b"\n", ["empty"]), (b"a b\n", ["one line"]), (b"a\nb\n", ["one line"]),
    (b"a\r\nX: y", ["one line"]), (b"x" * 20_000, ["16384"]),
])
def test_a_bearer_file_that_holds_no_token_is_refused(content, words, tmp_path):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    done = run("fetch", "--bearer-file", file, URL, tmp_path / "out", code=None).says("bearer file", str(file), *words)
    assert done.code in (1, 2) and done.out == "" and not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", OPTIONS)
def test_help_names_every_option_and_says_something_about_it(command):
    help = run(command, "--help").out
    lines = help.splitlines()
    missing = [option for option in OPTIONS[command].split() if not re.search(rf"(?m)^ +(-., )?{option}\b", help)]
    assert missing == []
    assert max(map(len, lines)) <= 100 and lines[0].startswith(f"Usage: gigafetch {command}")
    for at, line in enumerate(lines):
        if re.match("  --", line):
            assert re.search(r"\S {2,}\S", line.strip()) or lines[at + 1].startswith(" " * 20), line


def test_help_names_every_command_and_the_exit_statuses():
    for option in ("--help", "-h"):
        help = run(option).out
        assert all(re.search(rf"(?m)^  {command}\b", help) for command in OPTIONS)
        assert all(f"{status} " in help for status in range(5)) and "--version" in help and "--config" in help


def test_version():
    assert re.fullmatch(r"gigafetch \d+\.\d+\.\d+\n", run("--version").out)


@pytest.fixture
def server():
    with RawServer({f"{letter}{i}": b"x" for letter in "ab" for i in range(10)}) as server:
        yield server


def test_options_can_stand_in_a_file_and_the_command_line_wins(server, tmp_path):
    config = tmp_path / "config"
    config.write_text('[fetch]\nworkers = 3\nlayout = "flat"\nexclude = "a*"\npipeline = "auto"\njson = true\n')
    done = run("fetch", "--config", config, "--workers", 2, server.url, tmp_path / "out")
    assert (done.summary["workers"], done.summary["stored"]) == (2, 10)
    run("--config", config, "fetch", server.url, tmp_path / "other")
    assert stored_files(tmp_path / "out") == stored_files(tmp_path / "other") == {f"b{i}": b"x" for i in range(10)}


def test_repeatable_options_may_stand_in_front_of_the_arguments(server, tmp_path):
    out = tmp_path / "out"
    run("fetch", "--include", "a*", "--include", "b1", "--exclude", "a2", "--header", "X: y", server.url, out)
    assert sorted(stored_files(out)) == sorted([f"a{i}" for i in range(10) if i != 2] + ["b1"])
    assert all(b"\r\nX: y\r\n" in request for _, _, request in server.requests)


@pytest.mark.parametrize("text, words", [
    ("[fetch]\nworkers = none\n", ["workers"]), ("[fetch]\nwrokers = 3\n", ["wrokers"]),
    ("[fetch]\nrate = 0\n", ["rate"]), ("wrokers = 3\n", ["wrokers"]), (None, ["config"]),
])
def test_a_wrong_config_file_is_wrong_use(text, words, server, tmp_path):
    config = tmp_path / "config"
    if text is not None:
        config.write_text(text)
    done = run("fetch", "--config", config, server.url, tmp_path / "out", code=2).says(*words)
    assert done.out == "" and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["-out", "out with space", "o\u00fct", "out\nline", "-"])
def test_an_output_folder_may_have_any_name(name, server, tmp_path):
    run("fetch", "--workers", 1, "--", server.url, name, cwd=tmp_path)
    assert len(stored_files(tmp_path / name)) == 20


@pytest.mark.parametrize("base", ["", "/", "/deep/er", "/deep/er/", "/with%20space", "/plus+", "/dots/../x"])
def test_the_base_of_the_url_goes_in_front_of_every_request(base, out):
    stem = base.rstrip("/")
    with RawServer({"a/b": b"AB"}, base=stem) as server:
        fetch(server.url + base.removeprefix(stem), out, "--workers", 1)
        assert {target for _, target, _ in server.requests} == {f"{stem}/list", f"{stem}/get/a/b"}
    assert stored_files(out) == {"a/b": b"AB"}
