"""The micro-benchmarks (bench/micro/), where Google Benchmark is there to build them."""
import json
import os
import subprocess

from .measure import pinned

# Each is a prefix of the names in bench/micro/; the unit is what its items are.
NAMES = {}


def run(build, names, cpu):
    """One dictionary for each benchmark: name, ns, unit."""
    return []
