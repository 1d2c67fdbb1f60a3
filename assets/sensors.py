"""The sensor that goes on with a run when a batch that it waits for has ended; no worker waits meanwhile."""

import asyncio
from collections.abc import Iterator, Sequence

import dagster as dg

from assets.foundation import source_qa
from assets.integration import orr_dialogues
from assets.rationale import rationales
from assets.reflection import rr_dialogues
from assets.waiting import STATE_TAG, WAITING, assets_of, state_tags, waiting_for
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.spending import BatchState

CONTINUES_TAG = "mmat/continues"
RUNS_AT_ONCE = 100


@dg.sensor(
    target=[source_qa, rationales, rr_dialogues, orr_dialogues],
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Polls the teacher's batches; when one has ended, what waited for it is materialized again.",
)
def ended_batches(
    context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Ask for one run per source whose batch has ended since the run that waits for it began."""
    waiting = context.instance.get_run_records(dg.RunsFilter(tags={STATE_TAG: WAITING}), limit=RUNS_AT_ONCE)
    if not waiting:
        yield dg.SkipReason("No run waits for a batch.")
        return
    batches = asyncio.run(pipeline.tend_batches())
    for batch in batches:
        if batch.is_refused and batch.id not in (context.cursor or ""):
            context.log.warning(f"The provider has refused batch {batch.id} for {batch.label}: {batch.detail}")
    context.update_cursor(" ".join(batch.id for batch in batches if batch.is_refused))
    requests = [request for record in waiting for request in _continue(context.instance, record, batches)]
    if requests:
        yield from requests
    else:
        still_open = sum(batch.ended_at is None for batch in batches)
        yield dg.SkipReason(f"{len(waiting)} runs wait for {still_open} batches that have not ended.")


def _continue(
    instance: dg.DagsterInstance, record: dg.RunRecord, batches: Sequence[BatchState]
) -> Iterator[dg.RunRequest]:
    run = record.dagster_run
    labels = waiting_for(run.tags)
    begun_at = record.start_time or record.create_timestamp.timestamp()
    ready = {batch.label for batch in batches if batch.can_go_on and (batch.ended_at or 0.0) >= begun_at} & {*labels}
    for label in sorted(ready):
        source = label.rpartition(" of ")[2]
        yield dg.RunRequest(
            run_key=f"{run.run_id} {source}",
            partition_key=source,
            asset_selection=[dg.AssetKey(name) for name in assets_of(run.tags)],
            run_config=run.run_config,
            tags={CONTINUES_TAG: run.run_id},
        )
    if ready:
        instance.add_run_tags(run.run_id, state_tags({*labels} - ready))
