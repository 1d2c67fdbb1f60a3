"""A training on a machine of its own: `python -m resources.training_machine --config <folder or URI>/run.json`.

The run names data by URIs, and what a machine has of its own by path. This process brings what the run names, and the
newest checkpoint; starts the training, which finds folders and knows of no store; keeps what another machine goes on
with (kept.py); and puts the finished checkpoint to its place. Its lines, and those of the training, go to stdout. It
holds the keys to the store, and the training, which runs what others have written, does not.

    <scratch>/<bucket>/<prefix>/training/<mixture>-<key>/   where the training works; here.json is the run with paths
    <scratch>/<bucket>/<prefix>/...                         what was brought, each at its key

Ends with 0 where the training is done, 75 where it was ended and goes on elsewhere, 1 where it failed.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import dagster_pipes

from mmat_dagster.interfaces import StoreError
from mmat_dagster.processes import terminable, without_secrets
from mmat_dagster.training.executor import TrainingFailed
from mmat_dagster.training.kept import LOG, log_files, result_files
from mmat_dagster.training.spec import (
    OUTCOME,
    PREEMPTED,
    RUN,
    BadRun,
    Outcome,
    TrainingRun,
    dump_outcome,
    dump_run,
    read_last_metrics,
    read_outcome,
    read_run,
)
from resources.kept_training import KeptTraining, keeping, open_bucket_at, say_here
from resources.training_data import bring_data
from resources.training_endings import why_of
from resources.training_launch import MODULE, Launch, ending_with_this_process
from resources.training_process import TrainingLog, run_process

HERE = "here.json"
FAILED = 1
TAIL_LINES = 30
EXIT_CODES = {"done": 0, "preempted": PREEMPTED, "failed": FAILED}
PIPES = (dagster_pipes.DAGSTER_PIPES_CONTEXT_ENV_VAR, dagster_pipes.DAGSTER_PIPES_MESSAGES_ENV_VAR)

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What this process is asked for: the run's folder or its URI, and where the finished checkpoint goes."""

    config: str
    result: str | None
    launch: Launch


def main(words: list[str] | None = None) -> int:
    """Carry out what the command line asks for, and return the exit code."""
    asked = _asked(words)
    # Heeded while something is brought and while the training runs; what is put into the store then is put whole.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with _pipes() as pipes:

        def say(line: str) -> None:
            say_here(line)
            if pipes is not None:
                pipes.log.info(line)

        try:
            outcome = _kept(asked, say) if "://" in asked.config else _train(asked, Path(asked.config), say)
        except (StoreError, BadRun, TrainingFailed) as error:
            say(f"error: {error}")
            return FAILED
        say(f"{outcome.state} at step {outcome.step:,}" + (f": {outcome.error}" if outcome.error else ""))
        return EXIT_CODES[outcome.state]


def _kept(asked: Asked, say: Say) -> Outcome:
    """Carry out a run that lies in a bucket, and tell the bucket how it ended, after all else."""
    url = asked.config.rpartition("/")[0]
    bucket, folder = open_bucket_at(url), _scratch(url)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUN).write_bytes(bucket.read(RUN))
    run = read_run(folder / RUN)
    (folder / OUTCOME).unlink(missing_ok=True)
    (folder / LOG).unlink(missing_ok=True)
    kept = KeptTraining(bucket, folder, run.keep_checkpoints)
    try:
        outcome = _prepared(asked, run, kept, say)
    except (BadRun, StoreError) as error:
        outcome = Outcome(state="failed", error=str(error))
    if outcome.state == "done" and asked.result is not None:
        kept.publish(open_bucket_at(asked.result), [*result_files(folder), *log_files(folder)])
    kept.end(dump_outcome(outcome))
    if outcome.state == "done" and asked.result is not None:
        shutil.rmtree(folder)  # a machine that lives on keeps what it has brought, for the next training
    return outcome


def _prepared(asked: Asked, run: TrainingRun, kept: KeptTraining, say: Say) -> Outcome:
    """Bring what the run names, and train; raise BadRun and StoreError."""
    url = asked.config.rpartition("/")[0]
    folder = _scratch(url)
    step = None
    try:
        with terminable():
            step = kept.bring()
            say("nothing to go on from" if step is None else f"going on from the checkpoint of step {step:,}")
            (folder / HERE).write_bytes(dump_run(bring_data(run, _scratch, say)))
    except KeyboardInterrupt:
        return Outcome(state="preempted", step=step or 0)
    with keeping(kept, say):
        return _train(asked, folder / HERE, say)


def _train(asked: Asked, config: Path, say: Say) -> Outcome:
    """Train until the training ends, or is asked to, and return how it ended."""
    folder = config.parent
    log = TrainingLog(folder)
    environment = {
        **{name: value for name, value in without_secrets(os.environ).items() if name not in PIPES},
        **asked.launch.environment(),
        **ending_with_this_process(),
    }
    code = PREEMPTED
    try:
        with terminable():
            code = run_process(asked.launch.command(config), environment, log, log.show, asked.launch.timeout_s)
    except KeyboardInterrupt:
        say("asked to end")
    outcome = read_outcome(folder)
    if outcome is None and code == PREEMPTED:
        last = read_last_metrics(folder)
        return Outcome(state="preempted", step=last.step if last else 0)
    if outcome is None or outcome.state == "failed":
        return Outcome(state="failed", error=why_of(outcome, code, log.tail(TAIL_LINES)))
    return outcome


def _scratch(url: str) -> Path:
    """Return the folder of this machine for what lies below `url`."""
    parts = urlsplit(url)
    place = Path(tempfile.gettempdir()) / "mmat-training" / parts.netloc / parts.path.strip("/")
    return place.absolute()


def _pipes() -> "AbstractContextManager[dagster_pipes.PipesContext | None]":
    """Open the way to Dagster where it has started this process: through a bucket, or by lines of stdout."""
    if not all(name in os.environ for name in PIPES):
        return nullcontext()
    told = dagster_pipes.PipesEnvVarParamsLoader().load_messages_params()
    writer = None
    if "bucket" in told:
        import boto3  # noqa: PLC0415

        writer = dagster_pipes.PipesS3MessageWriter(boto3.client("s3"))
    pipes: AbstractContextManager[dagster_pipes.PipesContext] = dagster_pipes.open_dagster_pipes(message_writer=writer)
    return pipes


def _asked(words: list[str] | None) -> Asked:
    parser = argparse.ArgumentParser(prog="python -m resources.training_machine", description="Train on this machine.")
    parser.add_argument("--config", required=True, metavar="RUN.JSON", help="the run: a file, or s3://.../run.json")
    parser.add_argument("--result", metavar="URI", help="where the finished checkpoint's files go")
    parser.add_argument("--processes", type=int, default=1, help="processes that train together, one per GPU")
    parser.add_argument("--threads", type=int, default=1, help="threads of each of them")
    parser.add_argument("--accelerate", help="an accelerate config: a file of this machine, or TRL's zero2, fsdp2, ...")
    parser.add_argument("--termination-timeout", type=float, default=100.0, metavar="S", help="for a last checkpoint")
    parser.add_argument("--module", default=MODULE, help="what is run, as python -m MODULE --config FILE")
    told = parser.parse_args(words)
    launch = Launch(
        python=sys.executable,
        module=told.module,
        processes=told.processes,
        threads=told.threads,
        accelerate=told.accelerate,
        termination_timeout_s=told.termination_timeout,
    )
    return Asked(config=told.config, result=told.result, launch=launch)


if __name__ == "__main__":
    sys.exit(main())
