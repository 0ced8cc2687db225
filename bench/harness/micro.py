"""The micro-benchmarks (bench/micro/), where Google Benchmark was there to build them."""
import json
import os
import re
import subprocess
from pathlib import Path

from .measure import pinned

NAMES = [f"micro {source.stem}" for source in sorted((Path(__file__).parents[1] / "micro").glob("*.cc"))
         if source.stem != "main"]
REPETITIONS = 5
FIGURE = re.compile(r"^(.*)_median$")


class NotBuilt(Exception):
    pass


def run(build, names, cpu, seconds):
    """One dictionary for each benchmark: name, ns of CPU per item (median), least, most, and what an item is.

    `seconds`: how long each of the repetitions goes on."""
    if not names:
        return []
    program = f"{build}/bench/micro/micro"
    if not os.path.exists(program):
        raise NotBuilt("no micro-benchmarks: Google Benchmark was not there when the build was configured")
    wanted = "|".join(name.split()[1] for name in names)
    with pinned(cpu):
        done = subprocess.run([program, f"--benchmark_filter=^({wanted})/", f"--benchmark_min_time={seconds}",
                               f"--benchmark_repetitions={REPETITIONS}", "--benchmark_format=json"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "TMPDIR": "/dev/shm"})
    if done.returncode != 0:
        raise RuntimeError(f"the micro-benchmarks failed ({done.returncode}): {done.stderr[-500:]}")
    rows = {}
    for one in json.loads(done.stdout)["benchmarks"]:
        if one.get("error_occurred"):
            raise RuntimeError(f"{one['name']}: {one['error_message']}")
        if one["run_type"] == "iteration":
            rows.setdefault(one["run_name"], []).append(one)
    return [_row(name, runs) for name, runs in rows.items()]


def _row(name, runs):
    times = sorted(1e9 / one["items_per_second"] for one in runs)
    row = {"name": name, "ns": times[len(times) // 2], "min": times[0], "max": times[-1], "item": runs[0]["label"]}
    if "bytes_per_file" in runs[0]:
        row["bytes_per_file"] = runs[-1]["bytes_per_file"]
    return row
