"""What a schedule or sensor asks for: the stale datasets of a source, once, or in words why nothing is asked for.

A run that is queued, at work, or waits for a batch is doing it already: none is asked for beside it.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from assets.build import RUN_ERRORS
from assets.partitions import SOURCES
from assets.waiting import STATE_TAG, WAITING, waiting_for
from mmat_dagster.datasets import chain, label
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.schema import DatasetName, SourceName
from mmat_dagster.sources.layout import SourceError
from mmat_dagster.sources.state import Glance
from mmat_dagster.staleness import Patience, look_at_folder, stale_datasets, wanted_datasets

PARTITION_TAG = "dagster/partition"
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
DATASETS: frozenset[str] = frozenset(get_args(DatasetName))
# The jobs whose runs make datasets without naming them.
DATA_JOBS = frozenset({"data"})
RUNS_AT_ONCE = 100


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Who asks, and how patiently."""

    instance: dg.DagsterInstance
    pipeline: Pipeline
    patience: Patience


def ask(asking: Asking, source: SourceName) -> tuple[DatasetName, ...] | str:
    """Return what is stale of `source` and nobody makes yet; in words why nothing is asked for, where that is so."""
    seen = look_at_folder(asking.pipeline, source, asking.patience, time.time())
    if isinstance(seen, str):
        return seen
    return what_is_made(asking.instance, source) or find_stale(asking, source, seen) or "it is up to date."


def find_stale(asking: Asking, source: SourceName, seen: Glance) -> tuple[DatasetName, ...] | str:
    """Return what is stale of `source`, all of it where its new files are too large to be read here."""
    if not asking.patience.can_read(seen):
        return wanted_datasets(asking.pipeline, source)
    try:
        return stale_datasets(asking.pipeline, source)
    except (SourceError, *RUN_ERRORS) as error:
        return f"whether it is stale cannot be told. {error}"


def what_is_made(instance: dg.DagsterInstance, source: SourceName) -> str | None:
    """Return in words which run makes datasets of `source` now or waits for a batch of theirs; None where none does."""
    unfinished = instance.get_run_records(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    for record in unfinished:
        if makes(record.dagster_run, source):
            run = record.dagster_run
            return f"the run {run.run_id[:8]} of it is {run.status.value.lower().replace('_', ' ')}."
    waiting = instance.get_run_records(dg.RunsFilter(tags={STATE_TAG: WAITING}), limit=RUNS_AT_ONCE)
    for record in waiting:
        if _is_waiting(instance, record, source):
            return (
                f"the run {record.dagster_run.run_id[:8]} of it waits for a batch. The sensor `ended_batches` goes on "
                "with it; so does materializing by hand."
            )
    return None


def makes(run: dg.DagsterRun, source: SourceName) -> bool:
    """Say whether a run makes datasets of `source`."""
    names = run.asset_selection
    is_of_data = run.job_name in DATA_JOBS if names is None else any(key.to_user_string() in DATASETS for key in names)
    return is_of_data and source in partitions_of(run.tags)


def partitions_of(tags: Mapping[str, str]) -> Collection[str]:
    """Return the partitions that a run was asked for; those of a range are sources."""
    if PARTITION_TAG in tags:
        return {tags[PARTITION_TAG]}
    first, last = (tags.get(name, "") for name in RANGE_TAGS)
    keys = SOURCES.get_partition_keys()
    return keys[keys.index(first) : keys.index(last) + 1] if first in keys and last in keys else ()


def _is_waiting(instance: dg.DagsterInstance, record: dg.RunRecord, source: SourceName) -> bool:
    """Say whether a run that waits for a batch waits for one of `source`, and none came after it."""
    if not {label(dataset, source) for dataset in chain("orr_dialogues")} & {*waiting_for(record.dagster_run.tags)}:
        return False
    # Some databases know the second of a run's creation only; the number tells which of two came later.
    about_then = record.create_timestamp - timedelta(seconds=1)
    later = instance.get_run_records(dg.RunsFilter(created_after=about_then))
    return not any(makes(each.dagster_run, source) for each in later if each.storage_id > record.storage_id)
