"""What the asset checks of RR and ORR dialogues have in common: look at every record, name the first bad ones."""

from collections.abc import Callable
from typing import Literal, cast

import dagster as dg

from mmat_dagster import answers, parts, wire
from mmat_dagster.datasets import RECORDS
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.schema import Dialogue, OrrDialogue, SourceName

Dialogues = Literal["rr_dialogues", "orr_dialogues"]

# A failed check names so many records; the rest is a count.
NAMED = 10


def check_wire_form(
    context: dg.AssetCheckExecutionContext, pipeline: Pipeline, dataset: Dialogues
) -> dg.AssetCheckResult:
    """Return whether every dialogue of the run's sources is in the wire form, exactly."""
    return _check(context, pipeline, dataset, _survives_the_wire)


def check_answers(
    context: dg.AssetCheckExecutionContext, pipeline: Pipeline, dataset: Dialogues
) -> dg.AssetCheckResult:
    """Return whether every dialogue of the run's sources ends with a gold answer."""
    return _check(context, pipeline, dataset, _ends_with_gold)


def _check(
    context: dg.AssetCheckExecutionContext,
    pipeline: Pipeline,
    dataset: Dialogues,
    holds: Callable[[Dialogue | OrrDialogue], bool],
) -> dg.AssetCheckResult:
    checked, failed = 0, []
    for source in context.partition_keys:
        manifest = parts.read_manifest(pipeline.store, dataset, cast("SourceName", source))
        records = parts.read_records(pipeline.store, manifest, RECORDS[dataset]) if manifest else ()
        for record in records:
            checked += 1
            if not holds(record):
                failed.append(record.id)
    metadata: dict[str, int | str] = {"checked": checked, "failed": len(failed)}
    if failed:
        metadata["first_failed"] = ", ".join(failed[:NAMED])
    return dg.AssetCheckResult(passed=not failed, metadata=metadata)


def _survives_the_wire(record: Dialogue | OrrDialogue) -> bool:
    system = record.messages[0].content
    try:
        if isinstance(record, Dialogue):
            transcript = wire.parse_rr(record.messages)
            spoken = wire.render_rr(record.transcript, system)
            return wire.render_rr(transcript, system) == record.messages == spoken
        return wire.render_orr(wire.parse_orr(record.messages), system) == record.messages
    except wire.WireError:
        return False


def _ends_with_gold(record: Dialogue | OrrDialogue) -> bool:
    try:
        is_rr = isinstance(record, Dialogue)
        answer = wire.parse_rr(record.messages).answer if is_rr else wire.parse_orr(record.messages).answer
    except wire.WireError:
        return False
    return answers.is_gold(answer, record.sample)
