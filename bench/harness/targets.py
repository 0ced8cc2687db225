"""What must be reached, with what was measured beside it, in the same run."""
from dataclasses import dataclass
from typing import Callable

from .stats import Spread


@dataclass(frozen=True)
class Target:
    what: str
    bound: str
    measure: Callable  # results by name -> (Spread or number, whether it is reached, how it reads)


class NotMeasured(Exception):
    pass


def _cpu(results, name):
    result = results.get(name)
    if result is None:
        raise NotMeasured(f"{name}: not run")
    if not result.ok:
        raise NotMeasured(f"{name}: {result.state}")
    return [run.cpu_us for run in result.runs]


def _ratio(above, below, most):
    """CPU of one over that of the other, run by run."""
    def measure(results):
        pairs = zip(_cpu(results, above), _cpu(results, below))
        ratio = Spread([a / b for a, b in pairs])
        return ratio, ratio.median <= most, f"{ratio:.2f} x"
    return measure


def _at_most(name, most):
    def measure(results):
        cpu = Spread(_cpu(results, name))
        return cpu, cpu.median <= most, f"{cpu:.2f} us"
    return measure


def _times_less(name, others, least):
    """How many times the cheapest of `others` costs."""
    def measure(results):
        own = _cpu(results, name)
        there = [other for other in others if other in results and results[other].ok]
        if not there:
            raise NotMeasured("none of " + ", ".join(others))
        best = min(there, key=lambda other: results[other].spread("cpu_us").median)
        times = Spread([b / a for a, b in zip(own, _cpu(results, best))])
        return times, times.median >= least, f"{times:.0f} x ({best})"
    return measure


def _even_over_workers(results):
    rows = {name: result.spread("cpu_us").median for name, result in results.items()
            if name.startswith("growth workers") and " tar " in f"{name} " and result.ok}
    if len(rows) < 2:
        raise NotMeasured("growth workers ... tar")
    ratio = max(rows.values()) / min(rows.values())
    return ratio, ratio <= 1.2, f"{ratio:.2f} x between {min(rows, key=rows.get)} and {max(rows, key=rows.get)}"


# More at most from 100,000 files on. A byte kept for each file would be ten by 10^7.
FLAT_MIB = 2


def _memory(results):
    peaks = {name: max(run.peak_kib for run in result.runs) / 1024 for name, result in results.items()
             if result.ok and result.contender.group == "gigafetch" and result.contender.served.size == 100}
    if not peaks:
        raise NotMeasured("no run of gigafetch")
    most = max(peaks, key=peaks.get)
    return peaks[most], peaks[most] <= 48, f"{peaks[most]:.1f} MiB ({most})"


def _flat_memory(results):
    peaks = {}
    for name, result in results.items():
        if name.startswith("growth count") and result.ok and result.contender.served.files >= 100_000:
            sink = name.rsplit(" ", 1)[1]
            peaks.setdefault(sink, {})[result.contender.served.files] = max(run.peak_kib for run in result.runs)
    peaks = {sink: by_files for sink, by_files in peaks.items() if len(by_files) > 1}
    if not peaks:
        raise NotMeasured("growth count, at two counts from 100,000 up")

    def growth(sink):
        return (peaks[sink][max(peaks[sink])] - peaks[sink][min(peaks[sink])]) / 1024

    sink = max(peaks, key=growth)
    fewest, most, more = min(peaks[sink]), max(peaks[sink]), growth(sink)
    return more, more <= FLAT_MIB, (f"{peaks[sink][fewest] / 1024:.1f} MiB at {fewest:,} files, "
                                    f"{peaks[sink][most] / 1024:.1f} at {most:,} ({sink})")


def targets(peers):
    packed = "gigafetch tar d16 w1 origin"
    return [
        Target("packed (tar), depth 16, whole tree", "2.0 x the packed floor", _ratio(packed, "floor packed d16", 2.0)),
        Target("packed with --zstd 1, depth 16", "2.5 us", _at_most("gigafetch tar+zstd1 d16 w1 origin", 2.5)),
        Target("packed, depth 1", "1.15 x wrk at depth 1", _ratio("gigafetch tar d1 w1 origin", "wrk d1", 1.15)),
        Target("files, depth 16", "1.15 x the floor", _ratio("gigafetch files d16 w1 origin", "floor files d16", 1.15)),
        Target("packed, depth 16, beside the best peer", "a fortieth", _times_less(packed, peers, 40)),
        Target("packed, depth 16, beside the Python combo", "a hundred-and-fiftieth",
               _times_less(packed, ["python combo"], 150)),
        Target("workers 1 to 16 on two cores", "CPU per file within 20%", _even_over_workers),
        Target("memory, any count", "48 MiB per process", _memory),
        Target("memory as the count grows", f"flat (within {FLAT_MIB} MiB)", _flat_memory),
    ]


def judged(results, peers):
    """One dictionary a target: what, bound, measured, value, verdict ("ok", "missed", "not measured")."""
    by_name = {result.contender.name: result for result in results}
    rows = []
    for target in targets(peers):
        row = {"what": target.what, "bound": target.bound, "value": None}
        try:
            value, reached, row["measured"] = target.measure(by_name)
            row["value"] = value.json() if isinstance(value, Spread) else value
            row["verdict"] = "ok" if reached else "missed"
        except NotMeasured as why:
            row["measured"], row["verdict"] = str(why), "not measured"
        rows.append(row)
    return rows
