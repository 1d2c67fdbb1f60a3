"""Runs that wait for a batch: the tags that mark them.

A run that meets replies which come with a batch ends well, without a materialization of what waits, and is tagged

    mmat/batch        waiting, later continued
    mmat/waiting_for  rationales of tabmwp, rationales of infoseek
    mmat/assets       rationales, rr_dialogues: what it was to materialize
"""

from collections.abc import Collection, Mapping

import dagster as dg

from mmat_dagster.schema import DatasetName

STATE_TAG = "mmat/batch"
LABELS_TAG = "mmat/waiting_for"
ASSETS_TAG = "mmat/assets"
WAITING, CONTINUED = "waiting", "continued"
SEPARATOR = ", "


def waiting_for(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return what a run waits for, as `<dataset> of <source>`; empty for one that does not."""
    return _read(tags, LABELS_TAG)


def assets_of(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return what a waiting run was to materialize."""
    return _read(tags, ASSETS_TAG)


def wait_for(context: dg.AssetExecutionContext, dataset: DatasetName, label: str) -> None:
    """Mark the run as one that was to make `dataset` and waits for `label`."""
    tags = run_tags(context)
    assets = {*assets_of(tags), dataset}
    context.instance.add_run_tags(
        context.run.run_id,
        {**state_tags({*waiting_for(tags), label}), ASSETS_TAG: SEPARATOR.join(sorted(assets))},
    )


def run_tags(context: dg.AssetExecutionContext) -> Mapping[str, str]:
    """Return the run's tags as they are now; a step before this one may have added some."""
    run = context.instance.get_run_by_id(context.run.run_id)
    return run.tags if run else {}


def state_tags(labels: Collection[str]) -> dict[str, str]:
    """Return the tags of a run that waits for `labels`, or of one that was continued where there are none."""
    if not labels:
        return {STATE_TAG: CONTINUED}
    return {STATE_TAG: WAITING, LABELS_TAG: SEPARATOR.join(sorted(labels))}


def _read(tags: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(filter(None, tags.get(name, "").split(SEPARATOR)))
