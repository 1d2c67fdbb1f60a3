"""What the asset checks of RR and ORR dialogues have in common: look at every record, name the first bad ones."""

from collections.abc import Callable
from typing import Literal

import dagster as dg

from assets.verdicts import Verdict, judge
from mmat_dagster import answers, parts, wire
from mmat_dagster.datasets import RECORDS
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.schema import Dialogue, OrrDialogue, SourceName

Dialogues = Literal["rr_dialogues", "orr_dialogues"]


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
    def check(source: SourceName) -> Verdict | None:
        manifest = parts.read_manifest(pipeline.store, dataset, source)
        if manifest is None:
            return None
        checked, failed = 0, []
        for record in parts.read_records(pipeline.store, manifest, RECORDS[dataset]):
            checked += 1
            if not holds(record):
                failed.append(record.id)
        return Verdict(checked=checked, failed=tuple(failed))

    return judge(context, check)


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
