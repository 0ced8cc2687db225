"""What must be there before anything can be measured: Debian's packages and a release build."""
import subprocess
from pathlib import Path

PROJECT = Path(__file__).parents[2]
BUILD = PROJECT / "build/release"
PACKAGES = ("python3-requests python3-aiohttp python3-uvloop python3-matplotlib wget2 curl aria2 rclone wrk zstd tar "
            "findutils e2fsprogs mount libbenchmark-dev").split()


def _quietly(*command):
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{done.stdout}\nbench/run: failed: {' '.join(map(str, command))}")


def install():
    if subprocess.run([PROJECT / "script/bootstrap", *PACKAGES]).returncode != 0:
        raise SystemExit(1)


def build():
    """The folder of the build."""
    again = ["--reconfigure"] if (BUILD / "build.ninja").exists() else []
    _quietly("meson", "setup", *again, BUILD, "--buildtype=release", "-Dbench=true")
    _quietly("ninja", "-C", BUILD, "bench-programs")
    return str(BUILD)
