"""Real files from a real server: nginx serves this host's headers and documentation, copied byte for byte."""
import os
import random
from pathlib import Path

import pytest

from command import ONCE, fetch, verify
from layouts import below
from nginx import Nginx
from scale import scaled

ROOTS = {"include": Path("/usr/include"), "doc": Path("/usr/share/doc")}
MOST_FILES, MOST_BYTES = scaled(5000, 20_000), scaled(100, 400) << 20
FEWEST_FILES = 2000  # fewer would not be the trial that this is


@pytest.fixture(scope="module")
def corpus():
    """Name to path of regular files below the roots, as they come by chance, with a cap."""
    found = [(prefix, path) for prefix, root in ROOTS.items() for path in sorted(below(root, "-type", "f"))]
    files, size = {}, 0
    for prefix, path in random.Random(1).sample(found, len(found)):
        name, source = f"{prefix}/{path}", ROOTS[prefix] / path
        size += os.path.getsize(source)
        if len(files) < MOST_FILES and size < MOST_BYTES and name.isprintable():
            files[name] = source
    assert len(files) >= FEWEST_FILES
    return files


@pytest.fixture(scope="module")
def nginx(corpus, tmp_path_factory):
    locations = "\n".join(f"location /get/{prefix}/ {{ alias {root}/; }}" for prefix, root in ROOTS.items())
    # The first keeps nginx's own limit of 1000 requests a connection.
    with Nginx(tmp_path_factory.mktemp("nginx"), list(corpus), locations, ["", "keepalive_requests 7;"]) as server:
        yield server


@pytest.mark.parametrize("keepalive", ["default", 7])
@pytest.mark.parametrize("depth", [1, 16, "auto"])
def test_a_copy_of_real_files_is_the_same_byte_for_byte(keepalive, depth, corpus, nginx, out):
    url = nginx.urls[0 if keepalive == "default" else 1]
    tries = ONCE if depth == 1 else []
    summary = fetch(url, out, "--workers", 16, "--connections", 16, "--pipeline", depth, *tries).summary
    assert summary["stored"] == summary["listed"] == len(corpus) and summary["workers"] == 16
    assert summary["bytes"] == sum(os.path.getsize(path) for path in corpus.values())
    assert summary["pages"] == (len(corpus) + 999) // 1000
    if depth == 1:
        assert (summary["requests"], summary["retries"]) == (len(corpus) + summary["pages"], 0)
    assert set(below(out, "-not", "-type", "d", "-not", "-path", "./.gigafetch/*")) == set(corpus)
    assert [name for name, path in corpus.items() if (out / name).read_bytes() != path.read_bytes()] == []


def test_verify_compares_real_files(corpus, nginx, out):
    fetch(nginx.url, out, "--workers", 4, "--pipeline", 16, "--layout", "fanout")
    assert verify(nginx.url, out, "--content", "--pipeline", 16).summary["stored"] == len(corpus)
    assert verify(nginx.url, out).summary["extra"] == 0
