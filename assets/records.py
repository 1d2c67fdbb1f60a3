"""What Dagster is told of a dataset: its version, what it was made from, and the event that told of that."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.money import MODELS, spent_usd
from assets.published import SOURCE_FILES
from assets.quality_plots import Spent, draw_spending
from mmat_dagster.datasets import code_version
from mmat_dagster.markdown import picture
from mmat_dagster.parts import Manifest
from mmat_dagster.pipeline import Built
from mmat_dagster.schema import SourceName

CODE_VERSION_TAG = "dagster/code_version"
DATA_VERSION_TAG = "dagster/data_version"
INPUT_DATA_VERSION_TAG = "dagster/input_data_version"
INPUT_EVENT_POINTER_TAG = "dagster/input_event_pointer"

SPENT = {spent_usd(who) for who in (*MODELS, "search")}
# So many of them are drawn, the last ones.
MATERIALIZATIONS = 12


def record(context: dg.AssetExecutionContext, built: Built, metadata: dict[str, Any]) -> None:
    """Tell Dagster that a dataset of one source is up to date."""
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
            metadata={**metadata, **describe_history(context.instance, manifest, metadata)},
            tags=tags,
        )
    )


def describe_history(instance: dg.DagsterInstance, manifest: Manifest, spent: Mapping[str, Any]) -> dict[str, Any]:
    """Return as metadata the plot of what this materialization, which `spent`, and those before it have cost.

    Nothing where none has cost anything.
    """
    if not SPENT.intersection(spent):
        return {}
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(manifest.dataset), asset_partitions=[manifest.source])
    before = instance.fetch_materializations(wanted, limit=MATERIALIZATIONS - 1).records
    told = [
        (each.timestamp, {name: value.value for name, value in each.asset_materialization.metadata.items()})
        for each in reversed(before)
        if each.asset_materialization is not None
    ]
    history = [_spent(when, metadata) for when, metadata in [*told, (time.time(), spent)]]
    if not any(each.usd for each in history):
        return {}
    return {"dollars": dg.MetadataValue.md(picture("dollars", draw_spending(history), "png"))}


def _spent(when: float, metadata: Mapping[str, Any]) -> Spent:
    return Spent(
        label=datetime.fromtimestamp(when, UTC).strftime("%m-%d\n%H:%M"),
        models_usd=sum(float(metadata.get(spent_usd(who), 0.0)) for who in MODELS),
        search_usd=float(metadata.get(spent_usd("search"), 0.0)),
    )


def _inputs(context: dg.AssetExecutionContext, built: Built) -> dict[str, str]:
    """Return the tags by which Dagster knows what a dataset was made from: its version, and the event that told it."""
    source = built.manifest.source
    if built.source_state is not None:
        observed = _observe(context, source, built.source_state)
        return input_tags(SOURCE_FILES, built.source_state, observed)
    if built.upstream is None:
        return {}
    below = last_record(context.instance, built.upstream.dataset, source)
    return input_tags(built.upstream.dataset, built.upstream.fingerprint, below)


def input_tags(name: str, version: str, told: dg.EventLogRecord | None) -> dict[str, str]:
    """Return the tags that name what something was made from: `version` of the asset `name`, told by an event."""
    tags = {f"{INPUT_DATA_VERSION_TAG}/{name}": version}
    if told is not None:  # without it Dagster takes the upstream for a new one
        tags[f"{INPUT_EVENT_POINTER_TAG}/{name}"] = str(told.storage_id)
    return tags


def _observe(context: dg.AssetExecutionContext, source: SourceName, state: str) -> dg.EventLogRecord | None:
    """Tell Dagster which state a source's files were in, unless it is the last that it knows of."""
    observed = news_of(context.instance, source, state)
    if observed is not None:
        context.log_event(observed)
    return _last_observation(context.instance, source)


def news_of(instance: dg.DagsterInstance, source: SourceName, state: str) -> dg.AssetObservation | None:
    """Return what Dagster is to be told of a source's files in `state`; None where it was the last that it was told."""
    last = _last_observation(instance, source)
    tags = (last.asset_observation.tags or {}) if last and last.asset_observation else {}
    if tags.get(DATA_VERSION_TAG) == state:
        return None
    return dg.AssetObservation(asset_key=SOURCE_FILES, partition=source, tags={DATA_VERSION_TAG: state})


def _last_observation(instance: dg.DagsterInstance, source: SourceName) -> dg.EventLogRecord | None:
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(SOURCE_FILES), asset_partitions=[source])
    return next(iter(instance.fetch_observations(wanted, limit=1).records), None)


def is_recorded(context: dg.AssetExecutionContext, manifest: Manifest) -> bool:
    """Say whether Dagster's history already ends with this state of the dataset."""
    last = last_record(context.instance, manifest.dataset, manifest.source)
    if last is None or last.asset_materialization is None:
        return False
    tags = last.asset_materialization.tags or {}
    return tags.get(DATA_VERSION_TAG) == manifest.fingerprint


def last_record(instance: dg.DagsterInstance, asset: str, partition: str) -> dg.EventLogRecord | None:
    """Return the last materialization of one partition of an asset."""
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition])
    return next(iter(instance.fetch_materializations(wanted, limit=1).records), None)
