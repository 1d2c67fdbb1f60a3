"""Runs over several sources in which a blocking check failed for some: the tag that keeps these from going on.

    mmat/blocked   rr_dialogues of tabmwp: rr_wire_form_round_trips; ...

Dagster blocks all partitions of a run or none: steps that stand on the asset read the tag, and leave its sources out.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol, cast

import dagster as dg

from mmat_dagster.datasets import chain, label
from mmat_dagster.schema import DatasetName, SourceName

BLOCKED_TAG = "mmat/blocked"
SEPARATOR, MARK = "; ", ": "


class InRun(Protocol):
    """What an asset's and a check's context have in common."""

    @property
    def instance(self) -> dg.DagsterInstance:
        """Where the run's history is kept."""

    @property
    def run(self) -> dg.DagsterRun:
        """The run."""


def block(context: InRun, key: dg.AssetCheckKey, sources: Iterable[SourceName]) -> None:
    """Mark the run as one in which nothing stands on the asset of `key` for `sources`."""
    dataset = cast("DatasetName", key.asset_key.to_user_string())
    told = {f"{label(dataset, source)}{MARK}{key.name}" for source in sources}
    tags = {BLOCKED_TAG: SEPARATOR.join(sorted({*_read(context), *told}))}
    context.instance.add_run_tags(context.run.run_id, tags)


def what_blocks(context: InRun, dataset: DatasetName, source: SourceName) -> str | None:
    """Return which check blocks `dataset` of `source` in this run, and what it is about; None where none does."""
    below = {label(each, source) for each in chain(dataset)[:-1]}
    blocked = [entry.partition(MARK) for entry in _read(context)]
    return next((f"the check {check} of {about} has failed" for about, _, check in blocked if about in below), None)


def _read(context: InRun) -> Collection[str]:
    run = context.instance.get_run_by_id(context.run.run_id)
    tags: Mapping[str, str] = run.tags if run else {}
    return [entry for entry in tags.get(BLOCKED_TAG, "").split(SEPARATOR) if entry]
