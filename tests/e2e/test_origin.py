"""The embedded origin: names and bodies are the published function of seed and name, for a billion as for ten."""
import json
import re
import signal
import socket
import subprocess
import time

import pytest

import catalogue
from catalogue import Origin
from command import BINARY, ONCE, fetch, run, verify
from layouts import stored_files
from processes import children, is_alive, status_kib, wait_until


def talk(origin, request):
    """What comes back until the origin ends the connection."""
    with socket.create_connection(("127.0.0.1", origin.port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    return answer


def get(target, *headers):
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: x", *headers]).encode() + b"\r\n\r\n"


def bodies(answers):
    found = []
    while answers:
        head, _, answers = answers.partition(b"\r\n\r\n")
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])
        found.append((int(head.split()[1]), answers[:length]))
        answers = answers[length:]
    return found


@pytest.mark.parametrize("depth", [1, 16])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100, 1000])
def test_bodies_are_those_of_the_formula(depth, size, out):
    with Origin("--files", 1500, "--size", size, "--page-size", 700) as origin:
        summary = fetch(origin.url, out, "--workers", 2, "--pipeline", depth).summary
        verify(origin.url, out, "--content", "--workers", 2)
    assert (summary["stored"], summary["pages"], summary["bytes"]) == (1500, 3, 1500 * size)
    assert stored_files(out) == catalogue.files(1500, size)


@pytest.mark.parametrize("seed", [1, 2, 12345678901234567890])
def test_the_listing_is_a_function_of_the_seed(seed):
    with Origin("--files", 2500, "--page-size", 999, "--seed", seed) as origin:
        assert run("ls", origin.url).out.split() == catalogue.names(2500, seed)
        name = catalogue.name_of(2499, seed)
        assert bodies(talk(origin, get(f"/get/{name}"))) == [(200, catalogue.body_of(name, 100, seed))]


def test_another_seed_has_no_name_in_common():
    assert not set(catalogue.names(1000, 1)) & set(catalogue.names(1000, 2))


def test_what_is_not_in_the_catalogue_is_not_found():
    name = catalogue.name_of(7)
    strangers = [catalogue.name_of(10), catalogue.name_of(7, 2), name[:-1], name + "0", name.upper(), "", "..", "%2e"]
    with Origin("--files", 10) as origin:
        answers = bodies(talk(origin, b"".join(get(f"/get/{stranger}") for stranger in strangers)))
        assert [status for status, _ in answers] == [404] * len(strangers)
        bad = ["/list?next-marker=" + marker for marker in ("n10", "x", "n-1", "")] + ["/list?x=y"]
        assert [status for status, _ in bodies(talk(origin, b"".join(map(get, bad))))] == [400] * len(bad)
        assert [status for status, _ in bodies(talk(origin, get("/") + get("/listx")))] == [404, 404]
        assert talk(origin, b"POST /list HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").startswith(b"HTTP/1.1 405")
        assert talk(origin, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_pipelined_requests_are_answered_in_order():
    names = catalogue.names(500)
    with Origin("--files", 500) as origin:
        answers = bodies(talk(origin, b"".join(get(f"/get/{name}") for name in names)))
        assert answers == [(200, catalogue.body_of(name)) for name in names]
        closed = bodies(talk(origin, get("/list", "Connection: close") + get(f"/get/{names[0]}")))
        assert [status for status, _ in closed] == [200]


def test_a_billion_names_take_no_memory():
    files = 10**9
    with Origin("--files", files, "--page-size", 10_000) as origin:
        (status, first), (_, last) = bodies(talk(origin, get("/list") + get(f"/list?next-marker=n{files - 5}")))
        page = json.loads(first)
        assert status == 200 and page["FileNames"] == catalogue.names(10_000) and page["NextMarker"] == "n10000"
        assert json.loads(last) == {"FileNames": [catalogue.name_of(i) for i in range(files - 5, files)]}
        assert run("ls", "--limit", 12_345, origin.url).out.split() == catalogue.names(12_345)
        name = catalogue.name_of(files - 1)
        assert bodies(talk(origin, get(f"/get/{name}"))) == [(200, catalogue.body_of(name))]
        assert status_kib(origin.pid, "VmHWM") < 256 * 1024


def test_several_processes_share_the_port_and_end_with_the_first():
    with Origin("--files", 3000, "--workers", 3) as origin:
        serving = wait_until(lambda: len(found := children(origin.pid)) == 3 and found, "three processes")
        assert run("ls", origin.url).out.split() == catalogue.names(3000)
        origin.process.kill()
        wait_until(lambda: not any(map(is_alive, serving)), "all of them gone", seconds=10)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_origin_and_its_processes(signal_number):
    with Origin("--files", 10, "--workers", 2) as origin:
        serving = wait_until(lambda: len(found := children(origin.pid)) == 2 and found, "two processes")
        origin.process.send_signal(signal_number)
        origin.process.wait(timeout=10)
        wait_until(lambda: not any(map(is_alive, serving)), "all of them gone", seconds=10)


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", ":", "localhost:0", "[::1:0", ""])
def test_a_place_that_cannot_be_listened_on_is_a_usage_error(listen):
    run("origin", "--listen", listen, code=2).says(listen.rpartition(":")[0])


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run("origin", "--listen", f"127.0.0.1:{port}", code=1).says(f"127.0.0.1:{port}", "in use")


def test_the_address_is_printed_first_and_alone():
    origin = subprocess.Popen([BINARY, "origin", "--listen", "127.0.0.1:0", "--files", "1"], stdout=subprocess.PIPE)
    line = origin.stdout.readline().decode()
    origin.kill()
    rest, _ = origin.communicate()
    assert re.fullmatch(r"listening on http://127\.0\.0\.1:\d+\n", line) and rest == b""


def test_a_rate_is_kept_whoever_asks_and_the_rest_is_refused():
    names = catalogue.names(400)
    with Origin("--files", 400, "--max-rate", 100, "--count") as origin:
        begin = time.monotonic()
        answers = bodies(talk(origin, b"".join(get(f"/get/{name}") for name in names)))
        statuses = [status for status, _ in answers]
        # A twentieth of a second's requests may come at once.
        assert set(statuses) == {200, 429} and 1 <= statuses.count(200) <= 6 + 100 * (time.monotonic() - begin)
        assert b"Retry-After" not in talk(origin, get(f"/get/{names[0]}") * 20)
        counted = json.loads(bodies(talk(origin, get("/count")))[0][1])
        most = 6 + 100 * (time.monotonic() - begin)
    assert (counted["requests"], counted["names"], counted["most"]) == (420, 400, 21)
    assert statuses.count(200) <= counted["answered"] <= most


@pytest.mark.parametrize("fault, status", [("--busy-rate", b"503"), ("--throttle-rate", b"429")])
def test_refusals_say_what_they_are_told_to(fault, status):
    with Origin("--files", 1, fault, 1, "--retry-after", 17) as origin:
        answer = talk(origin, get(f"/get/{catalogue.name_of(0)}"))
    assert answer.startswith(b"HTTP/1.1 " + status) and b"\r\nRetry-After: 17\r\n" in answer


def test_counting_is_for_one_process():
    run("origin", "--listen", "127.0.0.1:0", "--count", "--workers", 2, code=2).says("--count", "--workers")


def test_a_fetch_asks_for_every_file_once(out):
    with Origin("--files", 3000, "--count") as origin:
        fetch(origin.url, out, "--workers", 2, "--pipeline", 16, *ONCE)
        counted = json.loads(bodies(talk(origin, get("/count")))[0][1])
    assert counted == {"requests": 3000, "names": 3000, "most": 1, "answered": 3000}
