"""Verdicts of asset checks, source by source: a run over several sources tells Dagster of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from assets.blocking import block
from mmat_dagster.schema import SourceName

# A failed check names so many records; the rest is a count.
NAMED = 10


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check found in one source: how many records do not hold, the first ones by id, each with why if told.

    `severity` is that of a failure.
    """

    checked: int = 0
    failed: int = 0
    first: Mapping[str, str] = field(default_factory=dict)
    report: Mapping[str, dg.MetadataValue[str]] = field(default_factory=dict)
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR

    @property
    def is_error(self) -> bool:
        """Say whether it is a failure that is no mere warning."""
        return self.failed > 0 and self.severity == dg.AssetCheckSeverity.ERROR

    @property
    def metadata(self) -> dict[str, Any]:
        """What the UI shows."""
        shown: dict[str, Any] = {"checked": self.checked, "failed": self.failed}
        if self.first:
            shown["first_failed"] = ", ".join(self.first)
        if any(self.first.values()):
            shown["why"] = dg.MetadataValue.json(dict(self.first))
        return {**shown, **self.report}


def judge(context: dg.AssetCheckExecutionContext, check: Callable[[SourceName], Verdict | None]) -> dg.AssetCheckResult:
    """Check every source of the run, None standing for one that is not built, and return what came of all."""
    (key,) = context.selected_asset_check_keys
    found = {source: check(source) for source in sources_of(context)}
    return tell(context, key, {source: verdict for source, verdict in found.items() if verdict is not None})


def tell(
    context: dg.AssetCheckExecutionContext,
    key: dg.AssetCheckKey,
    verdicts: Mapping[SourceName, Verdict],
    *,
    is_blocking: bool = False,
) -> dg.AssetCheckResult:
    """Return what came of all sources of the run, after telling of each where there are several.

    Dagster takes one result a check, and in a run over several partitions for none of them: each is told apart. An
    error there of a blocking check would stop the sources that are sound too; so it is told as a warning, and the
    sources that it is about are blocked by name.
    """
    is_range = len(context.partition_keys) > 1
    if is_range:
        for source, verdict in verdicts.items():
            # It takes evaluations too, as its code says and its annotation does not.
            context.op_execution_context.log_event(_evaluation(context, key, source, verdict))  # type: ignore[arg-type]
    errors = [source for source, verdict in verdicts.items() if verdict.is_error]
    stops_all = len(errors) == len(verdicts)
    if is_blocking and is_range and errors and not stops_all:
        block(context, key, errors)
    is_error = bool(errors) and not (is_blocking and is_range and not stops_all)
    return dg.AssetCheckResult(
        passed=not any(verdict.failed for verdict in verdicts.values()),
        asset_key=key.asset_key,
        check_name=key.name,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        metadata=_whole(verdicts).metadata,
    )


def sources_of(context: dg.AssetCheckExecutionContext) -> list[SourceName]:
    """Return the sources of the run."""
    return [cast("SourceName", key) for key in context.partition_keys]


def _whole(verdicts: Mapping[SourceName, Verdict]) -> Verdict:
    first = ((record, why) for verdict in verdicts.values() for record, why in verdict.first.items())
    return Verdict(
        checked=sum(verdict.checked for verdict in verdicts.values()),
        failed=sum(verdict.failed for verdict in verdicts.values()),
        first=dict(islice(first, NAMED)),
        report={name: table for verdict in verdicts.values() for name, table in verdict.report.items()},
    )


def _evaluation(
    context: dg.AssetCheckExecutionContext, key: dg.AssetCheckKey, source: str, verdict: Verdict
) -> dg.AssetCheckEvaluation:
    wanted = dg.AssetRecordsFilter(asset_key=key.asset_key, asset_partitions=[source])
    last = next(iter(context.instance.fetch_materializations(wanted, limit=1).records), None)
    return dg.AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=not verdict.failed,
        severity=verdict.severity,
        metadata=verdict.metadata,
        partition=source,
        target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
            storage_id=last.storage_id, run_id=last.run_id, timestamp=last.timestamp
        )
        if last
        else None,
    )
