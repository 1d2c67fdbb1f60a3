"""Columns of the store to columns of the release, batch by batch; what is left out is told with its reason.

Records are never made: what takes a hundred times as long, no release needs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from mmat_dagster import parts, wire
from mmat_dagster.interfaces import Store
from mmat_dagster.licensed_parts import PartKey
from mmat_dagster.media_marks import MEDIA_MARKS
from mmat_dagster.parts import Manifest
from mmat_dagster.release.audits import Scores
from mmat_dagster.release.columns import Column, pc
from mmat_dagster.release.plan import Choices, ReleaseRefused
from mmat_dagster.schema import SourceName

BATCH_ROWS = 500

LossReason = Literal[
    "not for commercial use",
    "below the audit score",
    "not audited",
    "media mark in the text",
    "image marks do not match the images",
    "missing or changed image",
]

_SAMPLE = ("part", "licence", "question", "answers", "answer_type", "context")
_STEP = "transcript.turns.list.element.step"
_COLUMNS = ("id", "source", "messages", "images", "reflection", "teacher", *(f"sample.{name}" for name in _SAMPLE))
_RR_COLUMNS = (*_COLUMNS, f"{_STEP}.operators", f"{_STEP}.rag_query")
_MEDIA = "|".join(mark.replace("|", r"\|") for mark in MEDIA_MARKS)


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Dialogues of a batch that are left out, by their ids."""

    reason: LossReason
    ids: Sequence[str]


def read_batches(store: Store, manifest: Manifest | None) -> Iterator[pa.Table]:
    """Yield the columns that a release needs, a few hundred rows at a time; the sample's stand beside the record's."""
    if manifest is None:
        return
    columns = _RR_COLUMNS if manifest.dataset == "rr_dialogues" else _COLUMNS
    for table in read_columns(store, manifest, columns):
        flat = _flattened(table.combine_chunks())
        yield from (flat.slice(start, BATCH_ROWS) for start in range(0, len(flat), BATCH_ROWS))


def read_columns(store: Store, manifest: Manifest, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield some columns part by part; raise ReleaseRefused where the dataset is being rebuilt meanwhile."""
    try:
        yield from parts.read_tables(store, manifest, columns)
    except FileNotFoundError as error:
        raise ReleaseRefused(
            f"{manifest.dataset} of {manifest.source} was rebuilt meanwhile ({error.filename} is gone). Try again"
        ) from error


def select(batch: pa.Table, scores: Scores, choices: Choices) -> tuple[pa.Table, list[Loss]]:
    """Return the rows that are released, with their audit scores, and what is left out."""
    batch = batch.append_column("audit_score", scores.of(batch["id"].combine_chunks()))
    losses: list[Loss] = []
    for reason, is_lost in _unfit(batch, choices):
        ids = [str(each) for each in batch["id"].filter(is_lost).to_pylist()]
        if ids:
            losses.append(Loss(reason=reason, ids=ids))
    if losses:
        gone = pa.array([each for loss in losses for each in loss.ids])
        batch = batch.filter(pc.invert(pc.is_in(batch["id"], value_set=gone)))
    return batch, losses


def part_keys(batch: pa.Table, source: SourceName) -> tuple[list[PartKey], Column]:
    """Return the parts that a batch is of, and for each row the number of its own."""
    named = pc.binary_join_element_wise(batch["part"], batch["licence"], "\x1f").combine_chunks().dictionary_encode()
    pairs = (name.split("\x1f") for name in named.dictionary.to_pylist())
    return [PartKey(source=source, part=part, licence=licence) for part, licence in pairs], named.indices


def _flattened(table: pa.Table) -> pa.Table:
    sample = table["sample"].combine_chunks()
    for name in _SAMPLE:
        table = table.append_column(name, pc.struct_field(sample, name))
    return table.drop_columns(["sample"])


def _unfit(batch: pa.Table, choices: Choices) -> Iterator[tuple[LossReason, Column]]:
    """Yield each reason with the rows that it holds for; a row may come under several, and counts under the first."""
    seen = pa.array([False] * len(batch))
    for reason, found in _found(batch, choices):
        yield reason, pc.and_(found, pc.invert(seen))
        seen = pc.or_(seen, found)


def _found(batch: pa.Table, choices: Choices) -> Iterator[tuple[LossReason, Column]]:
    if choices.only_commercial:
        keys, numbers = part_keys(batch, batch["source"][0].as_py())
        yield "not for commercial use", pa.array([not key.is_commercial for key in keys]).take(numbers)
    if choices.min_audit_score is not None:
        yield "not audited", batch["audit_score"].is_null()
        yield "below the audit score", pc.fill_null(pc.less(batch["audit_score"], choices.min_audit_score), False)
    contents = pc.struct_field(pc.list_flatten(batch["messages"]), "content")
    yield "media mark in the text", _any(batch, pc.match_substring_regex(contents, _MEDIA))
    marks = _sum(batch, pc.count_substring(contents, wire.IMAGE))
    yield "image marks do not match the images", pc.not_equal(marks, pc.list_value_length(batch["images"]))


def _any(batch: pa.Table, flags: Column) -> Column:
    rows = pc.list_parent_indices(batch["messages"]).filter(flags)
    return pc.is_in(pa.array(range(len(batch))), value_set=rows)


def _sum(batch: pa.Table, counts: Column) -> Column:
    rows = pc.list_parent_indices(batch["messages"]).cast(pa.int64())
    flat: Any = {"row": rows, "count": counts}
    total = pa.table(flat).group_by("row", use_threads=False).aggregate([("count", "sum")])
    found = pc.index_in(pa.array(range(len(batch)), pa.int64()), value_set=total["row"])
    return pc.fill_null(total["count_sum"].take(found), 0)
