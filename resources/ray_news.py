"""What a driver hears of parts that are made elsewhere, and what of it a person should know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mmat_dagster.engine import Watch
from mmat_dagster.progress import Progress
from mmat_dagster.spending import Spending, total
from resources.ray_room import Waiting


@dataclass(frozen=True, kw_only=True)
class Report:
    """How far one attempt at a part is, and what it has spent by now, by who was asked."""

    index: int
    progress: Progress | None = None
    spendings: Mapping[str, Spending] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class News:
    """The last report of each attempt, in the order in which they began, and what models wait for."""

    reports: Sequence[Report]
    awaited: str | None


@dataclass(frozen=True, kw_only=True)
class Audience:
    """Who hears of parts that are made elsewhere: how far each is, what it has cost, and what a person should know."""

    watch: Watch
    spent: dict[str, Spending]
    say: Callable[[str], None]


class Follower:
    """Passes on to the audience what the board tells, and what a person should know of it."""

    def __init__(self, audience: Audience, awaited: str | None) -> None:
        self._audience = audience
        self._before = dict(audience.spent)
        # What parts wait for until the first one begins; afterwards some go on, however slowly.
        self._parts_await = f"parts wait for {awaited}" if awaited else None
        self._waiting = Waiting(audience.say)
        self._begun = 0

    def hear(self, news: News) -> None:
        """Take the board's news."""
        self._audience.spent.update(_with(self._before, news.reports))
        self._audience.watch(_latest(news.reports))
        self._waiting.hear(news.awaited if news.reports else self._parts_await)
        again = [report.index for report in news.reports[self._begun :] if _is_again(report, news.reports)]
        self._begun = len(news.reports)
        if again:
            self._audience.say(lost(again))


def lost(again: Sequence[int]) -> str:
    """Say that parts are begun again whose workers were lost."""
    which = f"part {again[0]} is" if len(again) == 1 else f"parts {', '.join(map(str, again))} are"
    return f"a worker was lost, or its machine: {which} made again; what was answered is in the ledger"


def _is_again(report: Report, reports: Sequence[Report]) -> bool:
    """Return whether an attempt is not the first one at its part."""
    return next(each for each in reports if each.index == report.index) is not report


def _latest(reports: Sequence[Report]) -> list[Progress]:
    """Return how far each part is, as its last attempt has told."""
    last = {report.index: report.progress for report in reports if report.progress is not None}
    return [*last.values()]


def _with(before: Mapping[str, Spending], reports: Sequence[Report]) -> dict[str, Spending]:
    """Add to what was spent before what all attempts have, lost ones too."""
    names = dict.fromkeys([*before, *(name for report in reports for name in report.spendings)])
    spent = (before, *(report.spendings for report in reports))
    return {name: total(each[name] for each in spent if name in each) for name in names}
