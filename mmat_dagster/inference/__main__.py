"""The serving process: `python -m mmat_dagster.inference --config <folder>/serving.json`.

It ends on SIGTERM or SIGINT, and with whoever has started it. Its exit code is 1 where the student cannot be served.
"""

import argparse
import os
import sys
from pathlib import Path

from mmat_dagster.processes import end_with_launcher


def main() -> int:
    """Serve until a signal comes, and return the exit code."""
    end_with_launcher()
    parser = argparse.ArgumentParser(prog="python -m mmat_dagster.inference", description="Serve a student.")
    parser.add_argument("--config", type=Path, required=True, metavar="SERVING.JSON", help="what is served, and how")
    config: Path = parser.parse_args().config
    # It imports torch, which takes seconds: who asks for --help need not wait.
    from mmat_dagster.inference.process.server import serve  # noqa: PLC0415

    return serve(config)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
