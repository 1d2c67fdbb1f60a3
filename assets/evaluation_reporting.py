"""Progress of an examination for people: a bar on a terminal, and a log line every few seconds in the Dagster UI."""

import dagster as dg

from assets.progress_bar import ProgressBar
from mmat_dagster.evaluation.examining import Examination

LOG_EVERY_S = 10.0


class ExaminationReporter(ProgressBar):
    """Shows how far students have come; one bar per student and benchmark."""

    def __init__(self, log: dg.DagsterLogManager) -> None:
        super().__init__("questions", LOG_EVERY_S)
        self._log = log

    def report(self, examination: Examination, answered: int, score: float) -> None:
        """Take note of how many questions are answered and how much they score; show it where it is time to."""
        label = f"{examination.variant} on {examination.benchmark.title}"
        marks, total = f"{100 * score / answered:.1f} %", len(examination.questions)
        self.show(label, answered, total, lambda: {"marks": marks})
        if self.is_time_to_log():
            self._log.info(f"{label}: {answered} of {total} answered, {marks} of the marks so far")
