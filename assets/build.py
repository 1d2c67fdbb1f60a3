"""What the data assets have in common: build the partitions that a run asks for, and tell Dagster what was made."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import dagster as dg
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from pydantic import Field

from assets.metadata import describe
from assets.money import describe_estimate, describe_spending, foretold
from assets.published import SOURCE_FILES
from assets.reporting import Reporter
from assets.waiting import run_tags, wait_for, waiting_for
from mmat_dagster.datasets import chain, code_version, label
from mmat_dagster.estimate import estimate_samples
from mmat_dagster.interfaces import LedgerError, StoreError, TeacherUnavailable
from mmat_dagster.pipeline import Built, Pipeline, RepliesPending, UpstreamMissing
from mmat_dagster.schema import DatasetName, SourceName
from mmat_dagster.sources.layout import SourceAbsent, SourceError
from mmat_dagster.tools import CorpusError, OperatorUnavailable

CODE_VERSION_TAG = "dagster/code_version"
DATA_VERSION_TAG = "dagster/data_version"
INPUT_DATA_VERSION_TAG = "dagster/input_data_version"
INPUT_EVENT_POINTER_TAG = "dagster/input_event_pointer"

# What would hit every sample: the run stops at once and tells what to do.
RUN_ERRORS = (CorpusError, LedgerError, OperatorUnavailable, StoreError, TeacherUnavailable)


class BuildConfig(dg.Config):
    """How a dataset is built."""

    upstream: Literal["build", "require"] = Field(
        default="build",
        description="What to do where an upstream dataset is missing or not up to date: build it first, or fail "
        "with the command that does.",
    )


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
        before = pipeline.spendings
        for built in pipeline.build(dataset, source, reporter.report, with_upstream=with_upstream):
            after = pipeline.spendings
            if built.manifest.dataset == dataset or not _is_recorded(context, built):
                _record(context, pipeline, built, describe_spending(before, after))
            before = after
            if built.manifest.dataset == "source_qa" and dataset != "source_qa":
                _foretell(context, pipeline, built)


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


def _record(context: dg.AssetExecutionContext, pipeline: Pipeline, built: Built, spent: dict[str, Any]) -> None:
    manifest = built.manifest
    context.log.info(
        f"{manifest.dataset} of {manifest.source}: {built.rows_in} in, {manifest.rows} out, "
        f"{manifest.rejected.total()} rejected, {built.reused_parts} of {len(manifest.parts)} parts reused"
    )
    tags = {CODE_VERSION_TAG: code_version(manifest.dataset), DATA_VERSION_TAG: manifest.fingerprint}
    tags |= _inputs(context, built)
    context.log_event(
        dg.AssetMaterialization(
            asset_key=manifest.dataset,
            partition=manifest.source,
            metadata={**describe(pipeline, built), **spent},
            tags=tags,
        )
    )


def _inputs(context: dg.AssetExecutionContext, built: Built) -> dict[str, str]:
    """Return the tags by which Dagster knows what a dataset was made from: its version, and the event that told it."""
    source = built.manifest.source
    if built.source_state is not None:
        observed = _observe(context, source, built.source_state)
        return _input_tags(SOURCE_FILES, built.source_state, observed)
    if built.upstream is None:
        return {}
    below = _last_record(context, built.upstream.dataset, source)
    return _input_tags(built.upstream.dataset, built.upstream.fingerprint, below)


def _input_tags(name: str, version: str, told: dg.EventLogRecord | None) -> dict[str, str]:
    tags = {f"{INPUT_DATA_VERSION_TAG}/{name}": version}
    if told is not None:  # without it Dagster takes the upstream for a new one
        tags[f"{INPUT_EVENT_POINTER_TAG}/{name}"] = str(told.storage_id)
    return tags


def _observe(context: dg.AssetExecutionContext, source: SourceName, state: str) -> dg.EventLogRecord | None:
    """Tell Dagster which state a source's files were in, unless it is the last that it knows of."""
    last = _last_observation(context, source)
    tags = (last.asset_observation.tags or {}) if last and last.asset_observation else {}
    if tags.get(DATA_VERSION_TAG) == state:
        return last
    context.log_event(dg.AssetObservation(asset_key=SOURCE_FILES, partition=source, tags={DATA_VERSION_TAG: state}))
    return _last_observation(context, source)


def _last_observation(context: dg.AssetExecutionContext, source: SourceName) -> dg.EventLogRecord | None:
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(SOURCE_FILES), asset_partitions=[source])
    return next(iter(context.instance.fetch_observations(wanted, limit=1).records), None)


def _is_recorded(context: dg.AssetExecutionContext, built: Built) -> bool:
    """Say whether Dagster's history already ends with this state of the dataset."""
    last = _last_record(context, built.manifest.dataset, built.manifest.source)
    if last is None or last.asset_materialization is None:
        return False
    tags = last.asset_materialization.tags or {}
    return tags.get(DATA_VERSION_TAG) == built.manifest.fingerprint


def _last_record(
    context: dg.AssetExecutionContext, dataset: DatasetName, source: SourceName
) -> dg.EventLogRecord | None:
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(dataset), asset_partitions=[source])
    return next(iter(context.instance.fetch_materializations(wanted, limit=1).records), None)
