"""The end-to-end tests' helpers, and their rule that no process is left behind."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "e2e"))

from conftest_shared import *  # noqa: E402,F401,F403
