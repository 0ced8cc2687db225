"""bench/run, from end to end, on counts that say nothing about speed."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from catalogue import Origin, name_of, names
from command import BINARY, fetch
from layouts import below
from processes import children, comm, wait_until

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "bench"))
from harness import checks  # noqa: E402

BUILD = Path(BINARY).parents[1]


def bench(tmp_path, only, *options, code=0, build=BUILD, runs=1):
    """The text, and what is in results.json: by name, and the targets by what they say."""
    out = tmp_path / "results"
    command = [PROJECT / "bench/run", "--build", build, "--only", only, "--runs", str(runs), "--files", "2000",
               "--out", out, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    results = json.loads((out / "results.json").read_text())
    assert (out / "results.md").read_text() == done.stdout[:-1]
    return done, {row["name"]: row for row in results["results"]}, {row["what"]: row for row in results["targets"]}


def test_limits_and_gigafetch_are_compared_and_judged(tmp_path):
    done, rows, targets = bench(tmp_path, "^(floor .* d16|gigafetch files d16 w[14] origin)$", runs=2)
    assert list(rows) == ["floor files d16", "gigafetch files d16 w1 origin", "floor packed d16",
                          "gigafetch files d16 w4 origin"]
    for row in rows.values():
        assert row["state"] == "ok" and row["files_done"] == row["requests"] == 2000, row
        for figure in ("files_per_second", "cpu_us_per_file", "peak_kib"):
            spread = row[figure]
            assert len(spread["runs"]) == 2 and 0 < spread["min"] <= spread["median"] <= spread["max"], row
        assert f"| {row['name']} |" in done.stdout
    ratio = targets["files, depth 16"]
    expected = [a / b for a, b in zip(*(rows[name]["cpu_us_per_file"]["runs"]
                                        for name in ("gigafetch files d16 w1 origin", "floor files d16")))]
    assert ratio["value"]["runs"] == expected
    assert ratio["verdict"] == ("ok" if ratio["value"]["median"] <= 1.15 else "missed")
    assert targets["packed, depth 16, beside the Python combo"]["verdict"] == "not measured"


def test_nginx_and_the_curves_are_measured(tmp_path):
    _, rows, targets = bench(tmp_path, "^(gigafetch files d1 w1 nginx|growth (workers|lag) [15] files)$")
    assert list(rows) == ["gigafetch files d1 w1 nginx", "growth workers 1 files", "growth lag 1 files",
                          "growth lag 5 files"]
    assert all(row["state"] == "ok" for row in rows.values()), rows
    assert rows["gigafetch files d1 w1 nginx"]["requests"] == 2000 + 20  # and the pages
    assert targets["memory, any count"]["verdict"] == "ok"


def build_with(tmp_path, script):
    """A build whose gigafetch serves and lists, and fetches with this shell script."""
    build = tmp_path / "build"
    (build / "src").mkdir(parents=True)
    shutil.copytree(BUILD / "bench", build / "bench", ignore=lambda _, names: [n for n in names if n.endswith(".p")])
    program = build / "src/gigafetch"
    program.write_text(f'#!/bin/sh\n[ "$1" = fetch ] || exec {BINARY} "$@"\nfor out; do :; done\n{script}\n')
    program.chmod(0o755)
    return build


def test_a_client_that_stores_too_little_fails(tmp_path):
    missing_one = build_with(tmp_path, f'{BINARY} "$@" && rm "$out"/file0000000007-*')
    done, rows, _ = bench(tmp_path, "^(floor files d1|gigafetch files d1 w1 origin)$", build=missing_one, code=1)
    assert rows["floor files d1"]["state"] == "ok"
    assert rows["gigafetch files d1 w1 origin"]["state"] == "failed"
    assert "1999 files stored, not 2000" in done.stdout and "gigafetch files d1 w1 origin failed" in done.stderr


def served(tmp_path, origin, size):
    """What a check needs to know of a run, and the files of it as gigafetch has stored them."""
    fetch(origin.url, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/.gigafetch")
    return SimpleNamespace(folder=str(tmp_path / "out"), url=origin.url, names=names(FILES),
                           served=SimpleNamespace(files=FILES, size=size))


def wrong(check, job):
    with pytest.raises(checks.Wrong) as found:
        check(job, "")
    return str(found.value)


FILES = 20  # few enough that every body is compared
SPOILED = [("19 files stored, not 20; 7 of 20 is missing", lambda path: path.unlink()),
           ("has 99 bytes, not 100", lambda path: os.truncate(path, 99)),
           ("and was not listed", lambda path: path.rename(f"{path}0")),
           ("holds something else", lambda path: path.write_bytes(bytes(100)))]


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_stored_is_compared_with_what_is_served(packed, tmp_path):
    with Origin("--files", FILES) as origin:
        job = served(tmp_path, origin, 100)
        stored = Path(job.folder)
        check = checks.files

        def pack():
            """Two shards of the files, in a folder of their own."""
            job.folder = str(tmp_path / "shards")
            shutil.rmtree(job.folder, ignore_errors=True)
            os.mkdir(job.folder)
            there = sorted(os.listdir(stored))
            for shard, some in enumerate((there[:9], there[9:])):
                tar = f"{job.folder}/worker-00-00000{shard}.tar"
                subprocess.run(["tar", "-C", stored, "-cf", tar, *some], check=True)

        if packed:
            check = checks.shards
            pack()
        assert check(job, "") == FILES
        victim = stored / name_of(7)
        whole = victim.read_bytes()
        for said, spoil in SPOILED:
            spoil(victim)
            if packed:
                pack()
            assert said in wrong(check, job)
            for other in stored.glob(f"{victim.name}*"):
                other.unlink()
            victim.write_bytes(whole)
        if packed:
            pack()
            shutil.copy(f"{job.folder}/worker-00-000000.tar", f"{job.folder}/worker-01-000000.tar")
            assert "is there twice" in wrong(check, job)
            os.unlink(f"{job.folder}/worker-01-000000.tar")
            os.truncate(f"{job.folder}/worker-00-000001.tar", 1000)
            assert "tar does not read worker-00-000001.tar" in wrong(check, job)


def test_a_wrong_exit_is_a_failure_with_its_last_words(tmp_path):
    build = build_with(tmp_path, "echo no more >&2; exit 9")
    _, rows, _ = bench(tmp_path, "^gigafetch files d1 w1 origin$", build=build, code=1)
    assert rows["gigafetch files d1 w1 origin"]["reason"] == "exit 9: no more"


def test_an_option_that_is_refused_is_not_available_and_nothing_is_reached_by_it(tmp_path):
    refusing = build_with(tmp_path, "echo unknown option >&2; exit 2")
    done, rows, targets = bench(tmp_path, "^(floor packed d16|gigafetch tar d16 w1 origin)$", build=refusing)
    assert rows["gigafetch tar d16 w1 origin"]["state"] == "not available"
    assert "**not available**: unknown option" in done.stdout
    assert targets["packed (tar), depth 16, whole tree"]["verdict"] == "not measured"


def test_a_comparison_that_is_interrupted_leaves_nothing(tmp_path):
    """No process: conftest_shared looks for those after each test. No folder either, mounted or not."""
    command = [PROJECT / "bench/run", "--build", BUILD, "--only", "^gigafetch files d1 w1 origin$", "--out", tmp_path]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as running:
        meter = wait_until(lambda: [pid for pid in children(running.pid) if comm(pid) == "meter" and children(pid)],
                           "a client")
        folder = Path(os.readlink(f"/proc/{meter[0]}/cwd")).parent
        assert folder.exists()
        running.send_signal(signal.SIGTERM)
        running.stderr.read()
        assert running.wait(timeout=100) == 128 + signal.SIGTERM
    assert not folder.exists()


def test_a_long_run_goes_on_after_an_interrupt_and_its_figures_add_up(tmp_path):
    job = tmp_path / "job"

    def billion(build, *options):
        return [PROJECT / "bench/billion", "--sink", "files", "--files", "20000", "--out", job, "--build", build,
                "--workers", "1", *options]

    slow = build_with(tmp_path, f'exec {BINARY} "$@" --rate 2000')
    first = subprocess.Popen(billion(slow), stderr=subprocess.PIPE, text=True)
    try:
        assert first.stderr.readline().startswith("fetch")  # its first figures
        first.send_signal(signal.SIGINT)
        said = first.stderr.read()
        assert first.wait(timeout=100) == 4 and "interrupted" in said, said
    finally:
        first.kill()
        first.wait()
        first.stderr.close()
    other = subprocess.run([*billion(BUILD), "--content"], capture_output=True, text=True, timeout=100)
    assert other.returncode == 1 and "holds a job with content False, not True" in other.stderr
    done = subprocess.run(billion(BUILD, "--keep"), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "20,000 stored, 0 failed, 2,000,000 bytes" in done.stdout and "and 2 run(s)" in done.stdout
    legs = json.loads((job / "job.json").read_text())["legs"]
    assert [(leg["command"], leg["exit"]) for leg in legs] == [("fetch", 4), ("fetch", 0), ("verify", 0)]
    assert legs[1]["before"] == legs[0]["seconds"] > 0
    first_stored = legs[0]["summary"]["stored"]
    assert 0 < first_stored < 20000 and legs[1]["summary"]["requests"] < 20000 - first_stored + 50
    assert len(below(job / "files", "-name", "file*", "-type", "f")) == 20000


def test_a_long_run_asks_for_room_first(tmp_path):
    command = [PROJECT / "bench/billion", "--files", str(10**15), "--out", tmp_path / "job", "--build", BUILD]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and "GB more" in done.stderr and not (tmp_path / "job/files").exists()


def test_the_meter_counts_the_whole_tree_and_only_that(tmp_path):
    """A grandchild that outlives its parent is waited for; the memory of whoever started the meter is not counted."""
    ballast = bytearray(os.urandom(1)) * (64 << 20)
    report, cpu = tmp_path / "report", str(min(os.sched_getaffinity(0)))
    spin = "import time\\nwhile time.process_time() < 0.2: pass"
    subprocess.run([BUILD / "bench/meter", cpu, report, "sh", "-c",
                    f"setsid {sys.executable} -c \"$(printf '{spin}')\" & exit 3"], check=True)
    figures = json.loads(report.read_text())
    assert figures["status"] == 3 and 0.2 <= figures["user"] + figures["system"] < figures["seconds"] + 1
    assert figures["peak_kib"] < len(ballast) // 1024
    subprocess.run([BUILD / "bench/meter", cpu, report, "sh", "-c", "kill -9 $$"], check=True)
    assert json.loads(report.read_text())["status"] == 128 + 9


def test_every_row_has_a_name_of_its_own():
    done = subprocess.run([PROJECT / "bench/run", "--list"], capture_output=True, text=True, check=True)
    names = done.stdout.splitlines()
    assert len(names) > 100 and len(set(names)) == len(names)
    for kind in ("floor packed d64", "wrk d1", "gigafetch tar.zstd1 d64 w16 nginx", "curl -Z", "python combo",
                 "growth lag", "micro ledger"):
        assert any(re.match(kind, name) for name in names), kind
