"""On a live deployment backfills build the sources, the pool bounds them, and what is killed is told and made good."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest

from assets.asking import partitions_of
from assets.partitions import TEACHER_POOL
from mmat_dagster import parts
from mmat_dagster.schema import SourceName
from resources.store import LocalStore
from tests import live_deployment, postgres, slack_server
from tests.live_deployment import ORIGIN, RUNS_S, Deployment, clean, deployment, ended, process_of, wait
from tests.slack_server import TOKEN, SlackServer

FEW = {"MMAT_LIMIT": "8"}
SOURCES: tuple[SourceName, ...] = get_args(SourceName)
IN_POOL = {"rationales", "rr_dialogues", "dialogue_audit"}
BACKFILL = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}
"""
LIMIT = "mutation ($pool: String!, $runs: Int!) { setConcurrencyLimit(concurrencyKey: $pool, limit: $runs) }"
AGAIN = """
mutation Again($parent: String!) {
  launchRunReexecution(reexecutionParams: {parentRunId: $parent, strategy: ALL_STEPS}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""

postgres_url = postgres.postgres_url
runs_url = live_deployment.runs_url
slack = slack_server.slack


@pytest.mark.long
def test_backfills_build_the_five_sources_on_postgresql_though_two_of_the_runs_are_killed(
    postgres_url: str, runs_url: str, tmp_path: Path, slack: SlackServer
) -> None:
    """Two backfills make five runs; of all sources one backfill makes one run.

    Dagster cuts a backfill into ranges of neighbouring partitions, each as long as the policy of its assets allows, and
    that is `single_run`, which a range on the command line needs. So every other source is one backfill, and those
    between them another: each makes a run for each of its sources.
    """
    with (
        deployment(tmp_path, runs_url, postgres_url, **FEW, **told(slack)) as live,
        dg.DagsterInstance.get() as instance,
    ):
        # A default is put in force by the queue's first look, which does not yet heed it.
        assert live.ask(LIMIT, pool=TEACHER_POOL, runs=2)
        backfills = [backfill(live, keys) for keys in (SOURCES[::2], SOURCES[1::2])]
        killed = kill_two(instance)
        runs = wait(lambda: ended(instance, len(SOURCES)), RUNS_S, "the five runs")
        assert sorted(source for run in runs for source in partitions_of(run.tags)) == sorted(SOURCES)
        assert {run.tags["dagster/backfill"] for run in runs} == {*backfills}
        failed = [run.run_id for run in runs if run.status is not dg.DagsterRunStatus.SUCCESS]
        assert {*failed} == {*killed}
        for run_id in killed:
            again = live.ask(AGAIN, parent=run_id)
            assert again["__typename"] == "LaunchRunSuccess", again
        runs = wait(lambda: ended(instance, len(SOURCES) + 2), RUNS_S, "the two runs")
        assert sum(run.status is dg.DagsterRunStatus.SUCCESS for run in runs) == len(SOURCES)
        # Five were asked for at once, and the queue would take five: the pool took two.
        assert most_steps_at_once(instance) <= most_runs_at_once(instance) == 2
        wait(lambda: len(slack.messages) == len(killed), RUNS_S, "what is told of the two")
        assert {run_id for run_id in killed for message in slack.messages if run_id[:8] in message["text"]} == {*killed}
        backfill(live, SOURCES)
        last, *_ = wait(lambda: ended(instance, len(SOURCES) + 3), RUNS_S, "one run of all")
        assert (last.status, partitions_of(last.tags)) == (dg.DagsterRunStatus.SUCCESS, [*SOURCES])
    assert counts(tmp_path / "store") == counts_of_one_go(tmp_path)


def backfill(live: Deployment, keys: Sequence[str]) -> str:
    """Launch a backfill of the job `data`, as the UI does, and return its id."""
    params = {"selector": {"partitionSetName": "data_partition_set", "repositorySelector": ORIGIN}}
    launched = live.ask(BACKFILL, params={**params, "partitionNames": [*keys]})
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    return str(launched["backfillId"])


def told(slack: SlackServer) -> dict[str, str]:
    """Return the settings with which Slack is told of runs that fail."""
    return {"MMAT_SLACK_TOKEN": TOKEN, "MMAT_SLACK_CHANNEL": "#runs", "MMAT_SLACK_URL": slack.url}


def most_runs_at_once(instance: dg.DagsterInstance) -> int:
    """Return how many runs there were at work at once."""
    return most_at_once((run.start_time or 0.0, run.end_time or 0.0) for run in instance.get_run_records())


def most_steps_at_once(instance: dg.DagsterInstance) -> int:
    """Return how many steps that may ask the teacher there were at work at once; a killed one ends with its run."""
    times = []
    for run in instance.get_run_records():
        for entry in instance.all_logs(run.dagster_run.run_id, of_type=dg.DagsterEventType.STEP_START):
            ends = instance.all_logs(run.dagster_run.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)
            over = [end.timestamp for end in ends if end.step_key == entry.step_key]
            if entry.step_key in IN_POOL:
                times.append((entry.timestamp, over[0] if over else run.end_time or 0.0))
    return most_at_once(times)


def most_at_once(times: Iterable[tuple[float, float]]) -> int:
    """Return how many of the spans `times` overlap at most."""
    changes = sorted((when, change) for begun, over in times for when, change in ((begun, 1), (over, -1)))
    return max(accumulate(change for _, change in changes), default=0)


def kill_two(instance: dg.DagsterInstance) -> list[str]:
    """Kill the processes of two runs as soon as they do something, and return the runs."""
    killed: list[str] = []

    def kill_next() -> bool:
        for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            process = process_of(instance, run.run_id) if run.run_id not in killed else None
            if process is not None and len(killed) < 2:
                os.kill(process, signal.SIGKILL)
                killed.append(run.run_id)
        return len(killed) == 2

    wait(kill_next, RUNS_S, "two runs at work")
    return killed


def counts(store: Path) -> dict[str, tuple[int, int, str]]:
    """Return rows, rejections and fingerprint of every dataset."""
    local = LocalStore(root=str(store))
    found = {}
    for dataset in ("source_qa", "rationales", "rr_dialogues", "orr_dialogues"):
        for source in SOURCES:
            manifest = parts.read_manifest(local, dataset, source)
            assert manifest is not None, f"{dataset} of {source}"
            found[f"{dataset} {source}"] = (manifest.rows, manifest.rejected.total(), manifest.fingerprint)
    return found


def counts_of_one_go(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Return what the same sources come to where nothing is killed."""
    command = shlex.split(f"{sys.executable} -m mmat_dagster materialize orr_dialogues")
    variables = {**FEW, "MMAT_STORE": str(folder / "whole"), "MMAT_LEDGER": str(folder / "whole.sqlite")}
    subprocess.run(command, cwd=folder, env=clean(variables), check=True, timeout=RUNS_S, stdout=subprocess.DEVNULL)
    return counts(folder / "whole")
