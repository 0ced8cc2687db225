"""What was measured, as Markdown for people and as JSON for programs."""
import datetime
import json
import os
import platform

GROUPS = {"limit": "The limits", "gigafetch": "Gigafetch", "peer": "Peers", "baseline": "Baselines in Python"}
HEAD = ["who", "origin", "files", "files a second", "CPU us a file", "peak MiB", "tree MiB", "requests", "note"]


def _table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
              for row in rows]
    return "\n".join(lines) + "\n"


def machine():
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "?")
    return f"{len(os.sched_getaffinity(0))} processors ({model}), Linux {platform.release()}"


def _mib(kib):
    return f"{kib / 1024:.1f}" if kib else ""


def _row(result):
    contender = result.contender
    cells = [contender.name, contender.served.kind]
    if not result.ok:
        return [*cells, "", "", "", "", "", "", f"**{result.state}**: {result.reason}"]
    # wrk is given a time, not a number of files.
    files = f"{contender.served.files:,}" if contender.check.__name__ != "wrk" else f"{result.runs[0].files:,}"
    return [*cells, files, f"{result.spread('rate'):,.0f}", f"{result.spread('cpu_us'):.2f}",
            _mib(max(run.peak_kib for run in result.runs)), _mib(result.tree_kib),
            "" if result.requests is None else f"{result.requests:,}", contender.note]


def _comparison(results):
    text = ""
    for group, title in GROUPS.items():
        rows = [_row(result) for result in results if result.contender.group == group
                and not result.contender.name.startswith("growth ")]
        if rows:
            text += f"## {title}\n\n{_table(HEAD, rows)}\n"
    return text


def _growth(results):
    rows = [result for result in results if result.contender.name.startswith("growth ")]
    if not rows:
        return ""
    cells = []
    for result in rows:
        served = result.contender.served
        _, curve, value, sink = result.contender.name.split()
        cells.append([curve, f"{int(value):,}", sink, f"{served.files:,}",
                      *([f"{result.spread('rate'):,.0f}", f"{result.spread('cpu_us'):.2f}",
                         _mib(max(run.peak_kib for run in result.runs))] if result.ok
                        else [f"**{result.state}**: {result.reason}", "", ""])])
    return "## How cost grows\n\n" + _table(
        ["with", "at", "sink", "files", "files a second", "CPU us a file", "peak MiB"], cells) + "\n"


def _micro(micro):
    if not micro:
        return ""
    rows = [[row["name"], f"{row['ns']:.3g} ({row['min']:.3g} to {row['max']:.3g})", row["item"]] for row in micro]
    return "## Parts\n\n" + _table(["what", "CPU ns", "for each"], rows) + "\n"


def _targets(judged):
    rows = [[row["what"], row["bound"], row["measured"], row["verdict"]] for row in judged]
    return "## What it must reach\n\n" + _table(["what", "at most", "measured", "verdict"], rows)


def markdown(results, micro, judged, conditions):
    return f"""# Gigafetch beside everybody else

{conditions}

CPU is that of the whole tree of processes, user and system; `peak` is the memory of the largest process, `tree` that of
all of them, with shared pages divided (watched in the warm-up). `requests` are those for files, as the origin counted
them in the warm-up (nginx: with those for pages). Medians, with least and most of all runs. `d16` is 16 requests in
flight on each connection, `w4` four workers. Every run was checked: all files there, with their sizes, a sample of
them with their bytes.

{_comparison(results)}{_growth(results)}{_micro(micro)}{_targets(judged)}"""


def _json_of(result):
    contender = result.contender
    row = {"name": contender.name, "group": contender.group, "origin": contender.served.kind,
           "files": contender.served.files, "size": contender.served.size, "lag_ms": contender.served.lag,
           "note": contender.note, "state": result.state if result.runs or result.state != "ok" else "not run",
           "reason": result.reason, "requests": result.requests, "tree_kib": result.tree_kib}
    if result.ok:
        row |= {"files_per_second": result.spread("rate").json(), "cpu_us_per_file": result.spread("cpu_us").json(),
                "peak_kib": result.spread("peak_kib").json(), "files_done": result.runs[0].files}
    return row


def write(folder, results, micro, judged, conditions):
    os.makedirs(folder, exist_ok=True)
    text = markdown(results, micro, judged, conditions)
    with open(f"{folder}/results.md", "w") as file:
        file.write(text)
    with open(f"{folder}/results.json", "w") as file:
        json.dump({"when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                   "machine": machine(), "conditions": conditions, "results": list(map(_json_of, results)),
                   "micro": micro, "targets": judged}, file, indent=1)
        file.write("\n")
    return text
