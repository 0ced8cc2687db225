"""Pages of 100,000 names, from nginx and from the embedded origin."""
import pytest

import catalogue
from catalogue import Origin
from command import fetch
from layouts import stored_files
from nginx import Nginx
from scale import scaled

NAMES = 100_000


@pytest.mark.parametrize("depth", scaled([16], [1, 16]))
def test_a_page_of_100000_names_from_nginx(depth, tmp_path_factory, out):
    names = [f"n{i:06}" for i in range(NAMES)]
    echo = "location /get/ { return 200 $uri; }"
    with Nginx(tmp_path_factory.mktemp("nginx"), names, echo, page_size=NAMES) as server:
        summary = fetch(server.url, out, "--workers", 2, "--pipeline", depth, "--layout", "flat").summary
    assert (summary["stored"], summary["pages"], summary["duplicates"]) == (NAMES, 1, 0)
    assert stored_files(out) == {name: f"/get/{name}".encode() for name in names}


@pytest.mark.parametrize("depth", scaled([1], [1, 16]))
def test_pages_of_100000_names_from_the_origin(depth, out):
    files = NAMES + 1
    with Origin("--files", files, "--page-size", NAMES, "--size", 16) as origin:
        summary = fetch(origin.url, out, "--workers", 2, "--pipeline", depth, "--layout", "fanout").summary
    assert (summary["stored"], summary["pages"], summary["bytes"]) == (files, 2, 16 * files)
    stored = {path[6:]: body for path, body in stored_files(out).items()}
    assert stored.keys() == set(catalogue.names(files))
    assert all(body == catalogue.body_of(name, 16) for name, body in stored.items())
