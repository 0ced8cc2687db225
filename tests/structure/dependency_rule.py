"""Checks that each folder of src/ includes only what stands below it.

    dependency_rule.py PROJECT

The rule is in src/README.md: folders look down only, and libraries are included only where they
belong. Before it judges the project, the check shows on
made-up files that it finds what it is there to find.
"""
import pathlib
import re
import sys

# From the bottom up; folders of one level do not include each other.
LEVELS = [["base"], ["http", "wire", "listing", "store"], ["net"],
          ["coordinator", "worker", "origin"], ["supervisor"], ["cli"]]
LEVEL_OF = {folder: level for level, folders in enumerate(LEVELS) for folder in folders}
ABOVE_NET = {"net", "coordinator", "worker", "origin"}

# Headers of libraries, and the folders that may include them.
LIBRARIES = {
    r"uv\.h": ABOVE_NET,
    r"simdjson\.h": {"listing"},
    r"pugixml\.hpp": {"listing"},
    r"llhttp\.h": {"http"},
    r"uriparser/.*": {"http"},
    r"openssl/.*": {"net", "http"},
    r"CLI/.*": {"cli"},
    r"spdlog/.*": {"base"},
}

# What a process without an event loop must not use, whoever includes it: the supervisor never calls
# libuv, so that its forks are clean.
NEVER = {"supervisor": [r"net/.*"]}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def faults(files):
    """The broken rules in {path below src: text}, as lines to print."""
    found = []
    for path, text in sorted(files.items()):
        folder = path.split("/")[0] if "/" in path else "main"
        if folder != "main" and folder not in LEVEL_OF:
            found.append(f"{path}: the folder {folder}/ has no place in the rule")
            continue
        for _, header in INCLUDE.findall(text):
            for pattern, allowed in LIBRARIES.items():
                if re.fullmatch(pattern, header) and folder not in allowed:
                    found.append(f"{path}: includes <{header}>, which belongs to {sorted(allowed)}")
            for pattern in NEVER.get(folder, []):
                if re.fullmatch(pattern, header):
                    found.append(f"{path}: must never include {header}")
            target = header.split("/")[0]
            if folder == "main":
                if target in LEVEL_OF and target != "cli":
                    found.append(f"{path}: main includes cli/ alone, not {header}")
            elif target in LEVEL_OF and target != folder and LEVEL_OF[target] >= LEVEL_OF[folder]:
                found.append(f"{path}: {folder}/ must not include {header}")
    return found


def cycles(files):
    """Include cycles between headers, as lines to print."""
    graph = {path: [header for _, header in INCLUDE.findall(text) if header in files]
             for path, text in files.items()}
    state, found = {}, []

    def visit(path, trail):
        if state.get(path) == "done":
            return
        if path in trail:
            found.append("a cycle: " + " -> ".join(trail[trail.index(path):] + [path]))
            return
        for header in graph[path]:
            visit(header, trail + [path])
        state[path] = "done"

    for path in graph:
        visit(path, [])
    return found


def self_test():
    good = {"base/a.h": "", "net/b.h": '#include <uv.h>\n#include "http/c.h"', "http/c.h": '#include "base/a.h"',
            "main.cc": '#include "cli/run.h"'}
    assert faults(good) == [] and cycles(good) == [], faults(good)
    bad = {"base/a.h": '#include "http/c.h"', "http/c.h": '#include "wire/d.h"',
           "wire/d.h": "#  include <uv.h>", "store/e.cc": "#include <simdjson.h>",
           "coordinator/f.h": '#include "worker/g.h"', "supervisor/h.cc": '#include "net/loop.h"',
           "elsewhere/i.h": "", "main.cc": '#include "net/loop.h"'}
    assert len(faults(bad)) == 8, faults(bad)
    assert len(cycles({"base/a.h": '#include "base/b.h"', "base/b.h": '#include "base/a.h"'})) == 1


def main():
    self_test()
    source = pathlib.Path(sys.argv[1]) / "src"
    files = {str(path.relative_to(source)): path.read_text()
             for path in source.rglob("*") if path.suffix in {".h", ".cc"}}
    if len(files) < 50:
        sys.exit(f"only {len(files)} files below {source}: not the project?")
    found = faults(files) + cycles(files)
    print("\n".join(found) or f"{len(files)} files keep the rule")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
