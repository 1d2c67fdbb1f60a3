"""Progress for people: a bar on a terminal, and a log line every few seconds in the Dagster UI."""

import time
from collections import deque
from dataclasses import dataclass, field

import dagster as dg

from assets.progress_bar import ProgressBar
from mmat_dagster.progress import Progress, duration
from mmat_dagster.spending import Spending

LOG_EVERY_S = 5.0
# Rates are those of the last half minute, or of the whole time where that is shorter.
RATE_OVER_S = 30.0
LOOK_EVERY_S = 0.5


@dataclass(kw_only=True)
class Rates:
    """What the teacher did per second lately, and how long the rest will take at the pace so far."""

    _begun_at: float
    _begun_done: int
    _looks: deque[tuple[float, Spending]] = field(default_factory=deque)

    def look(self, now: float, spending: Spending) -> None:
        """Take note of the counters, at most every half second."""
        if not self._looks or now - self._looks[-1][0] >= LOOK_EVERY_S:
            self._looks.append((now, spending))
        while len(self._looks) > 2 and now - self._looks[0][0] > RATE_OVER_S:
            self._looks.popleft()

    def per_second(self) -> tuple[float, float]:
        """Return paid calls and tokens per second."""
        if len(self._looks) < 2:
            return 0.0, 0.0
        (then, before), (now, after) = self._looks[0], self._looks[-1]
        return (after.calls - before.calls) / (now - then), (_tokens(after) - _tokens(before)) / (now - then)

    def left_s(self, now: float, done: int, total: int | None) -> float | None:
        """Return the seconds until all is done; None while nobody can tell."""
        made = done - self._begun_done
        return None if total is None or made <= 0 else (total - done) * (now - self._begun_at) / made


class Reporter(ProgressBar):
    """Shows how far a dataset has come; one bar per dataset."""

    def __init__(self, log: dg.DagsterLogManager) -> None:
        super().__init__("samples", LOG_EVERY_S)
        self._log = log
        self._rates = Rates(_begun_at=time.monotonic(), _begun_done=0)

    def report(self, progress: Progress) -> None:
        """Take note of `progress`; show it where it is time to."""
        now = time.monotonic()
        label = f"{progress.dataset} of {progress.source}"
        if label != self.label:
            self._rates = Rates(_begun_at=now, _begun_done=progress.done)
        self.show(label, progress.done, progress.total, lambda: self._postfix(progress))
        if progress.spending is not None:
            self._rates.look(now, progress.spending)
        if self.is_time_to_log():
            self._log.info(line(progress, self._rates, now))

    def _postfix(self, progress: Progress) -> dict[str, str]:
        if progress.files:
            return {"files": f"{progress.files:,}"}
        shown = {"rejected": str(progress.rejected.total())}
        spending = progress.spending
        if spending is not None:
            calls, tokens = self._rates.per_second()
            shown |= {"calls/s": f"{calls:.1f}", "tokens/s": f"{tokens:,.0f}"}
            shown |= {"cached": share(spending)} if spending.prompt_tokens else {}
            shown |= {"spent": f"${spending.spent_usd:.2f}"} if spending.spent_usd is not None else {}
        return shown


def line(progress: Progress, rates: Rates, now: float) -> str:
    """Return the log line: how much is done and lost, what the teacher did and cost, and when it will be over."""
    if progress.files:
        return f"{progress.dataset} of {progress.source}: {progress.files:,} files looked at"
    total = f" of {progress.total}" if progress.total is not None else ""
    lost = ", ".join(f"{count} {reason}" for reason, count in progress.rejected.most_common()) or "none"
    waiting = f", waiting for a batch: {progress.pending}" if progress.pending else ""
    left_s = rates.left_s(now, progress.done, progress.total)
    left = f"; {duration(left_s)} left" if left_s is not None else ""
    told = f"; {_told(progress.spending, rates)}" if progress.spending is not None else ""
    return (
        f"{progress.dataset} of {progress.source}: {progress.done}{total} done, rejected: {lost}{waiting}{told}{left}"
    )


def share(spending: Spending) -> str:
    """Return how much of the prompts the provider had in its cache."""
    return f"{spending.cached_tokens / max(1, spending.prompt_tokens):.0%}"


def _told(spending: Spending, rates: Rates) -> str:
    calls, tokens = rates.per_second()
    pace = f", {calls:.1f} calls/s, {tokens:,.0f} tokens/s" if calls else ""
    usd = f"${spending.spent_usd:.4f} spent" if spending.spent_usd is not None else "price not known"
    again = f", {spending.retries} retries" if spending.retries else ""
    return (
        f"teacher: {spending.calls:,} calls paid, {spending.reused:,} from the ledger{again}{pace}, "
        f"{share(spending)} of prompts cached, {usd}"
    )


def _tokens(spending: Spending) -> int:
    return spending.prompt_tokens + spending.completion_tokens
