"""Servers that nobody here has written, connections kept, limited or closed: all is right, and nothing doubted."""
import collections
import http.server
import json
import random
import threading
from urllib.parse import unquote

import pytest

from command import fetch, verify
from framing_judge import judge
from nginx import Nginx

FILES = 2000
CONNECTIONS = 4
SINKS = {"files": [], "zstd": ["--sink", "tar", "--zstd", 1]}
NGINX = {"kept": "", "limited": "keepalive_requests 50;", "closed": "keepalive_timeout 0;"}


def body_of(name):
    """Some empty, some ending with what stands between answers too, some larger than what is gathered in memory."""
    rng = random.Random(name)
    size = rng.choices([0, 1, 100, 3000, 100_000], [1, 1, 20, 5, 0.2])[0]
    return rng.randbytes(size)[:max(size - 2, 0)] + b"\r\n"[:size]


@pytest.fixture(scope="module")
def files():
    return {f"f{i:04}": body_of(f"f{i:04}") for i in range(FILES)}


@pytest.fixture(scope="module")
def few(files):
    """Head and body are two writes to Python's server, so that each answer takes 40 ms."""
    return dict(list(files.items())[:150])


def laid_out(files, folder):
    """get/NAME and list: what a server of files needs to serve this job."""
    (folder / "get").mkdir()
    for name, body in files.items():
        (folder / "get" / name).write_bytes(body)
    (folder / "list").write_text(json.dumps({"FileNames": list(files)}))
    return folder


@pytest.fixture(scope="module")
def nginx(files, tmp_path_factory):
    folder = laid_out(files, tmp_path_factory.mktemp("files"))
    with Nginx(tmp_path_factory.mktemp("nginx"), list(files), f"gzip off; location /get/ {{ alias {folder}/get/; }}",
               list(NGINX.values())) as server:
        yield dict(zip(NGINX, server.urls))


@pytest.fixture(scope="module")
def python_server(few, tmp_path_factory):
    folder = laid_out(few, tmp_path_factory.mktemp("files"))

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *args):
            super().__init__(*args, directory=folder)

        def log_request(self, *_):
            counts[unquote(self.path.rpartition("/")[2])] += 1

    counts = collections.Counter()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.counts = counts
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def copied(url, files, out, tmp_path, depth, sink):
    """The requests that were made for files."""
    done = fetch(url, out, "--workers", 1, "--connections", CONNECTIONS, "--pipeline", depth, "--layout", "flat",
                 *SINKS[sink])
    assert judge(out, files, tmp_path) == {}
    for words in ("not asked for", "does not end where", "in flight"):
        assert words not in done.err, f"{done}"
    again = verify(url, out, "--content", "--connections", CONNECTIONS, "--pipeline", depth)
    assert again.err == "" and again.summary["stored"] == len(files), f"{again}"
    return done.summary["requests"] - done.summary["pages"]


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("depth", [1, 16, "auto"])
@pytest.mark.parametrize("keeping", NGINX)
def test_nginx_is_copied_without_a_doubt(keeping, depth, sink, files, nginx, out, tmp_path):
    asked = copied(nginx[keeping], files, out, tmp_path, depth, sink)
    # What was behind the limit on the connections that showed it, and the answers before it that were not proven yet.
    once = depth == 1 or keeping == "kept"
    assert asked - len(files) <= (0 if once else CONNECTIONS * (50 + 16)), f"{asked} requests"


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("depth", [1, 16])
def test_pythons_server_is_copied_without_a_doubt(depth, sink, few, python_server, out, tmp_path):
    url = "http://127.0.0.1:%d" % python_server.server_address[1]
    python_server.counts.clear()
    assert copied(url, few, out, tmp_path, depth, sink) == len(few)
    assert {python_server.counts[name] for name in few} == {2}  # once to copy, once to compare
