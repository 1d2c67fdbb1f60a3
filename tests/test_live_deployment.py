"""On a live deployment sources are built by the daemon, killed runs are made good, and changed folders are seen."""

import os
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest

from mmat_dagster import parts
from mmat_dagster.schema import SourceName
from resources.store import LocalStore
from tests import live_deployment, postgres
from tests.layouts import write_tabmwp
from tests.live_deployment import ask, clean, deployment, ended, process_of, wait

SOURCES: tuple[SourceName, ...] = get_args(SourceName)
RUNS_S = 900.0
BACKFILL = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}
"""
SWITCH_ON = """
mutation ($sensor: SensorSelector!) {
  startSensor(sensorSelector: $sensor) { __typename ... on PythonError { message } }
}
"""
AGAIN = """
mutation Again($parent: String!) {
  launchRunReexecution(reexecutionParams: {parentRunId: $parent, strategy: ALL_STEPS}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""

postgres_url = postgres.postgres_url
runs_url = live_deployment.runs_url


@pytest.mark.long
def test_the_five_sources_are_built_on_postgresql_though_two_of_their_runs_are_killed(
    postgres_url: str, runs_url: str, tmp_path: Path
) -> None:
    with deployment(tmp_path, runs_url, postgres_url) as web:
        for source in SOURCES:
            tags = {"tags": [{"key": "dagster/partition", "value": source}]}
            params = {"selector": {**ORIGIN, "jobName": "data"}, "executionMetadata": tags, "runConfigData": {}}
            launched = ask(web, LAUNCH, params=params)["launchRun"]
            assert launched["__typename"] == "LaunchRunSuccess", launched
        with dg.DagsterInstance.get() as instance:
            killed = kill_two(instance)
            runs = wait(lambda: ended(instance, len(SOURCES)), RUNS_S, "the five runs")
            failed = [run.run_id for run in runs if run.status is not dg.DagsterRunStatus.SUCCESS]
            assert {*failed} == {*killed}
            for run_id in killed:
                again = ask(web, AGAIN, parent=run_id)["launchRunReexecution"]
                assert again["__typename"] == "LaunchRunSuccess", again
            runs = wait(lambda: ended(instance, len(SOURCES) + 2), RUNS_S, "the two runs")
            assert sum(run.status is dg.DagsterRunStatus.SUCCESS for run in runs) == len(SOURCES)
    assert counts(tmp_path / "store") == counts_of_one_go(tmp_path)


@pytest.mark.long
def test_the_daemon_rebuilds_a_source_whose_folder_has_changed_and_no_other(
    postgres_url: str, runs_url: str, tmp_path: Path
) -> None:
    sources, store = tmp_path / "sources", LocalStore(root=str(tmp_path / "store"))
    write_tabmwp(sources, 3)
    settled = {"MMAT_SOURCES": str(sources), "MMAT_SETTLE_MINUTES": "0.05"}
    with deployment(tmp_path, runs_url, postgres_url, **settled) as web:
        switched = ask(web, SWITCH_ON, sensor={**ORIGIN, "sensorName": "changed_sources"})["startSensor"]
        assert switched["__typename"] == "Sensor", switched
        with dg.DagsterInstance.get() as instance:
            for rows, runs in ((3, 1), (5, 2)):
                write_tabmwp(sources, rows)
                asked = wait(partial(ended, instance, runs), RUNS_S, "the run that is asked for")
                assert {run.status for run in asked} == {dg.DagsterRunStatus.SUCCESS}
                assert {run.tags["dagster/partition"] for run in asked} == {"tabmwp"}
                manifest = parts.read_manifest(store, "orr_dialogues", "tabmwp")
                assert manifest is not None
                assert manifest.rows == rows


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
    variables = {"MMAT_STORE": str(folder / "whole"), "MMAT_LEDGER": str(folder / "whole.sqlite")}
    subprocess.run(command, cwd=folder, env=clean(variables), check=True, timeout=RUNS_S, stdout=subprocess.DEVNULL)
    return counts(folder / "whole")
