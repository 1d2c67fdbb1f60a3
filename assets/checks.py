"""What the asset checks of RR and ORR dialogues have in common: one pass over the records for all of them."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Literal, TypeVar

import dagster as dg
from pydantic import Field

from assets.leaks import UNGUARDED
from assets.partitions import SOURCES
from assets.verdicts import NAMED, Verdict, sources_of, tell
from mmat_dagster import audit, parts
from mmat_dagster.audit.check import Check, Outcome, check_all
from mmat_dagster.audit.integrated import Integrated, pair
from mmat_dagster.audit.samples import Policy
from mmat_dagster.duplicates import Seen
from mmat_dagster.parts import Manifest
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.schema import Dialogue, OrrDialogue, SourceName

Prefix = Literal["rr", "orr"]
ASSETS: Mapping[Prefix, str] = {"rr": "rr_dialogues", "orr": "orr_dialogues"}
CHECKS: Mapping[Prefix, tuple[str, ...]] = {
    "rr": audit.OF_DIALOGUES,
    "orr": audit.OF_INTEGRATED,
}
BLOCKING = frozenset({audit.WIRE_FORM, audit.ANSWERS})
# What a person should look at, and a training can live with.
WARNINGS = frozenset({audit.QUOTES, audit.REFLECTIONS, audit.LENGTH, audit.DUPLICATES})
NOT_COMPARED = "Compared with no RR dialogues: they have changed since. Materialize orr_dialogues again."

Subject = TypeVar("Subject")


class ChecksConfig(dg.Config):
    """What checks of dialogues put up with."""

    max_answer_loss: float = Field(
        default=0.01,
        ge=0.0,
        le=1.0,
        description="The share of a source's dialogues whose answer may be no gold one: up to here it is a warning, "
        "above it an error, and what stands on the dialogues is not built.",
    )


def specs(prefix: Prefix) -> list[dg.AssetCheckSpec]:
    """Return the checks of RR or ORR dialogues as Dagster knows them."""
    return [
        dg.AssetCheckSpec(
            f"{prefix}_{name}",
            asset=ASSETS[prefix],
            description=audit.DESCRIPTIONS[name],
            blocking=name in BLOCKING,
            partitions_def=SOURCES,
        )
        for name in CHECKS[prefix]
    ]


def check_rr(
    context: dg.AssetCheckExecutionContext, config: ChecksConfig, pipeline: Pipeline
) -> Iterator[dg.AssetCheckResult]:
    """Yield the result of every check of the RR dialogues of the run's sources."""

    def look(source: SourceName, names: Collection[str]) -> Mapping[str, Outcome]:
        manifest = parts.read_manifest(pipeline.store, "rr_dialogues", source)
        if manifest is None:
            return {}
        records = parts.read_records(pipeline.store, manifest, Dialogue)
        with closing(Seen()) as seen:
            checks = _chosen(audit.dialogue_checks(_policy(pipeline), seen), names)
            return check_all(checks, records, lambda dialogue: dialogue.id, NAMED)

    return _check(context, config, pipeline, "rr", look)


def check_orr(
    context: dg.AssetCheckExecutionContext, config: ChecksConfig, pipeline: Pipeline
) -> Iterator[dg.AssetCheckResult]:
    """Yield the result of every check of the ORR dialogues of the run's sources."""

    def look(source: SourceName, names: Collection[str]) -> Mapping[str, Outcome]:
        with closing(Seen()) as seen:
            checks = _chosen(audit.integrated_checks(_policy(pipeline), seen), names)
            subjects = _integrated(pipeline, source)
            return {} if subjects is None else check_all(checks, subjects, lambda each: each.record.id, NAMED)

    return _check(context, config, pipeline, "orr", look)


def _integrated(pipeline: Pipeline, source: SourceName) -> Iterator[Integrated] | None:
    """Return the ORR dialogues of a source, each with its RR dialogue where these are what it was made from."""
    manifest = parts.read_manifest(pipeline.store, "orr_dialogues", source)
    if manifest is None:
        return None
    below = _made_from(pipeline, manifest)
    dialogues = parts.read_records(pipeline.store, below, Dialogue) if below is not None else None
    return pair(parts.read_records(pipeline.store, manifest, OrrDialogue), dialogues)


def _made_from(pipeline: Pipeline, manifest: Manifest) -> Manifest | None:
    """Return the RR dialogues that ORR dialogues were made from; None where there are others now."""
    below = parts.read_manifest(pipeline.store, "rr_dialogues", manifest.source)
    return below if below is not None and manifest.is_made_from(below) else None


def _check(
    context: dg.AssetCheckExecutionContext,
    config: ChecksConfig,
    pipeline: Pipeline,
    prefix: Prefix,
    look: Callable[[SourceName, Collection[str]], Mapping[str, Outcome]],
) -> Iterator[dg.AssetCheckResult]:
    keys = {key.name.removeprefix(f"{prefix}_"): key for key in context.selected_asset_check_keys}
    outcomes = {source: look(source, keys) for source in sources_of(context)}
    for name in (name for name in CHECKS[prefix] if name in keys):
        verdicts = {
            source: _verdict(name, found[name], config, _note(name, source, pipeline))
            for source, found in outcomes.items()
            if found
        }
        yield tell(context, keys[name], verdicts, is_blocking=name in BLOCKING)


def _verdict(name: str, outcome: Outcome, config: ChecksConfig, note: str | None) -> Verdict:
    is_warning = name in WARNINGS
    if name == audit.ANSWERS:
        is_warning = outcome.failed <= config.max_answer_loss * outcome.checked
    return Verdict(
        checked=outcome.checked,
        failed=outcome.failed,
        first=outcome.first,
        report={} if note is None else {"note": dg.MetadataValue.text(note)},
        severity=dg.AssetCheckSeverity.WARN if is_warning else dg.AssetCheckSeverity.ERROR,
    )


def _note(name: str, source: SourceName, pipeline: Pipeline) -> str | None:
    """Return why a check has less to say than its name."""
    if name == audit.LEAKS and pipeline.settings.benchmarks is None:
        return UNGUARDED
    manifest = parts.read_manifest(pipeline.store, "orr_dialogues", source) if name == audit.KEEPS else None
    return NOT_COMPARED if manifest is not None and _made_from(pipeline, manifest) is None else None


def _chosen(checks: Sequence[Check[Subject]], names: Collection[str]) -> list[Check[Subject]]:
    return [check for check in checks if check.name in names]


def _policy(pipeline: Pipeline) -> Policy:
    return Policy(leaks=pipeline.settings.leaks, allow_non_commercial=pipeline.settings.allow_non_commercial)
