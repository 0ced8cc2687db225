"""A device that fails under a worker: what no sync covers is not believed by the next run, whatever became of the worker's word."""
import os

import pytest

from catalogue import Origin
from command import fetch, verify
from oracle import SINKS, check_whole, files_of, requests_seen

SHIM = os.environ["GIGAFETCH_SHIM"]
FILES = 600
ARGS = ["--workers", 1, "--batch", 50, "--connections", 4, "--durability", "process", "--layout", "fanout"]


@pytest.mark.parametrize("sink", SINKS)
def test_after_an_io_error_of_a_worker_what_was_not_synced_is_fetched_again(sink, out):
    note = out / ".gigafetch" / "io-error"
    args = [*ARGS, *SINKS[sink]]
    nth, path = (400, "/file0") if sink == "files" else (3, ".tar")
    with Origin("--files", FILES, "--page-size", 200, "--count") as origin:
        faults = f"calls=write;error=EIO;nth={nth};path={path}"
        # Slow enough for some to be proven before.
        failed = fetch(origin.url, out, *args, "--rate", 300, code=1,
                       env={**os.environ, "LD_PRELOAD": SHIM, "GIGAFETCH_FAULTS": faults})
        failed.says("Input/output error")
        assert note.exists() and failed.summary["stored"] > 0
        before = requests_seen(origin)["requests"]
        fetch(origin.url, out, *args).says("the device of the output folder failed", "fetched again")
        assert requests_seen(origin)["requests"] - before == FILES
        assert not note.exists()
        verify(origin.url, out)
    check_whole(out, files_of(FILES))
