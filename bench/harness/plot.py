"""The figures as a picture: CPU per file of everybody, and how that of gigafetch grows."""
import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

COLOURS = {"limit": "#888888", "gigafetch": "#2a78b5", "peer": "#d98326", "baseline": "#b5473a"}
AXES = {"count": ("files", "log"), "workers": ("workers (two cores)", "linear"), "size": ("bytes of a body", "symlog"),
        "lag": ("lag, ms", "linear")}


def _bars(axes, results):
    rows = sorted((result for result in results if result.ok and not result.contender.name.startswith("growth ")),
                  key=lambda result: -result.spread("cpu_us").median)
    for at, result in enumerate(rows):
        cpu = result.spread("cpu_us")
        axes.barh(at, cpu.median, color=COLOURS[result.contender.group],
                  xerr=[[cpu.median - cpu.low], [cpu.high - cpu.median]], error_kw={"lw": 0.8})
        axes.text(cpu.high * 1.05, at, f"{cpu.median:.2f}", va="center", fontsize=6)
    axes.set_yticks(range(len(rows)), [result.contender.name for result in rows], fontsize=6)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xscale("log")
    axes.set_xlabel("CPU per file, us, whole tree of processes")
    axes.margins(x=0.15)


def _curve(axes, curve, results):
    lines = {}
    for result in results:
        if result.ok and result.contender.name.startswith(f"growth {curve} "):
            _, _, value, sink = result.contender.name.split()
            lines.setdefault(sink, []).append((int(value), result.spread("cpu_us").median))
    for sink, points in sorted(lines.items()):
        axes.plot(*zip(*sorted(points)), marker="o", ms=3, lw=1, label=sink)
    label, scale = AXES[curve]
    axes.set_xlabel(label, fontsize=7)
    axes.set_ylabel("CPU per file, us", fontsize=7)
    axes.tick_params(labelsize=6)
    axes.set_xscale(scale)
    if curve == "size":
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, axes.get_ylim()[1] * 1.1)
    if lines:
        axes.legend(fontsize=6)


def draw(path, results):
    plt.rcParams["svg.fonttype"] = "none"
    bars = sum(1 for result in results if result.ok and not result.contender.name.startswith("growth "))
    grows = any(result.ok and result.contender.name.startswith("growth ") for result in results)
    height = max(3.0, 0.14 * bars)
    figure = plt.figure(figsize=(9, height + (6 if grows else 0)), constrained_layout=True)
    if grows:
        above, below = figure.subfigures(2, 1, height_ratios=[height, 6])
        _bars(above.subplots(), results)
        for axes, curve in zip(below.subplots(2, 2).flat, AXES):
            _curve(axes, curve, results)
    else:
        _bars(figure.subplots(), results)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
