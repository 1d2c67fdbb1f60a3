"""On a live deployment schedule and sensors ask for exactly what has become stale, and the daemon has it made."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import pytest

from assets.asking import partitions_of
from mmat_dagster import parts
from mmat_dagster.schema import DatasetName
from resources.store import LocalStore
from tests import live_deployment, postgres
from tests.layouts import write_tabmwp, write_visual_cot
from tests.live_deployment import ORIGIN, ROOT, RUNS_S, Deployment, deployment, ended, launch, switch_on, wait

ALL = ("source_qa", "rationales", "rr_dialogues", "orr_dialogues")
BOTH = ("tabmwp", "visual_cot")
TICKS = """
query ($of: InstigationSelector!) {
  instigationStateOrError(instigationSelector: $of) { ... on InstigationState { ticks(limit: 1) { skipReason } } }
}
"""
# Who asked for what of which source.
Asked = tuple[str, str, tuple[str, ...]]

postgres_url = postgres.postgres_url
runs_url = live_deployment.runs_url


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Return a folder with two sources, the other three of which are absent."""
    write_visual_cot(tmp_path / "sources")
    return write_tabmwp(tmp_path / "sources", 3)


def settings(sources: Path) -> dict[str, str]:
    """Return the settings by which sources are looked at almost as soon as they are still."""
    return {"MMAT_SOURCES": str(sources), "MMAT_SETTLE_MINUTES": "0.05"}


@pytest.mark.long
def test_the_daemon_rebuilds_a_source_whose_folder_has_changed_and_no_other(
    postgres_url: str, runs_url: str, tmp_path: Path
) -> None:
    sources, store = tmp_path / "sources", LocalStore(root=str(tmp_path / "store"))
    write_tabmwp(sources, 3)
    with deployment(tmp_path, runs_url, postgres_url, **settings(sources)) as live:
        switch_on(live, "Sensor", "changed_sources")
        with dg.DagsterInstance.get() as instance:
            for rows, runs in ((3, 1), (5, 2)):
                write_tabmwp(sources, rows)
                asked = wait(partial(ended, instance, runs), RUNS_S, "the run that is asked for")
                assert {run.status for run in asked} == {dg.DagsterRunStatus.SUCCESS}
                assert {run.tags["dagster/partition"] for run in asked} == {"tabmwp"}
                manifest = parts.read_manifest(store, "orr_dialogues", "tabmwp")
                assert manifest is not None
                assert manifest.rows == rows


@pytest.mark.long
def test_the_schedule_asks_for_what_files_and_settings_have_made_stale_and_for_nothing_else(
    postgres_url: str, runs_url: str, tmp_path: Path, sources: Path
) -> None:
    every_minute = {**settings(sources), "MMAT_REBUILD_CRON": "* * * * *"}
    with deployment(tmp_path, runs_url, postgres_url, **every_minute) as live, dg.DagsterInstance.get() as instance:
        switch_on(live, "Schedule", "weekly")
        assert asked_for(instance, range(2)) == {("weekly", source, ALL) for source in BOTH}
        write_tabmwp(sources, 5)
        assert asked_for(instance, range(2, 3)) == {("weekly", "tabmwp", ALL)}
        # The code server alone is started anew: the daemon finds it.
        live.serve_code(MMAT_OPERATORS="ocr=off")
        assert asked_for(instance, range(3, 5)) == {("weekly", source, ALL[1:]) for source in BOTH}
        reasons = wait(lambda: reasons_at_last(live), RUNS_S, "a tick that finds nothing stale")
        assert "infoseek, which does not exist" in reasons["infoseek"]
        assert len([*instance.get_runs()]) == 5


@pytest.mark.long
def test_dagsters_automation_asks_for_what_files_and_prompts_have_made_stale_and_for_nothing_else(
    postgres_url: str, runs_url: str, tmp_path: Path, sources: Path
) -> None:
    with (
        deployment(tmp_path, runs_url, postgres_url, **settings(sources)) as live,
        dg.DagsterInstance.get() as instance,
    ):
        switch_on(live, "Sensor", "stale_data")
        launch(live, "__ASSET_JOB", None, "source_files")
        assert asked_for(instance, range(1, 3)) == {("stale_data", source, ALL) for source in BOTH}
        live.serve_code(PYTHONPATH=edited(tmp_path / "edited", "prompts/rr_system.txt"))
        assert asked_for(instance, range(3, 5)) == {("stale_data", source, ("rr_dialogues",)) for source in BOTH}
        # The prompt stands in the dialogues. The other source has none: what comes out as it was asks for nothing.
        assert asked_for(instance, range(5, 6)) == {("stale_data", "tabmwp", ("orr_dialogues",))}
        write_tabmwp(sources, 5)
        launch(live, "__ASSET_JOB", None, "source_files")
        # Each asks for the next as it comes out different.
        for number, dataset in enumerate(ALL, 7):
            assert asked_for(instance, range(number, number + 1)) == {("stale_data", "tabmwp", (dataset,))}
        manifest = parts.read_manifest(LocalStore(root=str(tmp_path / "store")), "orr_dialogues", "tabmwp")
        assert manifest is not None
        assert manifest.rows == 5


def asked_for(instance: dg.DagsterInstance, numbers: range) -> set[Asked]:
    """Return what the runs of these numbers, the oldest first, were asked to make, when all have been successful."""
    runs = wait(lambda: _over(instance, numbers), RUNS_S, f"the runs {numbers}")
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    return {_asked(run) for run in runs}


def _over(instance: dg.DagsterInstance, numbers: range) -> list[dg.DagsterRun]:
    runs = [*instance.get_runs()][::-1][numbers.start : numbers.stop]
    return runs if len(runs) == len(numbers) and all(run.is_finished for run in runs) else []


def _asked(run: dg.DagsterRun) -> Asked:
    by = run.tags.get("dagster/schedule_name", run.tags.get("dagster/sensor_name", ""))
    names = {key.to_user_string() for key in run.asset_selection or ()}
    return by, ", ".join(partitions_of(run.tags)), tuple(name for name in get_args(DatasetName) if name in names)


def reasons_at_last(live: Deployment) -> dict[str, str]:
    """Return by source why the schedule's last tick has asked for nothing, where it found both sources up to date."""
    state: Any = live.ask(TICKS, of={**ORIGIN, "name": "weekly"})
    (tick,) = state["ticks"]
    reasons = dict(line.split(": ", 1) for line in (tick["skipReason"] or "").splitlines())
    return reasons if all(reasons.get(source) == "it is up to date." for source in BOTH) else {}


def edited(folder: Path, name: str) -> str:
    """Return where a copy of the code lies in which one file of the engine has one more line."""
    for package in ("mmat_dagster", "assets", "resources"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "mmat_dagster" / name).open("a") as file:
        file.write("\nThink twice.\n")
    return str(folder)
