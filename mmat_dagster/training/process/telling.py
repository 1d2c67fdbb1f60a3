"""What the training process tells at its borders: lines while it works, outcome.json and an exit code at its end."""

import os
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import dagster_pipes
from transformers.utils import logging as transformers_logging

from mmat_dagster.training.process.running import train
from mmat_dagster.training.process.stopping import Stopping
from mmat_dagster.training.process.trainer import OutOfMemory
from mmat_dagster.training.spec import OUTCOME, PREEMPTED, BadRun, Outcome, dump_outcome, read_run

FAILED = 1
# They tell developers of other libraries what will change in a later version of theirs.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft|trl)\.")
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


def carry_out(config: Path, stopping: Stopping, begun_at: float) -> int:
    """Carry out the run that `config` describes, tell how it ended, and return the exit code."""
    folder = config.parent
    with _pipes() as pipes:

        def tell(line: str) -> None:
            if pipes is not None:  # who reads Dagster's log sees the process' own lines too
                pipes.log.info(line)
            elif _is_first():
                print(line, flush=True)

        try:
            run = read_run(config)
            outcome = train(run, folder, stopping, tell, begun_at)
        except (BadRun, OutOfMemory) as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            outcome = Outcome(state="failed", error=str(error))
        if _is_first() or outcome.state == "failed":
            _write(folder / OUTCOME, dump_outcome(outcome))
        tell(f"{outcome.state} at step {outcome.step:,} of {outcome.max_steps:,}")
    return {"done": 0, "preempted": PREEMPTED, "failed": FAILED}[outcome.state]


def _pipes() -> "dagster_pipes.PipesContext | nullcontext[None]":
    """Open the way to Dagster where it has started this process; only the first of several speaks."""
    if _is_first() and dagster_pipes.DAGSTER_PIPES_CONTEXT_ENV_VAR in os.environ:
        return dagster_pipes.open_dagster_pipes()
    return nullcontext()


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _write(path: Path, data: bytes) -> None:
    beside = path.with_suffix(f".{os.getpid()}.writing")
    beside.write_bytes(data)
    beside.replace(path)
