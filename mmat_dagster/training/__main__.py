"""The training process: `python -m mmat_dagster.training --config <folder>/run.json`.

Under torchrun or `accelerate launch` it is one of several. Its exit code is 0 where the run is done, 75 where it was
asked to end and a checkpoint waits to be gone on from, 1 where it failed; outcome.json says the same, and why.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from mmat_dagster.processes import KEEPER, end_with

BEGUN_AT = time.time()


def main() -> int:
    """Carry out the run and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mmat_dagster.training", description="Fine-tune a student.")
    parser.add_argument(
        "--config", type=Path, required=True, metavar="RUN.JSON", help="the run; it works in its folder"
    )
    config: Path = parser.parse_args().config
    # Before torch is imported, which takes seconds: a signal may come at any time. Without a network no hub is asked.
    from mmat_dagster.training.process.stopping import Stopping  # noqa: PLC0415

    stopping = Stopping()
    stopping.watch()
    if os.environ.get(KEEPER):
        end_with(int(os.environ[KEEPER]))
    from mmat_dagster.training.process.telling import carry_out  # noqa: PLC0415

    return carry_out(config, stopping, BEGUN_AT)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
