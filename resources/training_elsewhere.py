"""What all executors have in common that train on machines of somebody else's: a cloud's task, a cluster's job.

The machine runs resources/training_machine.py. How far it is and how it ended lies in the job's place in the store, or
in its folder where that is one that all machines share; so nothing here asks the machine itself.
"""

import importlib.util
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from pydantic import Field

from mmat_dagster.fingerprints import fingerprint
from mmat_dagster.interfaces import StoreError
from mmat_dagster.training.executor import TrainingExecutor, TrainingFailed, TrainingJob
from mmat_dagster.training.kept import LATEST, LOG
from mmat_dagster.training.spec import (
    OUTCOME,
    RUN,
    Metrics,
    Outcome,
    last_metrics_line,
    parse_metrics,
    parse_outcome,
)
from resources.training_endings import failure, interrupted, why_of
from resources.training_launch import MODULE
from resources.training_reports import TrainingTeller
from resources.watching import watching

MACHINE = "resources.training_machine"
# What a machine needs beside the last checkpoint: to be told, to upload, to say that it has ended.
ENDING_S = 60.0
LOOK_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a job ended, as its service tells; `is_lost`: its machine was taken, or it was killed without a word."""

    code: int | None
    why: str
    tail: str
    is_lost: bool


class JobRecords:
    """What the job's machine has left: in the bucket where it is kept, else in the folder that all machines share."""

    def __init__(self, job: TrainingJob) -> None:
        self._job = job
        self.place = job.kept or str(Path(job.folder).absolute())
        self._folder = Path(job.folder)
        if job.kept is not None:
            # boto3 takes a second to import.
            from resources.kept_training import open_bucket_at  # noqa: PLC0415

            self._bucket = open_bucket_at(job.kept)

    @property
    def run(self) -> str:
        """Where the run's description lies."""
        return f"{self.place}/{RUN}"

    def outcome(self) -> Outcome | None:
        """Return how the machine says that it ended; None where it has said nothing."""
        told = self._read(OUTCOME)
        return parse_outcome(told) if told else None

    def latest(self) -> Metrics | None:
        """Return the last metrics; None before the first step, and while nobody can be asked."""
        with suppress(StoreError):
            line = self._read(LATEST) if self._job.kept else last_metrics_line(self._folder)
            return parse_metrics(line) if line else None
        return None

    def tail(self, lines: int) -> str:
        """Return the last lines of the process."""
        told = (self._read(LOG) or b"").decode(errors="replace").split("\n")
        return "\n".join([line for line in told if line.strip()][-lines:])

    def forget_ending(self) -> None:
        """Remove what an attempt before has said at its end."""
        for name in (OUTCOME, LOG):
            if self._job.kept:
                self._bucket.delete([name])
            else:
                (self._folder / name).unlink(missing_ok=True)

    def _read(self, name: str) -> bytes | None:
        try:
            return self._bucket.read(name) if self._job.kept else (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None


class RemoteTrainingExecutor(
    dg.ConfigurableResource[TrainingExecutor[dg.AssetExecutionContext]], TrainingExecutor[dg.AssetExecutionContext]
):
    """Has a job run elsewhere, tells how far it is, and takes what became of it from the store."""

    processes: int = Field(default=1, gt=0, description="Processes that train together on the machine: one per GPU.")
    threads: int = Field(default=1, gt=0, description="Threads of each process.")
    gpus: int | None = Field(default=None, ge=0, description="GPUs to ask for; null: as the service has it.")
    sources: str | None = Field(
        default=None,
        description="Where that machine finds the sources: a folder mounted there, or s3://...; null: the same path.",
    )
    python: str = Field(default="python", description="The Python of that machine.")
    module: str = Field(default=MODULE, description="What is run there, as python -m MODULE --config FILE.")
    termination_timeout_s: float = Field(
        default=100.0, gt=0, description="How long a training that is to end may take to write its checkpoint."
    )
    look_every_s: int = Field(default=6, gt=0, description="So often the service is asked whether the job has ended.")
    tell_every_s: float = Field(default=30.0, gt=0, description="So often the UI hears of step, loss and pace.")
    tail_lines: int = Field(default=30, gt=0, description="So many last lines stand in the error of a failed training.")

    @property
    def world_size(self) -> int:
        """The number of processes that train together."""
        return self.processes

    def sources_there(self, sources: str) -> str | None:
        """Return where the machine finds the sources."""
        return self.sources or sources

    def train(self, context: dg.AssetExecutionContext, job: TrainingJob) -> Outcome:
        """Run the job to its end and return its outcome."""
        records = JobRecords(job)
        if self.end_leftovers(job):
            context.log.warning(f"{job.name} was still being trained for a run that is gone; that was ended first.")
        records.forget_ending()
        command = self.command(job, records.run)
        context.log.info(f"{job.name}: {' '.join(command)}; what comes of it is in {records.place}")
        with (
            TrainingTeller(context, job, self.tell_every_s, records.latest) as teller,
            watching(teller.tell, LOOK_EVERY_S),
        ):
            try:
                ending = self.run_job(context, job, command)
            except dg.DagsterExecutionInterruptedError:
                self.end_leftovers(job)
                context.log.info(interrupted(job.name, records.outcome()))
                raise
        return self._outcome(job, records, ending)

    def command(self, job: TrainingJob, run: str) -> list[str]:
        """Return the command line of the job's machine."""
        result = ["--result", job.result] if job.result and job.kept else []
        accelerate = ["--accelerate", job.accelerate] if job.accelerate else []
        module = ["--module", self.module] if self.module != MODULE else []
        counts = ["--processes", str(self.processes), "--threads", str(self.threads)]
        timeout = ["--termination-timeout", f"{self.termination_timeout_s:g}"]
        return [self.python, "-m", MACHINE, "--config", run, *result, *counts, *accelerate, *timeout, *module]

    @abstractmethod
    def run_job(self, context: dg.AssetExecutionContext, job: TrainingJob, command: Sequence[str]) -> Ending:
        """Run the command on a machine, and return how that ended; a termination of the step is passed on to it."""

    @abstractmethod
    def end_leftovers(self, job: TrainingJob) -> bool:
        """Have whatever trains the job end, wait for that, and return whether there was something."""

    def _outcome(self, job: TrainingJob, records: JobRecords, ending: Ending) -> Outcome:
        outcome = records.outcome()
        if outcome is not None and outcome.state != "failed":
            return outcome
        if outcome is None and ending.is_lost:
            last = records.latest()
            return Outcome(state="preempted", step=last.step if last else 0)
        tail = records.tail(self.tail_lines)
        where = f"{records.place}/{LOG}" if tail else "the job"
        why = ending.why if outcome is None else why_of(outcome, ending.code or 0, tail)
        raise failure(job.name, why, tail or ending.tail, where)


def require(package: str, extra: str) -> None:
    """Raise TrainingFailed where a package is not installed that an extra of this project brings."""
    if importlib.util.find_spec(package) is None:
        raise TrainingFailed(
            f"{package} is not installed, and this training needs it. Run: pip install -e '.[{extra}]'"
        )


@contextmanager
def told_as_failure(service: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Raise TrainingFailed where a service cannot be used; what it has at work is ended by the next run."""
    try:
        yield
    except errors as error:
        raise TrainingFailed(f"{service} cannot be used: {error}") from error


def label_of(job: TrainingJob) -> str:
    """Return by what a service knows all jobs that work in the same place."""
    return f"mmat-{fingerprint([job.kept or str(Path(job.folder).absolute())])[:16]}"
