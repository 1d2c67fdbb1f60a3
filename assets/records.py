"""What Dagster is told of a dataset: its version, what it was made from, and the event that told of that."""

from typing import Any

import dagster as dg

from assets.published import SOURCE_FILES
from mmat_dagster.datasets import code_version
from mmat_dagster.parts import Manifest
from mmat_dagster.pipeline import Built
from mmat_dagster.schema import SourceName

CODE_VERSION_TAG = "dagster/code_version"
DATA_VERSION_TAG = "dagster/data_version"
INPUT_DATA_VERSION_TAG = "dagster/input_data_version"
INPUT_EVENT_POINTER_TAG = "dagster/input_event_pointer"


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
            metadata=metadata,
            tags=tags,
        )
    )


def _inputs(context: dg.AssetExecutionContext, built: Built) -> dict[str, str]:
    """Return the tags by which Dagster knows what a dataset was made from: its version, and the event that told it."""
    source = built.manifest.source
    if built.source_state is not None:
        observed = _observe(context, source, built.source_state)
        return input_tags(SOURCE_FILES, built.source_state, observed)
    if built.upstream is None:
        return {}
    below = last_record(context, built.upstream.dataset, source)
    return input_tags(built.upstream.dataset, built.upstream.fingerprint, below)


def input_tags(name: str, version: str, told: dg.EventLogRecord | None) -> dict[str, str]:
    """Return the tags that name what something was made from: `version` of the asset `name`, told by an event."""
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


def is_recorded(context: dg.AssetExecutionContext, manifest: Manifest) -> bool:
    """Say whether Dagster's history already ends with this state of the dataset."""
    last = last_record(context, manifest.dataset, manifest.source)
    if last is None or last.asset_materialization is None:
        return False
    tags = last.asset_materialization.tags or {}
    return tags.get(DATA_VERSION_TAG) == manifest.fingerprint


def last_record(context: dg.AssetExecutionContext, asset: str, partition: str) -> dg.EventLogRecord | None:
    """Return the last materialization of one partition of an asset."""
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition])
    return next(iter(context.instance.fetch_materializations(wanted, limit=1).records), None)
