"""How far a training is: told to Dagster from what its process logs, and to the person at the terminal, if one is."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dagster as dg
from tqdm import tqdm

from mmat_dagster.terminal import open_terminal
from mmat_dagster.training.executor import TrainingJob
from mmat_dagster.training.spec import RUN, Metrics, TrainingRun, read_last_metrics, read_run

LOOK_EVERY_S = 1.0


class TrainingTeller:
    """Tells of one training while it runs; a person sees a bar, the UI an observation every `every_s`.

    What was logged last is read from the job's folder, or by `read_last` where the training is elsewhere.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        job: TrainingJob,
        every_s: float,
        read_last: Callable[[], Metrics | None] | None = None,
    ) -> None:
        self._context, self._job, self._every_s = context, job, every_s
        folder = Path(job.folder).absolute()
        self._run = read_run(folder / RUN)
        self._read_last = read_last or partial(read_last_metrics, folder)
        self._told = self._read_last()  # by the attempt before this one
        self._told_at = self._looked_at = time.monotonic()
        self._terminal = open_terminal()
        self._bar: tqdm[Any] = tqdm(
            desc=job.name, unit=" steps", file=self._terminal, disable=self._terminal is None, leave=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._look(self._every_s)
        self._bar.close()
        if self._terminal is not None:
            self._terminal.close()

    def tell(self) -> None:
        """Tell the last metrics where it is time to, and where there are new ones."""
        now = time.monotonic()
        if now - self._looked_at >= min(LOOK_EVERY_S, self._every_s):
            self._looked_at = now
            self._look(now - self._told_at)

    def _look(self, since_told_s: float) -> None:
        last = self._read_last()
        if last is None or last == self._told:
            return
        self._show(last)
        if since_told_s >= self._every_s:
            self._told, self._told_at = last, time.monotonic()
            self._observe(last)

    def _show(self, now: Metrics) -> None:
        if self._bar.disable:
            return
        self._bar.total = total_steps(self._run, now)
        self._bar.set_postfix({"loss": f"{now.loss:.4f}", "tokens/s": f"{now.tokens_per_second:,.0f}"}, refresh=False)
        self._bar.update(now.step - self._bar.n)

    def _observe(self, now: Metrics) -> None:
        self._context.log.info(
            f"{self._job.name}: step {now.step} of {total_steps(self._run, now)}, loss {now.loss:.4f}, "
            f"{now.tokens_per_second:,.0f} tokens/s, {now.memory_gb:.1f} GB"
        )
        self._context.log_event(
            dg.AssetObservation(
                asset_key=self._context.asset_key,
                partition=self._run.mixture,
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


def total_steps(run: TrainingRun, now: Metrics) -> int:
    """Return about how many steps a training takes, from how far into an epoch a step has led."""
    if run.hyper.max_steps is not None:
        return run.hyper.max_steps
    return max(now.step, round(now.step * run.hyper.epochs / now.epoch)) if now.epoch else now.step
