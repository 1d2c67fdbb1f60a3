"""What a release counts while it is written, column by column: what the paper's tables show, and what was left out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from mmat_dagster.licensed_parts import PartKey
from mmat_dagster.release.columns import Column, pc
from mmat_dagster.release.plan import Form, Side
from mmat_dagster.release.rows import LossReason, part_keys
from mmat_dagster.schema import ImageRef, SourceName
from mmat_dagster.splits import short
from mmat_dagster.wire import RAG


@dataclass(kw_only=True)
class Statistics:
    """Counts that grow while a release is written.

    `rounds` are the questions over a picture up to this one, `steps` the assistant turns of an RR dialogue before its
    answer, `calls` how often each operator was called, `reflections` the dialogues by the kind of reflection.
    """

    by_part: Counter[tuple[Form, Side, PartKey]] = field(default_factory=Counter)
    lost: Counter[tuple[SourceName, Form, LossReason]] = field(default_factory=Counter)
    rounds: Counter[int] = field(default_factory=Counter)
    steps: Counter[int] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    reflections: Counter[str] = field(default_factory=Counter)
    teachers: Counter[str] = field(default_factory=Counter)
    judges: set[str] = field(default_factory=set)
    audited: int = 0
    audit_sum: float = 0.0
    good: int = 0
    _images: dict[PartKey, set[int]] = field(default_factory=dict)

    def count(self, form: Form, side: Side, source: SourceName, rows: pa.Table) -> None:
        """Count the rows of one side, which are of one source."""
        keys, numbers = part_keys(rows, source)
        for number, count in _counted(numbers):
            self.by_part[form, side, keys[number]] += count

    def count_images(self, source: SourceName, rows: pa.Table, refs: Sequence[Sequence[ImageRef]]) -> None:
        """Count the images of rows, each once in a part."""
        keys, numbers = part_keys(rows, source)
        for number, row in zip(numbers.to_pylist(), refs, strict=True):
            self._images.setdefault(keys[number], set()).update(short(ref.sha256) for ref in row)

    def count_reasoning(self, rows: pa.Table, good_score: float) -> None:
        """Count what RR dialogues are made of."""
        turns = pc.struct_field(rows["transcript"], "turns")
        steps = pc.struct_field(pc.list_flatten(turns), "step")
        self.steps.update(dict(_counted(pc.list_value_length(turns))))
        self.calls.update(dict(_counted(pc.list_flatten(pc.struct_field(steps, "operators")))))
        self.calls[RAG] += len(steps) - pc.struct_field(steps, "rag_query").null_count
        self.rounds.update({length + 1: count for length, count in _counted(pc.list_value_length(rows["context"]))})
        self.reflections.update(dict(_counted(rows["reflection"])))
        self.teachers.update(dict(_counted(rows["teacher"])))
        scores = rows["audit_score"].drop_null()
        self.audited += len(scores)
        self.audit_sum += pc.sum(scores).as_py() or 0.0
        self.good += pc.sum(pc.greater_equal(scores, good_score)).as_py() or 0

    def lose(self, source: SourceName, form: Form, reason: LossReason, count: int) -> None:
        """Count what is left out."""
        self.lost[source, form, reason] += count

    def dialogues(self, form: Form, side: Side | None = None) -> int:
        """Return how many dialogues a form has, on one side or on both."""
        return sum(n for (f, s, _), n in self.by_part.items() if f == form and side in (None, s))

    @property
    def images(self) -> int:
        """How many images there are, each counted once."""
        return len(set().union(*self._images.values()))

    @property
    def parts(self) -> list[PartKey]:
        """The parts, in order."""
        return sorted({key for _, _, key in self.by_part})

    def dialogues_of(self, form: Form, keys: Iterable[PartKey]) -> int:
        """Return how many dialogues of a form some parts have."""
        wanted = {*keys}
        return sum(n for (f, _, key), n in self.by_part.items() if f == form and key in wanted)

    def images_of(self, keys: Iterable[PartKey]) -> int:
        """Return how many images some parts have, each counted once."""
        return len(set().union(*(self._images.get(key, set()) for key in keys)))


def _counted(column: Column) -> list[tuple[Any, int]]:
    return [(each["values"], each["counts"]) for each in pc.value_counts(column).to_pylist()]
