"""What a power loss leaves: the files and records that were synced, and whatever else the disk had got to."""
import os
import signal
import time
import uuid
from pathlib import Path

import pytest

from catalogue import Origin
from command import ONCE, QUIET, Running, fetch, verify
from oracle import SINKS, check_whole, files_of, requests_seen, scaled, wait_for_answers
from processes import children, is_stopped, wait_until

SHIM = os.environ["GIGAFETCH_SHIM"]
FILES = 8000
EACH_SINK = pytest.mark.parametrize("sink", SINKS)
ARGS = ["--workers", 2, "--batch", 50, "--layout", "fanout"]
# With so few connections to an origin that is SLOW, no run ends before it is stopped.
SLOWLY = ["--connections", 8]
SLOW = ["--page-size", 1000, "--lag", 30, "--count"]
BEGUN = 2500  # answers, of which some are proven, and synced


def watched(boot, trace, mount="7"):
    return {**os.environ, "LD_PRELOAD": SHIM, "GIGAFETCH_TRACE": str(trace), "GIGAFETCH_BOOT_ID": boot,
            "GIGAFETCH_MOUNT_ID": mount}


def calls_of(trace):
    """(call, path, result) in the order in which they ended."""
    for line in Path(trace).read_text().splitlines():
        call, path, result, *_ = line.split("\t")
        yield call, path, result


def files_behind_a_sync(trace):
    """The files that were written after the last syncfs had ended; None before there was one."""
    behind, seen_sync = set(), False
    for call, path, result in calls_of(trace):
        if call == "syncfs" and result == "0":
            behind, seen_sync = set(), True
        elif call == "write" and "/.gigafetch/" not in path:
            behind.add(path)
    return behind if seen_sync else None


def lose_power(out, trace):
    """Empties every file that was written after the last syncfs had ended, as ext4 may leave it. How many."""
    lost = files_behind_a_sync(trace)
    for path in filter(os.path.exists, lost):
        os.truncate(path, 0)
    return len(lost)


def shard_sizes(trace):
    """Of each shard, by path: its size, and its size when the last syncfs ended."""
    size, synced = {}, {}
    for call, path, result in calls_of(trace):
        if call == "syncfs" and result == "0":
            synced = dict(size)
        elif call == "write" and ".tar" in path and not result.startswith("E"):
            size[path] = size.get(path, 0) + int(result)
    return size, synced


def lose_power_of_shards(out, trace, zeros):
    """Cuts every shard to what was in it when the last syncfs ended, or leaves zeros behind that. How many."""
    size, synced = shard_sizes(trace)
    assert all(os.path.getsize(path) == size[path] for path in size), "something else than an append was made"
    lost = [path for path in size if size[path] > synced.get(path, 0)]
    for path in lost:
        os.truncate(path, synced.get(path, 0))
        if zeros:
            os.truncate(path, size[path])
        elif path not in synced:
            os.remove(path)  # its folder's entry was not synced either
    for index in out.glob("*.idx"):
        os.truncate(index, 0)
    return len(lost)


def ledger_sizes(trace):
    """The ledger's size, and that at its last fdatasync. The trace has every write since it was made."""
    size = durable = 0
    for call, path, result in calls_of(trace):
        if " -> " in path:
            continue
        if path.endswith("/ledger.new") or path.endswith("/ledger"):
            if call in ("open", "openat") and path.endswith(".new"):
                size = 0
            elif call == "write":
                size += int(result)
            elif call == "ftruncate":
                raise AssertionError("not in a first run")
            elif call == "fdatasync" and result == "0":
                durable = size
    return size, durable


def records(ledger):
    """(offset, type, first number) of each record of a ledger (store/ledger_format.h, store/record.h)."""
    def varint(at):
        value = shift = 0
        while True:
            byte = ledger[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at

    at = 24
    while at < len(ledger):
        length, payload = varint(at + 1)
        ends_a_write = 0x80  # beside the type
        yield at, ledger[at] & ~ends_a_write, (varint(payload)[0] if length else None)
        at = payload + length + 8


def something_recorded_is_unsynced(ledger):
    """A STORED stands behind what the last SYNCED covers, which is its first number."""
    stored, synced = 5, 7
    covered, last = 0, -1
    for at, kind, first in records(ledger):
        if kind == synced:
            covered = first
        elif kind == stored:
            last = at
    return last >= covered > 0


class DurableLedger:
    """Copies of the ledger as a power loss would leave it: what was written before a sync of it that ended well."""

    def __init__(self, state):
        self.state = state

    def damage(self, trace):
        """Cuts the ledger back to its size at its last fdatasync."""
        size, durable = ledger_sizes(trace)
        os.truncate(self.state / "ledger", durable)
        return size, durable


def shards_are_unsynced(trace):
    """Some bytes of shards are synced, some are not; and the trace knows of all."""
    size, synced = shard_sizes(trace)
    return synced and size != synced and all(os.path.getsize(path) == size[path] for path in size)


def freeze_where_something_is_unsynced(running, out, trace, packed):
    while True:
        assert running.process.poll() is None, "it has ended"
        tree = [running.pid, *children(running.pid)]
        for each in tree:
            os.kill(each, signal.SIGSTOP)
        wait_until(lambda: all(map(is_stopped, tree)), "all stopped")
        written, durable = ledger_sizes(trace)
        recorded = something_recorded_is_unsynced((out / ".gigafetch" / "ledger").read_bytes())
        if recorded and durable < written and (shards_are_unsynced(trace) if packed else files_behind_a_sync(trace)):
            return
        for each in tree:
            os.kill(each, signal.SIGCONT)
        time.sleep(0.01)


def stopped_in_the_middle(origin, out, trace, durability="batch", options=()):
    boot = str(uuid.uuid4())
    with Running("fetch", *QUIET, *ARGS, *SLOWLY, *options, "--durability", durability, origin.url, out,
                 env=watched(boot, trace)) as running:
        wait_for_answers(origin, BEGUN)
        if durability != "process":
            freeze_where_something_is_unsynced(running, out, trace, packed="tar" in options)
        running.signal(signal.SIGKILL)
        running.ended(code=-signal.SIGKILL)
    return boot


def test_what_was_synced_before_a_power_loss_is_not_fetched_again_and_all_else_is(out, tmp_path):
    trace = tmp_path / "trace"
    with Origin("--files", FILES, *SLOW) as origin:
        stopped_in_the_middle(origin, out, trace)
        lost = lose_power(out, trace)
        size, durable = DurableLedger(out / ".gigafetch").damage(trace)
        assert lost > 0 and 0 < durable < size
        before = requests_seen(origin)["requests"]
        fetch(origin.url, out, *ARGS, env=watched(str(uuid.uuid4()), tmp_path / "trace2"))
        kept = FILES - (requests_seen(origin)["requests"] - before)
    check_whole(out, files_of(FILES))
    assert 0 < kept <= before - lost
    print(f"\nledger of {size} bytes, {durable} durable; {lost} files lost, {kept} of {before} kept")


LEFT = scaled([("cut", "zstd"), ("zeros", "tar"), ("rolled", "tar")],
              [(left, sink) for left in ("cut", "zeros", "rolled") for sink in ("tar", "zstd")])


@pytest.mark.parametrize("left, sink", LEFT)
def test_shards_go_on_from_what_was_synced_before_a_power_loss(left, sink, out, tmp_path):
    trace = tmp_path / "trace"
    options = [*SINKS[sink], *(["--shard-size", "50K"] if left == "rolled" else [])]
    files = scaled(5000, FILES)
    with Origin("--files", files, *SLOW) as origin:
        stopped_in_the_middle(origin, out, trace, options=options)
        lost = lose_power_of_shards(out, trace, left == "zeros")
        size, durable = DurableLedger(out / ".gigafetch").damage(trace)
        assert lost > 0 and 0 < durable < size
        before = requests_seen(origin)["requests"]
        fetch(origin.url, out, *ARGS, *options, env=watched(str(uuid.uuid4()), tmp_path / "trace2"))
        kept = files - (requests_seen(origin)["requests"] - before)
        verify(origin.url, out)
    check_whole(out, files_of(files))
    assert 0 < kept < before
    print(f"\nledger of {size} bytes, {durable} durable; {lost} shards lost something, {kept} of {before} files kept")


@pytest.mark.parametrize("sink", scaled(["files"], SINKS))
def test_after_a_reboot_only_what_a_sync_covers_counts(sink, out, tmp_path):
    args = [*ARGS, *SINKS[sink]]
    with Origin("--files", FILES, *SLOW) as origin:
        stopped_in_the_middle(origin, out, tmp_path / "trace", options=SINKS[sink])
        # The ledger is whole, but the page cache is gone: what no SYNCED covers cannot be trusted.
        kept = fetch(origin.url, out, *args, env=watched(str(uuid.uuid4()), tmp_path / "trace2"))
        kept.says("started anew", "had not been synced")
        seen = requests_seen(origin)
    assert seen["requests"] > FILES
    check_whole(out, files_of(FILES))


def test_under_the_same_boot_everything_recorded_counts(out, tmp_path):
    with Origin("--files", FILES, *SLOW) as origin:
        boot = stopped_in_the_middle(origin, out, tmp_path / "trace", durability="process")
        done = fetch(origin.url, out, *ARGS, "--durability", "process", env=watched(boot, tmp_path / "trace2"))
        seen = requests_seen(origin)
    # What was in flight, and what was not proven yet: of such an origin, that of a second or two.
    assert done.summary["resumed"] and seen["requests"] - FILES <= 2 * 4 * 50 + FILES // 4
    check_whole(out, files_of(FILES))


@pytest.mark.parametrize("sink", scaled(["files"], SINKS))
def test_after_a_mount_under_the_same_boot_only_what_a_sync_covers_counts(sink, out, tmp_path):
    """A volume that was gone and is back, its dirty pages lost."""
    args = [*ARGS, *SINKS[sink]]
    with Origin("--files", FILES, *SLOW) as origin:
        boot = stopped_in_the_middle(origin, out, tmp_path / "trace", options=SINKS[sink])
        lost = lose_power(out, tmp_path / "trace") if sink == "files" else 0
        again = fetch(origin.url, out, *args, env=watched(boot, tmp_path / "trace2", mount="8"))
        again.says("mounted anew", "had not been synced")
        verify(origin.url, out)
    assert lost > 0 or sink != "files"
    check_whole(out, files_of(FILES))


@EACH_SINK
@pytest.mark.parametrize("durability", ["batch", "file"])
def test_a_finished_job_survives_a_power_loss_whole(durability, sink, out, tmp_path):
    """The last sync covers the last record, and is itself on the device."""
    trace = tmp_path / "trace"
    args = [*ARGS, *SINKS[sink]]
    with Origin("--files", 2000, "--page-size", 500, "--count") as origin:
        fetch(origin.url, out, *args, "--durability", durability, *ONCE, env=watched(str(uuid.uuid4()), trace))
        if sink != "files":
            assert lose_power_of_shards(out, trace, False) == 0
        size, durable = DurableLedger(out / ".gigafetch").damage(trace)
        assert durable == size
        again = fetch(origin.url, out, *args, env=watched(str(uuid.uuid4()), tmp_path / "trace2"))
        assert (again.summary["requests"], again.summary["stored"]) == (0, 2000)
        assert requests_seen(origin)["requests"] == 2000
        verify(origin.url, out)


@EACH_SINK
def test_a_record_says_synced_only_after_the_files_and_the_records_before_it_were(sink, out, tmp_path):
    """In each commit: syncfs of the output, fdatasync of the ledger, then the record, then fdatasync again."""
    trace = tmp_path / "trace"
    with Origin("--files", 3000, "--page-size", 500, "--lag", 5) as origin:
        fetch(origin.url, out, *ARGS, *SINKS[sink], env=watched(str(uuid.uuid4()), trace))
    stored = "file" if sink == "files" else "worker-"
    calls = [(call, path.rsplit("/", 1)[-1]) for call, path, result in calls_of(trace)
             if not result.startswith("E") and not path.endswith(".idx")]
    last_file = max(i for i, (call, path) in enumerate(calls) if call == "write" and path.startswith(stored))
    tail = [entry for entry in calls[last_file:] if entry[0] in ("syncfs", "fdatasync", "write")
            and entry[1] != "failed.jsonl.new" and not entry[1].startswith(stored)]
    syncs = [entry for entry in tail if entry[0] != "write"]
    assert ("syncfs", "out") in syncs, tail
    after_syncfs = tail[tail.index(("syncfs", "out")):]
    assert after_syncfs[-1] == ("fdatasync", "ledger"), tail
    assert after_syncfs.index(("fdatasync", "ledger")) < len(after_syncfs) - 1, tail
    written = [i for i, entry in enumerate(after_syncfs) if entry == ("write", "ledger")]
    assert written and written[-1] > after_syncfs.index(("fdatasync", "ledger")), tail
