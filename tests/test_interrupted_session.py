"""A test session that is told to end does so, whatever it was doing."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_a_session_that_is_told_to_end_while_dagster_runs_something_ends_and_says_so() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/interrupted_runs.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "told to end while Dagster ran something" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 passed")
    assert done.returncode == 2
