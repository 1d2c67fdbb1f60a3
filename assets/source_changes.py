"""The sensor that asks for a source when its folder has changed, and tells Dagster of what it now holds.

It asks once for each change. A run that fails is not asked for again until the folder changes once more: what would
fail again costs nothing, and whoever has mended something else materializes by hand or waits for the schedule.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import dagster as dg
import orjson

from assets.asking import Asking, find_stale, what_is_made
from assets.audit import dialogue_audit
from assets.foundation import source_qa
from assets.integration import orr_dialogues
from assets.partitions import SOURCES
from assets.published import SOURCE_FILES
from assets.rationale import rationales
from assets.records import INPUT_DATA_VERSION_TAG, last_record, news_of
from assets.reflection import rr_dialogues
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.schema import DatasetName, SourceName
from mmat_dagster.sources.layout import SourceError
from mmat_dagster.sources.state import Glance
from mmat_dagster.staleness import Patience, look_at_folder


@dg.sensor(
    target=[source_qa, rationales, rr_dialogues, orr_dialogues, dialogue_audit],
    minimum_interval_seconds=120,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Looks at the sources' folders. When one has changed, and nothing in it has for a while, Dagster is "
    "told its new data version, and the source is built anew.",
)
def changed_sources(
    context: dg.SensorEvaluationContext,
    pipeline: dg.ResourceParam[Pipeline],
    patience: dg.ResourceParam[Patience],
) -> dg.SensorResult:
    """Ask for one run for each source whose files are others than its samples were made of."""
    known: dict[str, str] = orjson.loads(context.cursor) if context.cursor else {}
    asking = Asking(instance=context.instance, pipeline=pipeline, patience=patience)
    looks = {key: _look(asking, cast("SourceName", key), known.get(key)) for key in SOURCES.get_partition_keys()}
    reasons = [f"{key}: {look.asked}" for key, look in looks.items() if isinstance(look.asked, str)]
    requests = [look.asked for look in looks.values() if isinstance(look.asked, dg.RunRequest)]
    for reason in reasons if requests else ():
        context.log.info(reason)
    settled = {key: look.settled for key, look in looks.items() if look.settled is not None}
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else dg.SkipReason("\n".join(reasons)),
        cursor=orjson.dumps(settled).decode(),
        asset_events=[look.observed for look in looks.values() if look.observed is not None],
    )


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What came of looking at a source: what is asked for or why nothing is, and what Dagster is told.

    `settled` are the stamps of files of which there is nothing more to say until they change.
    """

    asked: dg.RunRequest | str
    settled: str | None = None
    observed: dg.AssetObservation | None = None


def _look(asking: Asking, source: SourceName, settled: str | None) -> _Look:
    seen = look_at_folder(asking.pipeline, source, asking.patience, time.time())
    if isinstance(seen, str):
        return _Look(asked=seen, settled=settled)
    if seen.stamps == settled:
        return _Look(asked="its files have not changed since they were last looked at.", settled=settled)
    try:
        state = asking.pipeline.source_parts(source).state() if asking.patience.can_read(seen) else None
    except SourceError as error:
        return _Look(asked=str(error))
    observed = news_of(asking.instance, source, state) if state is not None else None
    return replace(_decide(asking, source, seen, state), observed=observed)


def _decide(asking: Asking, source: SourceName, seen: Glance, state: str | None) -> _Look:
    """Say what is asked for of a source whose files are new to the sensor, and in `state` where that is known."""
    made = what_is_made(asking.instance, source)
    if made is not None:
        return _Look(asked=made)
    if state is not None and state == _last_state(asking.instance, source):
        return _Look(asked="its files are those that it was built from.", settled=seen.stamps)
    stale = find_stale(asking, source, seen)
    if isinstance(stale, str):  # it may be told at the next look
        return _Look(asked=stale)
    return _Look(asked=_request(source, seen, stale) if stale else "it is up to date.", settled=seen.stamps)


def _request(source: SourceName, seen: Glance, stale: Sequence[DatasetName]) -> dg.RunRequest:
    # With the time of the change: a folder that becomes again what it was before is another change.
    run_key = f"{source} {seen.stamps} {seen.changed_at:.0f}"
    return dg.RunRequest(
        run_key=run_key, partition_key=source, asset_selection=[dg.AssetKey(dataset) for dataset in stale]
    )


def _last_state(instance: dg.DagsterInstance, source: SourceName) -> str | None:
    """Return the state of the files that the samples of `source` were last made from."""
    last = last_record(instance, "source_qa", source)
    tags = (last.asset_materialization.tags or {}) if last and last.asset_materialization else {}
    return tags.get(f"{INPUT_DATA_VERSION_TAG}/{SOURCE_FILES}")
