"""What the data assets have in common: build the partitions that a run asks for, and tell Dagster what was made."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import dagster as dg
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from pydantic import Field

from assets.blocking import what_blocks
from assets.metadata import describe
from assets.money import describe_estimate, describe_spending, foretold
from assets.records import is_recorded, record
from assets.reporting import Reporter
from assets.waiting import run_tags, wait_for, waiting_for
from mmat_dagster.datasets import chain, label
from mmat_dagster.engine import EngineError
from mmat_dagster.estimate import estimate_samples
from mmat_dagster.interfaces import LedgerError, StoreError, TeacherUnavailable
from mmat_dagster.parts import Manifest
from mmat_dagster.pipeline import Built, Pipeline, RepliesPending, UpstreamMissing
from mmat_dagster.schema import DatasetName, SourceName
from mmat_dagster.sources.layout import SourceAbsent, SourceError
from mmat_dagster.tools import CorpusError, OperatorUnavailable

# What would hit every sample: the run stops at once and tells what to do.
RUN_ERRORS = (CorpusError, EngineError, LedgerError, OperatorUnavailable, StoreError, TeacherUnavailable)


class BuildConfig(dg.Config):
    """How a dataset is built."""

    upstream: Literal["build", "require"] = Field(
        default="build",
        description="What to do where an upstream dataset is missing or not up to date: build it first, or fail "
        "with the command that does.",
    )

    def describe(self, pipeline: Pipeline, built: Built) -> dict[str, Any]:
        """Return what the UI shows of a dataset."""
        return describe(pipeline, built)


def build(
    context: dg.AssetExecutionContext, config: BuildConfig, pipeline: Pipeline, dataset: DatasetName
) -> dg.MaterializeResult[None]:
    """Build `dataset` for every source that the run asks for; each is recorded as soon as it is finished.

    In a run over several sources one that fails does not stop the others: an absent folder is a warning unless all are
    absent, anything else fails the run at its end.
    """
    sources = [cast("SourceName", key) for key in context.partition_keys]
    outcomes = {source: _try_source(context, config, pipeline, dataset, source) for source in sources}
    are_all_absent = all(outcome.kind == "absent" for outcome in outcomes.values())
    failures = [
        f"{dataset} of {source}: {outcome.why}"
        for source, outcome in outcomes.items()
        if outcome.kind == "failed" or are_all_absent
    ]
    if failures:
        raise dg.Failure(description="\n".join(failures), allow_retries=False)
    # Every source was recorded above, when it was finished. This key keeps Dagster from recording the whole range once
    # more, absent sources included, while steps further down still see a result.
    return dg.MaterializeResult(metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True})


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What came of one source of a run; `why` where it is not there now."""

    kind: Literal["built", "waiting", "absent", "failed"]
    why: str = ""


def _try_source(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    pipeline: Pipeline,
    dataset: DatasetName,
    source: SourceName,
) -> _Outcome:
    """Build one source; what would hit every other one too ends the run."""
    waiting = {label(below, source) for below in chain(dataset)} & {*waiting_for(run_tags(context))}
    if waiting:  # a step before this one has said so
        wait_for(context, dataset, waiting.pop())
        return _Outcome(kind="waiting")
    obstacle = what_blocks(context, dataset, source)
    if obstacle is not None:
        return _Outcome(kind="failed", why=f"not built, since {obstacle}")
    try:
        _build_source(context, config, pipeline, dataset, source)
    except SourceAbsent as absent:
        context.log.warning(f"{dataset} of {source} was not built. {absent}")
        return _Outcome(kind="absent", why=str(absent))
    except RepliesPending as pending:
        context.log.info(
            f"{pending}. The sensor `ended_batches` goes on when it has ended; so does materializing again by hand."
        )
        wait_for(context, dataset, pending.label)
        return _Outcome(kind="waiting")
    except (SourceError, UpstreamMissing) as error:
        return _Outcome(kind="failed", why=str(error))
    except RUN_ERRORS as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    return _Outcome(kind="built")


def _build_source(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    pipeline: Pipeline,
    dataset: DatasetName,
    source: SourceName,
) -> None:
    with Reporter(context.log) as reporter:
        with_upstream = config.upstream == "build"
        builds = pipeline.build(dataset, source, reporter.report, with_upstream=with_upstream)
        _record_all(context, config, pipeline, builds, dataset)


def provide(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    pipeline: Pipeline,
    dataset: DatasetName,
    source: SourceName,
) -> Manifest:
    """Return `dataset` of `source`, up to date, for an asset that stands on it; tell Dagster what it has not heard."""
    with Reporter(context.log) as reporter:
        with_upstream = config.upstream == "build"
        builds = pipeline.provide(dataset, source, reporter.report, with_upstream=with_upstream)
        return _record_all(context, config, pipeline, builds, None)


def _record_all(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    pipeline: Pipeline,
    builds: Iterator[Built],
    wanted: DatasetName | None,
) -> Manifest:
    """Record what is built as it comes, the `wanted` dataset also where it has not changed; return the last one."""
    before = pipeline.spendings
    for built in builds:
        after = pipeline.spendings
        if built.manifest.dataset == wanted or not is_recorded(context, built.manifest):
            record(context, built, {**config.describe(pipeline, built), **describe_spending(before, after)})
        before = after
        if built.manifest.dataset == "source_qa" and wanted != "source_qa":
            _foretell(context, pipeline, built)
    return built.manifest


def _foretell(context: dg.AssetExecutionContext, pipeline: Pipeline, built: Built) -> None:
    """Tell what the source will cost, before the teacher is asked for the first time."""
    source = built.manifest.source
    if pipeline.teacher.spending is None or pipeline.current("rationales", source) is not None:
        return
    foreseen = estimate_samples(pipeline, built.manifest)
    if foreseen.by_dataset:
        context.log.info(foretold(foreseen))
        observation = dg.AssetObservation(
            asset_key="rationales", partition=source, metadata=describe_estimate(foreseen), description="before asking"
        )
        context.log_event(observation)
