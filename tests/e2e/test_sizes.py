"""Nothing, one, very many; empty and very large: counts and sizes at their ends."""
import hashlib
import os
import random

import pytest

import catalogue
from catalogue import Origin
from command import ONCE, fetch, run, verify
from layouts import below, stored_files
from nginx import Nginx
from raw_server import FIN, RawServer, answer, chunked, page, pages_of

MIB = 1 << 20
LARGE = 30 * MIB + 17
DEPTHS = pytest.mark.parametrize("depth", [1, 16])


@pytest.fixture(scope="module")
def large_files(tmp_path_factory):
    """A folder of four files of 30 MiB, each MiB of them different, and of 300 empty ones."""
    folder = tmp_path_factory.mktemp("large")
    noise = random.Random(1).randbytes(MIB)
    for at in range(4):
        with open(folder / f"large{at}", "wb") as file:
            for mib in range(30):
                file.write(b"%08d %08d" % (at, mib) + noise[17:])
            file.write(b"the last 17 bytes")
    for at in range(300):
        (folder / f"empty{at}").touch()
    return folder


@pytest.fixture(scope="module")
def large_origin(large_files, tmp_path_factory):
    names = sorted(below(large_files))
    with Nginx(tmp_path_factory.mktemp("nginx"), names, f"location /get/ {{ alias {large_files}/; }}") as server:
        yield server


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


@DEPTHS
def test_empty_and_large_files_come_over_whole_at_the_same_time(depth, large_files, large_origin, out):
    done = fetch(large_origin.url, out, "--workers", 2, "--pipeline", depth)
    assert (done.summary["stored"], done.summary["bytes"]) == (304, 4 * LARGE)
    assert sorted(below(out, "-type", "f", "-not", "-path", "./.gigafetch/*")) == sorted(below(large_files))
    assert all(os.path.getsize(out / f"empty{at}") == 0 for at in range(300))
    assert all(digest(out / f"large{at}") == digest(large_files / f"large{at}") for at in range(4))


@DEPTHS
def test_large_bodies_are_streamed_and_never_held(depth, large_origin, tmp_path):
    def peak(*options):
        out, report = tmp_path / str(len(options)), tmp_path / "time"
        fetch(large_origin.url, out, "--workers", 1, "--pipeline", depth, *options,
              prefix=["/usr/bin/time", "-f", "%M", "-o", report])
        return int(report.read_text()) * 1024
    assert peak() < peak("--include", "empty*") + 24 * MIB


FRAMINGS = {"chunks": lambda body: chunked(body, 100_003), "one chunk": lambda body: chunked(body, LARGE),
            "the end": lambda body: [b"HTTP/1.1 200 OK\r\n\r\n" + body, FIN], "a length": answer}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_large_bodies_arrive_however_they_are_framed(framing, large_files, out):
    files = {f"large{at}": (large_files / f"large{at}").read_bytes() for at in range(2)} | {"small": b"s", "empty": b""}
    with RawServer(files) as server:
        for name, body in files.items():
            reply = FRAMINGS[framing](body)
            server.on_file(name, reply)
        unframed = ["--allow-unframed"] if framing == "the end" else []
        fetch(server.url, out, "--workers", 1, "--pipeline", 4, "--connections", 2, *unframed)
        verify(server.url, out, "--content", "--workers", 1, *unframed)
    assert stored_files(out) == files


@DEPTHS
def test_bodies_around_the_sizes_at_which_buffers_end(depth, out):
    edges = [0, 1, 2, 4095, 4096, 16383, 65535, 65536, 65537, 65536 * 2, 262143, 262144, 262145, 300_000]
    noise = random.Random(2).randbytes(edges[-1])
    files = {f"{framing}{size}": noise[-size:] if size else b"" for size in edges for framing in "lc"}
    with RawServer(files) as server:
        for name, body in files.items():
            if name[0] == "c":
                server.on_file(name, chunked(body, 9999))
        fetch(server.url, out, "--workers", 1, "--pipeline", depth, "--connections", 2)
    assert stored_files(out) == files


def test_large_files_of_the_origin_are_those_of_its_formula(out):
    size = 50_000_000
    with Origin("--files", 3, "--size", size) as origin:
        assert fetch(origin.url, out, "--workers", 2).summary["bytes"] == 3 * size
        verify(origin.url, out, "--content", "--workers", 2)
    for name in catalogue.names(3):
        with open(out / name, "rb") as file:
            assert os.path.getsize(out / name) == size
            for offset in [0, size - 4096, *random.Random(3).sample(range(size - 4096), 50)]:
                file.seek(offset)
                assert file.read(4096) == catalogue.body_of(name, 4096, offset=offset)


@DEPTHS
@pytest.mark.parametrize("listing", [
    b'{"FileNames": []}', b'{"FileNames":null}', b'{"FileNames":[],"NextMarker":null}',
])
def test_no_files_is_a_whole_copy_too(depth, listing, out):
    with RawServer().on_list(answer(listing)) as server:
        summary = fetch(server.url, out, "--workers", 16, "--pipeline", depth).summary
        assert (summary["listed"], summary["pages"], summary["requests"]) == (0, 1, 1)
        assert run("ls", server.url).out == ""
        verify(server.url, out)
    assert stored_files(out) == {}


@DEPTHS
@pytest.mark.parametrize("files", [0, 1, 2, 15, 17])
def test_fewer_files_than_workers(depth, files, out):
    with Origin("--files", files) as origin:
        assert fetch(origin.url, out, "--workers", 16, "--pipeline", depth).summary["stored"] == files
    assert stored_files(out) == catalogue.files(files)


@DEPTHS
def test_pages_of_one_name(depth, out):
    with Origin("--files", 1000, "--page-size", 1) as origin:
        summary = fetch(origin.url, out, "--workers", 4, "--pipeline", depth).summary
    assert (summary["stored"], summary["pages"]) == (1000, 1000)
    assert stored_files(out) == catalogue.files(1000)


@DEPTHS
def test_empty_pages_between_others_are_walked_over(depth, out):
    names = [f"n{i}" for i in range(20)]
    pages = {None: page([], "p0")}
    for at, name in enumerate(names):
        pages |= {f"p{at}": page([name], f"e{at}"), f"e{at}": page([], f"f{at}"), f"f{at}": page([], f"p{at + 1}")}
    pages["p20"] = page([])
    with RawServer({name: name.encode() for name in names}, pages) as server:
        summary = fetch(server.url, out, "--workers", 2, "--pipeline", depth).summary
        assert run("ls", server.url).out.split() == names
    assert (summary["stored"], summary["pages"]) == (20, len(pages))


@pytest.mark.parametrize("batch", [1, 7, 1000, 65536])
def test_batches_of_any_size(batch, out):
    names = [f"n{i}" for i in range(500)]
    with RawServer({name: name.encode() for name in names}, pages_of(names, 123)) as server:
        fetch(server.url, out, "--workers", 3, "--batch", batch, "--pipeline", 4, *ONCE)
        assert server.gets() == 500
    assert stored_files(out) == {name: name.encode() for name in names}
