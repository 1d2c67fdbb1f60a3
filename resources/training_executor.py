"""Training on this machine: a process of its own, or several that know each other, told to Dagster through Pipes.

Servers of what was trained run here likewise.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import dagster as dg
from dagster._core.pipes.context import PipesSession
from pydantic import Field

from mmat_dagster.processes import without_secrets
from mmat_dagster.training.executor import (
    PYTHON,
    ServingFailed,
    ServingJob,
    TrainingExecutor,
    TrainingFailed,
    TrainingJob,
)
from mmat_dagster.training.spec import OUTCOME, PREEMPTED, RUN, Outcome, read_last_metrics, read_outcome, read_run
from resources.serving_process import Patience, served
from resources.training_endings import failure, interrupted, why_of
from resources.training_launch import MODULE, Launch
from resources.training_process import TrainingLog, end_leftovers, run_process
from resources.training_reports import TrainingTeller

PACKAGES = ["torch", "transformers", "trl", "peft", "accelerate", "datasets"]
# A server has nothing to write at its end; then it is killed.
SERVER_END_S = 30.0


class LocalTrainingExecutor(
    dg.ConfigurableResource[TrainingExecutor[dg.AssetExecutionContext]], TrainingExecutor[dg.AssetExecutionContext]
):
    """Starts the training process here, and tells how far it is while it runs."""

    processes: int = Field(default=1, gt=0, description="Processes that train together: one per GPU.")
    threads: int = Field(default=1, gt=0, description="Threads of each process; more than a CPU's share slow it down.")
    python: str | None = Field(default=None, description="The Python that trains; null for the one that runs Dagster.")
    module: str = Field(default=MODULE, description="What is run, as python -m MODULE --config FILE.")
    packages: list[str] = Field(default=PACKAGES, description="Packages without which nothing is started.")
    termination_timeout_s: float = Field(
        default=120.0, gt=0, description="How long a terminated training may take to write its checkpoint."
    )
    start_timeout_s: float = Field(
        default=1800.0, gt=0, description="How long a server may take to load its weights and to listen."
    )
    tell_every_s: float = Field(default=30.0, gt=0, description="So often the UI hears of step, loss and pace.")
    tail_lines: int = Field(default=30, gt=0, description="So many last lines stand in the error of a failed training.")

    @property
    def world_size(self) -> int:
        """The number of processes that train together."""
        return self.processes

    def train(self, context: dg.AssetExecutionContext, job: TrainingJob) -> Outcome:
        """Run the job's process to its end and return its outcome."""
        folder = Path(job.folder).absolute()
        command = self.command(job)
        self._check_packages()
        if end_leftovers(folder, self.termination_timeout_s):
            context.log.warning(f"{job.name} was still being trained for a run that is gone; that was ended first.")
        (folder / OUTCOME).unlink(missing_ok=True)
        log = TrainingLog(folder)
        context.log.info(f"{job.name}: {' '.join(command)}; its lines are in {log.path}")
        with _keeping(job, context.log.info):
            code = self._run(context, job, command, log)
        return self._outcome(job, code, log)

    @contextmanager
    def serve(self, job: ServingJob) -> Iterator[str]:
        """Run the job's server while the context is open, and give its base URL."""
        missing = self._missing(job.packages)
        if missing:
            raise ServingFailed(f"{missing} is not installed, and serving {job.name} needs it")
        python = self.python or sys.executable
        command = tuple(python if word == PYTHON else word for word in job.command)
        patience = Patience(start_s=self.start_timeout_s, end_s=SERVER_END_S, tail_lines=self.tail_lines)
        with served(
            replace(job, command=command), {**without_secrets(os.environ), **self._launch().environment()}, patience
        ) as url:
            yield url

    def command(self, job: TrainingJob) -> list[str]:
        """Return the command line that trains the job."""
        return self._launch(job.accelerate).command(Path(job.folder).absolute() / RUN)

    def _run(
        self, context: dg.AssetExecutionContext, job: TrainingJob, command: Sequence[str], log: TrainingLog
    ) -> int:
        def watch() -> None:
            log.show()
            teller.tell()

        launch = self._launch(job.accelerate)
        with TrainingTeller(context, job, self.tell_every_s) as teller, self._session(context) as session:
            environment = {**without_secrets(os.environ), **session.get_bootstrap_env_vars(), **launch.environment()}
            try:
                return run_process(command, environment, log, watch, launch.timeout_s)
            except dg.DagsterExecutionInterruptedError:
                context.log.info(interrupted(job.name, read_outcome(log.path.parent)))
                raise

    def _session(self, context: dg.AssetExecutionContext) -> AbstractContextManager[PipesSession]:
        # Of an asset's own context Pipes asks what Dagster calls deprecated there.
        return dg.open_pipes_session(
            context.op_execution_context, dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader()
        )

    def _launch(self, accelerate: str | None = None) -> Launch:
        return Launch(
            python=self.python or sys.executable,
            module=self.module,
            processes=self.processes,
            threads=self.threads,
            accelerate=accelerate,
            termination_timeout_s=self.termination_timeout_s,
        )

    def _check_packages(self) -> None:
        """Raise TrainingFailed where this Python has not what trains; another one's packages are its own to tell."""
        missing = self._missing(self.packages)
        if missing:
            raise TrainingFailed(f"{missing} is not installed, and training needs it. Run: pip install -e '.[train]'")

    def _missing(self, packages: Sequence[str]) -> str:
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        return ", ".join(missing) if self.python is None else ""

    def _outcome(self, job: TrainingJob, code: int, log: TrainingLog) -> Outcome:
        folder = log.path.parent
        outcome = read_outcome(folder)
        if outcome is not None and outcome.state != "failed":
            return outcome
        if outcome is None and code == PREEMPTED:
            return Outcome(state="preempted", step=_step(folder))
        tail = log.tail(self.tail_lines)
        raise failure(job.name, why_of(outcome, code, tail), tail, str(log.path))


def _keeping(job: TrainingJob, say: Callable[[str], None]) -> AbstractContextManager[object]:
    """Bring what another machine has kept of the job, and keep what this one does, where it is kept at all."""
    if job.kept is None:
        return nullcontext()
    # boto3 takes a second to import.
    from resources.kept_training import KeptTraining, keeping, open_bucket_at  # noqa: PLC0415

    folder = Path(job.folder).absolute()
    kept = KeptTraining(open_bucket_at(job.kept), folder, read_run(folder / RUN).keep_checkpoints)
    step = kept.bring()
    if step is not None:
        say(f"{job.name} goes on from the checkpoint of step {step:,}, which was in the store")
    return keeping(kept, say)


def _step(folder: Path) -> int:
    last = read_last_metrics(folder)
    return last.step if last else 0
