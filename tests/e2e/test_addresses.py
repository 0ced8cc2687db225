"""Origins by IPv6, by name, with several addresses, slow to take connections."""
import os
import socket
import subprocess

import pytest

import catalogue
from catalogue import Origin
from command import ONCE, QUIET, Running, fetch, run, verify
from layouts import stored_files
from nginx import free_port
from processes import wait_until
from raw_server import RawServer

FILES = 400
WHOLE = catalogue.files(FILES)
MAY_MOUNT = os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"]).returncode == 0
UNSHARE = ["unshare", "-m"] if MAY_MOUNT else ["unshare", "-Urm"]


def with_hosts(folder, *lines):
    """Runs a command with /etc/hosts of these lines alone, and no name service beside it."""
    (folder / "hosts").write_text("".join(line + "\n" for line in lines))
    (folder / "nsswitch").write_text("hosts: files\n")
    script = (f"mount --bind {folder}/hosts /etc/hosts && "
              f"mount --bind {folder}/nsswitch /etc/nsswitch.conf && exec \"$@\"")
    return [*UNSHARE, "sh", "-c", script, "sh"]


@pytest.mark.parametrize("depth", [1, 16])
def test_an_ipv6_origin(depth, out):
    with Origin("--files", FILES, host="[::1]") as origin:
        assert origin.url.startswith("http://[::1]:")
        fetch(origin.url, out, "--workers", 2, "--pipeline", depth)
        verify(origin.url, out, "--content", "--workers", 2)
        assert run("ls", origin.url).out.split() == list(WHOLE)
    assert stored_files(out) == WHOLE


def test_the_host_header_is_the_urls(out, tmp_path):
    with RawServer({"a": b"A"}, host="::1") as six, RawServer({"a": b"A"}) as four:
        fetch(six.url, out, "--workers", 1)
        assert f"\r\nHost: [::1]:{six.port}\r\n".encode() in six.requests[0][2]
        fetch(f"http://LocalHost:{four.port}", tmp_path / "named", "--workers", 1,
              prefix=with_hosts(tmp_path, "127.0.0.1 localhost"))
        assert f"\r\nHost: localhost:{four.port}\r\n".encode() in four.requests[0][2]


@pytest.mark.parametrize("dead", [["127.0.0.2"], ["::1"], ["127.0.0.2", "127.0.0.3", "::1"]])
@pytest.mark.parametrize("dead_first", [True, False])
def test_addresses_that_refuse_are_passed_over(dead, dead_first, out, tmp_path):
    addresses = [*dead, "127.0.0.1"] if dead_first else ["127.0.0.1", *dead]
    hosts = with_hosts(tmp_path, *(f"{address} many.test" for address in addresses))
    with Origin("--files", FILES) as origin:
        url = f"http://many.test:{origin.port}"
        summary = fetch(url, out, "--workers", 3, *ONCE, prefix=hosts).summary
        assert (summary["stored"], summary["retries"]) == (FILES, 0)
        assert run("ls", url, prefix=hosts).out.split() == list(WHOLE)
    assert stored_files(out) == WHOLE


def test_connections_are_shared_out_over_the_addresses(out, tmp_path):
    files = {f"f{i}": b"x" for i in range(600)}
    port = free_port()
    with RawServer(files, port=port) as one, RawServer(files, host="127.0.0.2", port=port) as two:
        hosts = with_hosts(tmp_path, "127.0.0.1 many.test", "127.0.0.2 many.test")
        fetch(f"http://many.test:{port}", out, "--workers", 4, "--connections", 8, *ONCE, prefix=hosts)
        assert one.gets() + two.gets() == 600 and min(one.gets(), two.gets()) > 60
    assert stored_files(out) == files


@pytest.mark.parametrize("command", ["fetch", "ls"])
def test_a_host_that_does_not_resolve_is_named_at_once(command, out, tmp_path):
    url = "http://no-such-host.test:8080"
    hosts = with_hosts(tmp_path, "127.0.0.1 localhost")
    done = run(command, url, *([out] if command == "fetch" else []), code=1, prefix=hosts)
    done.says("no-such-host.test", "cannot be looked up", "unknown node or service")


def full_listener():
    """A listening socket whose queue is full: the kernel drops further connections' first packets."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", free_port()))
    listener.listen(0)
    fillers = []
    for _ in range(8):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    return listener, fillers


def test_a_slow_connection_is_given_up_and_tried_again(out):
    listener, fillers = full_listener()
    port = listener.getsockname()[1]
    with Running("fetch", *QUIET, "--workers", 2, "--connect-timeout", 0.3, f"http://127.0.0.1:{port}", out) as slow:
        first = wait_until(slow.process.stderr.readline, "the trouble told").decode()
        assert "cannot connect" in first and f"127.0.0.1:{port}" in first and "timed out" in first
        for end in (listener, *fillers):
            end.close()
        with Origin("--files", FILES, port=port):
            assert slow.ended(code=0).summary["stored"] == FILES
    assert stored_files(out) == WHOLE
