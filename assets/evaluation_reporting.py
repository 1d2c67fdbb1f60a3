"""Progress of an examination for people: a bar on a terminal, and a log line every few seconds in the Dagster UI."""

import time
from types import TracebackType
from typing import Any, Self

import dagster as dg
from tqdm import tqdm

from mmat_dagster.evaluation.examining import Examination
from mmat_dagster.terminal import open_terminal

LOG_EVERY_S = 10.0


class ExaminationReporter:
    """Shows how far students have come; one bar per student and benchmark, closed when the next one starts."""

    def __init__(self, log: dg.DagsterLogManager) -> None:
        self._log = log
        self._terminal = open_terminal()
        self._bar: tqdm[Any] | None = None
        self._label = ""
        self._logged_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()
        if self._terminal is not None:
            self._terminal.close()

    def report(self, examination: Examination, answered: int, score: float) -> None:
        """Take note of how many questions are answered and how much they score; show it where it is time to."""
        label = f"{examination.variant} on {examination.benchmark.title}"
        marks = f"{100 * score / answered:.1f} %"
        self._show_bar(label, len(examination.questions), answered, marks)
        now = time.monotonic()
        if now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            self._log.info(f"{label}: {answered} of {len(examination.questions)} answered, {marks} of the marks so far")

    def _show_bar(self, label: str, total: int, answered: int, marks: str) -> None:
        if self._bar is None or label != self._label:
            self._close()
            self._label = label
            self._bar = tqdm(
                desc=label, total=total, unit=" questions", file=self._terminal, disable=self._terminal is None
            )
        if not self._bar.disable:
            self._bar.set_postfix({"marks": marks}, refresh=False)
        self._bar.update(answered - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
