"""The sensor that tells people of runs that failed: what of which partitions, why in a sentence, and where to look.

A hook would see the steps of some jobs only. The sensor sees every run of the instance, whoever began it: schedule,
sensor, UI, or the command line, whose runs belong to no code location. It also sees those that were killed.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from assets.asking import partitions_of
from mmat_dagster.messages import MessageNotSent, Messenger, without_secrets

TOLD_LINES = 5
TOLD_CHARS = 300


def failed_runs(*, is_running: bool) -> dg.SensorDefinition:
    """Return the sensor; `is_running` where somebody has said whom to tell."""

    @dg.run_failure_sensor(
        name="failed_runs",
        description="Tells Slack, or the log where MMAT_SLACK_TOKEN is not set, of every run that failed.",
        default_status=dg.DefaultSensorStatus.RUNNING if is_running else dg.DefaultSensorStatus.STOPPED,
        # Runs of the command line belong to none.
        monitor_all_code_locations=True,
    )
    def sensor(context: dg.RunFailureSensorContext, messenger: dg.ResourceParam[Messenger]) -> None:
        told = describe_failure(context, messenger.webserver_url)
        context.log.error(told)
        try:
            messenger.send(told)
        except MessageNotSent as error:  # it fails the tick, which holds the text; Dagster goes on to the next run
            raise MessageNotSent(f"{error}\nIt was to be told: {told}") from error

    return sensor


def describe_failure(context: dg.RunFailureSensorContext, webserver: str | None) -> str:
    """Return what failed in which run, why, and the link to the run; without anything that looks like a secret."""
    run = context.dagster_run
    failures = context.get_step_failure_events()
    whys = [line for event in failures for line in _why(event)] or [context.failure_event.message or "no reason told"]
    left_out = f"\n(and {len(whys) - TOLD_LINES} more)" if len(whys) > TOLD_LINES else ""
    told = "\n".join(_cut(line) for line in whys[:TOLD_LINES]) + left_out
    link = f"\n{webserver}/runs/{run.run_id}" if webserver else ""
    return without_secrets(f"{_what(run, failures)} failed in the run {run.run_id[:8]} of {_job(run)}.\n{told}{link}")


def _what(run: dg.DagsterRun, failures: Sequence[dg.DagsterEvent]) -> str:
    """Return the failed steps, or where none has what the run was to make; and of which partitions."""
    names = [event.step_key for event in failures if event.step_key]
    if not names:
        names = sorted(key.to_user_string() for key in run.asset_selection or ())
    partitions = partitions_of(run.tags)
    return (", ".join(names) or "It") + (f" of {', '.join(partitions)}" if partitions else "")


def _job(run: dg.DagsterRun) -> str:
    return "assets" if run.job_name.startswith("__") else f"the job {run.job_name}"


def _why(event: dg.DagsterEvent) -> Iterator[str]:
    """Yield the reasons of a failed step: those that were told, one a line, or the error's first line."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        yield from filter(str.strip, data.user_failure_data.description.splitlines())
    elif data.error is not None:
        root = data.error.cause or data.error
        yield next(filter(str.strip, root.message.splitlines()), root.cls_name or "")


def _cut(line: str) -> str:
    return line if len(line) <= TOLD_CHARS else f"{line[:TOLD_CHARS]} …"
