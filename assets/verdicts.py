"""Verdicts of asset checks, source by source: a run over several sources tells Dagster of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from mmat_dagster.schema import SourceName

# A failed check names so many records; the rest is a count.
NAMED = 10


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check found in one source; `failed` are the ids of the records that do not hold."""

    checked: int = 0
    failed: tuple[str, ...] = ()
    report: Mapping[str, dg.MetadataValue[str]] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, dg.MetadataValue[str] | int | str]:
        """What the UI shows."""
        named = {"first_failed": ", ".join(self.failed[:NAMED])} if self.failed else {}
        return {"checked": self.checked, "failed": len(self.failed), **named, **self.report}


def judge(context: dg.AssetCheckExecutionContext, check: Callable[[SourceName], Verdict | None]) -> dg.AssetCheckResult:
    """Check every source of the run, None standing for one that is not built, and return what came of all.

    Dagster takes one result a check, and in a run over several partitions for none of them: each is told apart.
    """
    found = {key: check(cast("SourceName", key)) for key in context.partition_keys}
    verdicts = {key: verdict for key, verdict in found.items() if verdict is not None}
    if len(found) > 1:
        for source, verdict in verdicts.items():
            # It takes evaluations too, as its code says and its annotation does not.
            context.op_execution_context.log_event(_evaluation(context, source, verdict))  # type: ignore[arg-type]
    whole = Verdict(
        checked=sum(verdict.checked for verdict in verdicts.values()),
        failed=tuple(failed for verdict in verdicts.values() for failed in verdict.failed),
        report={name: table for verdict in verdicts.values() for name, table in verdict.report.items()},
    )
    return dg.AssetCheckResult(passed=not whole.failed, metadata=whole.metadata)


def _evaluation(context: dg.AssetCheckExecutionContext, source: str, verdict: Verdict) -> dg.AssetCheckEvaluation:
    (key,) = context.selected_asset_check_keys
    wanted = dg.AssetRecordsFilter(asset_key=key.asset_key, asset_partitions=[source])
    last = next(iter(context.instance.fetch_materializations(wanted, limit=1).records), None)
    return dg.AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=not verdict.failed,
        metadata=verdict.metadata,
        partition=source,
        target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
            storage_id=last.storage_id, run_id=last.run_id, timestamp=last.timestamp
        )
        if last
        else None,
    )
