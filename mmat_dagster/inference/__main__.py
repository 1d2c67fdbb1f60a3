"""The serving process: `python -m mmat_dagster.inference --config <folder>/serving.json`.

It ends on SIGTERM or SIGINT, and with whoever has started it. Its exit code is 1 where the student cannot be served.
"""

import argparse
import os
import sys
from pathlib import Path

from mmat_dagster.inference.spec import read_hosting
from mmat_dagster.processes import end_with_launcher
from mmat_dagster.training.spec import BadRun

FAILED = 1


def main() -> int:
    """Serve until a signal comes, and return the exit code."""
    end_with_launcher()
    parser = argparse.ArgumentParser(prog="python -m mmat_dagster.inference", description="Serve a student.")
    parser.add_argument("--config", type=Path, required=True, metavar="SERVING.JSON", help="what is served, and how")
    config: Path = parser.parse_args().config
    try:
        hosting = read_hosting(config)
    except BadRun as error:
        return _fail(str(error))
    # It imports torch, which takes seconds: what is wrong at first sight is told before.
    from mmat_dagster.inference.process.server import serve  # noqa: PLC0415

    try:
        serve(hosting, config.parent)
    except BadRun as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return FAILED


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
