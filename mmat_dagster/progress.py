"""How far a dataset has come: counted record by record, told to whoever listens."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mmat_dagster.parts import Part
from mmat_dagster.schema import DatasetName, Rejection, SourceName
from mmat_dagster.spending import Spending


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a dataset has come; `total` is None while nobody knows it.

    `files` counts the source's files that were looked at, before any record was.
    """

    dataset: DatasetName
    source: SourceName
    total: int | None = None
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    pending: int = 0
    spending: Spending | None = None
    files: int = 0

    @property
    def done(self) -> int:
        """The number of records that are either kept or named; those that wait for a batch are neither."""
        return self.accepted + self.rejected.total()


def duration(seconds: float) -> str:
    """Return a time as a person says it: 45 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


Report = Callable[[Progress], None]


class Pending(Enum):
    """What a stage says of a record whose teacher's reply comes with a batch."""

    REPLY = "reply"


class Tally:
    """Counts records as they come out of a stage, and reports."""

    def __init__(
        self,
        dataset: DatasetName,
        source: SourceName,
        total: int | None,
        report: Report,
        spending: Callable[[], Spending | None] = lambda: None,
    ) -> None:
        self._dataset, self._source, self._total, self._report = dataset, source, total, report
        self._spending = spending
        self._accepted = 0
        self._pending = 0
        self._rejected: Counter[str] = Counter()
        self._elsewhere: Sequence[Progress] = ()

    @property
    def pending(self) -> int:
        """The number of records that wait for a batch."""
        return self._pending + sum(each.pending for each in self._elsewhere)

    def add(self, part: Part) -> None:
        """Count a part that an earlier run finished."""
        self._accepted += part.rows
        self._rejected.update(part.rejected)
        self.tell()

    def watch(self, elsewhere: Iterable[Progress]) -> None:
        """Count what other processes have made of their records by now."""
        self._elsewhere = [*elsewhere]
        self.tell()

    def count(self, result: Any) -> None:
        """Count what came of one record: Pending, a Rejection, or what is kept."""
        if isinstance(result, Pending):
            self._pending += 1
        elif isinstance(result, Rejection):
            self._rejected[result.reason] += 1
        else:
            self._accepted += 1
        self.tell()

    def tell(self) -> None:
        """Report how far it is now."""
        progress = Progress(
            dataset=self._dataset,
            source=self._source,
            total=self._total,
            accepted=self._accepted + sum(each.accepted for each in self._elsewhere),
            rejected=sum((each.rejected for each in self._elsewhere), Counter(self._rejected)),
            pending=self.pending,
            spending=self._spending(),
        )
        self._report(progress)
