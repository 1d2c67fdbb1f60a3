"""Training on this machine: a process of its own, or several that know each other, told to Dagster through Pipes."""

import importlib.util
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from pydantic import Field

from mmat_dagster.training.executor import TrainingExecutor, TrainingFailed, TrainingJob
from mmat_dagster.training.spec import OUTCOME, PREEMPTED, RUN, Metrics, Outcome, read_metrics, read_outcome, read_run
from resources.training_process import TrainingLog, end_leftovers, run_process

PACKAGES = ["torch", "transformers", "trl", "peft", "accelerate", "datasets"]
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
        teller = _Teller(context, job, self.tell_every_s)

        def watch() -> None:
            log.show()
            teller.tell()

        launches = job.accelerate is not None or self.processes > 1
        # Of an asset's own context Pipes asks what Dagster calls deprecated there.
        with dg.open_pipes_session(
            context.op_execution_context, dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader()
        ) as session:
            environment = {**os.environ, **session.get_bootstrap_env_vars(), **self._environment()}
            timeout_s = self.termination_timeout_s + (LAUNCHER_S if launches else 0.0)
            try:
                code = run_process(command, environment, log, watch, timeout_s)
            except dg.DagsterExecutionInterruptedError:
                context.log.info(_interrupted(job))
                raise
        teller.tell(is_last=True)
        return code

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
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing and self.python is None:
            raise TrainingFailed(
                f"{', '.join(missing)} is not installed, and training needs it. Run: pip install -e '.[train]'"
            )

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


class _Teller:
    """Tells Dagster how far a training is, from the metrics that its process writes."""

    def __init__(self, context: dg.AssetExecutionContext, job: TrainingJob, every_s: float) -> None:
        self._context, self._name, self._every_s = context, job.name, every_s
        self._folder = Path(job.folder).absolute()
        self._mixture = read_run(self._folder / RUN).mixture
        self._told_at = time.monotonic()
        self._told = self._last()  # by the attempt before this one

    def tell(self, *, is_last: bool = False) -> None:
        """Tell the last metrics where it is time to, and where there are new ones."""
        if not is_last and time.monotonic() - self._told_at < self._every_s:
            return
        self._told_at = time.monotonic()
        now = self._last()
        if now is not None and now != self._told:
            self._told = now
            self._observe(now)

    def _last(self) -> Metrics | None:
        return next(reversed(read_metrics(self._folder)), None)

    def _observe(self, now: Metrics) -> None:
        self._context.log.info(
            f"{self._name}: step {now.step}, epoch {now.epoch:.2f}, loss {now.loss:.4f}, "
            f"{now.tokens_per_second:,.0f} tokens/s, {now.memory_gb:.1f} GB"
        )
        self._context.log_event(
            dg.AssetObservation(
                asset_key=self._context.asset_key,
                partition=self._mixture,
                description=f"step {now.step}",
                metadata={
                    "step": now.step,
                    "epoch": now.epoch,
                    "loss": now.loss,
                    "learning_rate": now.learning_rate,
                    "tokens_per_second": now.tokens_per_second,
                    "memory_gb": now.memory_gb,
                },
            )
        )


def _interrupted(job: TrainingJob) -> str:
    folder = Path(job.folder).absolute()
    outcome = read_outcome(folder)
    if outcome is None:
        return f"{job.name} was ended before it could say how far it is; a training begun again resumes what it kept."
    return f"{job.name} was ended at step {outcome.step}; a training begun again goes on from there."


def _step(folder: Path) -> int:
    metrics = read_metrics(folder)
    return metrics[-1].step if metrics else 0


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
