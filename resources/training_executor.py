"""Training on this machine: a process of its own, or several that know each other, told to Dagster through Pipes.

Servers of what was trained run here likewise.
"""

import importlib.util
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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
from mmat_dagster.training.spec import OUTCOME, PREEMPTED, RUN, Outcome, read_last_metrics, read_outcome
from resources.serving_process import Patience, served
from resources.training_process import TrainingLog, end_leftovers, run_process
from resources.training_reports import TrainingTeller

PACKAGES = ["torch", "transformers", "trl", "peft", "accelerate", "datasets"]
# A server has nothing to write at its end; then it is killed.
SERVER_END_S = 30.0
# The launcher of several processes ends them itself, a moment before it would be ended.
LAUNCHER_S = 10.0
# How torchrun tells of a process that was killed; its own exit code is 1 then.
KILLED = re.compile(r"Signal 9 \(SIGKILL\)")
OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemoryError|DefaultCPUAllocator: can't allocate memory", re.IGNORECASE)
MEMORY_HINT = (
    "Use less memory: gradient_checkpointing, batch_per_device 1, a smaller max_length, method lora, or several "
    "processes with accelerate (fsdp2, zero2)."
)


class LocalTrainingExecutor(
    dg.ConfigurableResource[TrainingExecutor[dg.AssetExecutionContext]], TrainingExecutor[dg.AssetExecutionContext]
):
    """Starts the training process here, and tells how far it is while it runs."""

    processes: int = Field(default=1, gt=0, description="Processes that train together: one per GPU.")
    threads: int = Field(default=1, gt=0, description="Threads of each process; more than a CPU's share slow it down.")
    python: str | None = Field(default=None, description="The Python that trains; null for the one that runs Dagster.")
    module: str = Field(default="mmat_dagster.training", description="What is run, as python -m MODULE --config FILE.")
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
            replace(job, command=command), {**without_secrets(os.environ), **self._environment()}, patience
        ) as url:
            yield url

    def command(self, job: TrainingJob) -> list[str]:
        """Return the command line that trains the job."""
        python = self.python or sys.executable
        trained = [self.module, "--config", str(Path(job.folder).absolute() / RUN)]
        processes = str(self.processes)
        if job.accelerate is not None:
            config = str(_accelerate_file(job.accelerate))
            launch = ["accelerate.commands.launch", "--config_file", config, "--num_processes", processes]
            return [python, "-m", *launch, "--module", *trained]
        if self.processes > 1:
            return [
                python,
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc_per_node",
                processes,
                "-m",
                *trained,
            ]
        return [python, "-m", *trained]

    def _run(
        self, context: dg.AssetExecutionContext, job: TrainingJob, command: Sequence[str], log: TrainingLog
    ) -> int:
        def watch() -> None:
            log.show()
            teller.tell()

        launches = job.accelerate is not None or self.processes > 1
        with TrainingTeller(context, job, self.tell_every_s) as teller, self._session(context) as session:
            environment = {**without_secrets(os.environ), **session.get_bootstrap_env_vars(), **self._environment()}
            timeout_s = self.termination_timeout_s + (LAUNCHER_S if launches else 0.0)
            try:
                return run_process(command, environment, log, watch, timeout_s)
            except dg.DagsterExecutionInterruptedError:
                context.log.info(_interrupted(job))
                raise

    def _session(self, context: dg.AssetExecutionContext) -> AbstractContextManager[PipesSession]:
        # Of an asset's own context Pipes asks what Dagster calls deprecated there.
        return dg.open_pipes_session(
            context.op_execution_context, dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader()
        )

    def _environment(self) -> dict[str, str]:
        threads = str(self.threads)
        return {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONUNBUFFERED": "1",
            "TOKENIZERS_PARALLELISM": "false",
            # torchrun, and accelerate through it, kill their processes 30 s after a signal unless told otherwise.
            "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(max(1, round(self.termination_timeout_s))),
        }

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
        why = outcome.error if outcome is not None and outcome.error else _why(code, tail)
        hint = f" {MEMORY_HINT}" if OUT_OF_MEMORY.search(why + tail) else ""
        last = f"\n\nThe last lines of {log.path}:\n{tail}" if tail else ""
        raise TrainingFailed(f"The training of {job.name} failed: {why}{hint}{last}")


def _interrupted(job: TrainingJob) -> str:
    folder = Path(job.folder).absolute()
    outcome = read_outcome(folder)
    if outcome is None:
        return f"{job.name} was ended before it could say how far it is; a training begun again resumes what it kept."
    return f"{job.name} was ended at step {outcome.step}; a training begun again goes on from there."


def _step(folder: Path) -> int:
    last = read_last_metrics(folder)
    return last.step if last else 0


def _why(code: int, tail: str) -> str:
    """Return what an exit code says where the process itself has said nothing."""
    if code == -signal.SIGKILL or KILLED.search(tail):
        return (
            "a process of it was killed (SIGKILL), as the kernel does when memory runs out: see dmesg, or the "
            f"container's memory limit. {MEMORY_HINT}"
        )
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}, without a word"
    if code:
        return f"its process ended with exit code {code}, without a word"
    return f"its process ended well, and left no {OUTCOME} that says so"


def _accelerate_file(name: str) -> Path:
    """Return the accelerate config called `name`: a file, or one that TRL brings along."""
    if Path(name).is_file():
        return Path(name).absolute()
    trl = importlib.util.find_spec("trl")
    folder = Path(trl.origin).parent / "accelerate_configs" if trl and trl.origin else None
    known = sorted(path.stem for path in folder.glob("*.yaml")) if folder else []
    if folder is None or name not in known:
        raise TrainingFailed(
            f"accelerate names {name!r}: that is no file, and none of TRL's configurations"
            + (f" ({', '.join(known)})" if known else ", which come with pip install -e '.[train]'")
        )
    return folder / f"{name}.yaml"
