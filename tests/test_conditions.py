"""Dagster's own automation asks for exactly what is missing or stale, once, and for nothing that merely ran again."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets import foundation, release
from mmat_dagster.datasets import code_version
from mmat_dagster.definitions import defs
from mmat_dagster.pipeline import Pipeline
from tests import instances
from tests.code_copies import edit
from tests.layouts import write_tabmwp, write_visual_cot
from tests.test_assets import ASSETS, run

instance, work = instances.ephemeral, instances.work

ALL = ["source_qa", "rationales", "rr_dialogues", "orr_dialogues"]
NOTHING = dict.fromkeys(["pipeline", "release_hub", "outlays"])
OFF = dg.DefaultSensorStatus.STOPPED


class Watched:
    """The automation of the data assets and the release, look after look."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._cursor: Any = None

    def look(self) -> dict[str, set[str | None]]:
        """Evaluate the conditions; return the partitions that are asked for, by asset."""
        made = [_versioned(asset) for asset in ASSETS]
        result = dg.evaluate_automation_conditions(
            dg.Definitions(assets=[foundation.source_files, *made, release.dataset_release], resources=NOTHING),
            self._instance,
            asset_selection=dg.AssetSelection.assets(*ASSETS, release.dataset_release),
            cursor=self._cursor,
        )
        self._cursor = result.cursor
        keys = [asset.key for asset in (*ASSETS, release.dataset_release)]
        asked = {key.to_user_string(): set(result.get_requested_partitions(key)) for key in keys}
        return {name: partitions for name, partitions in asked.items() if partitions}


def _versioned(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """Return the asset as a code server would load it now."""
    version = code_version(asset.key.to_user_string())  # type: ignore[arg-type]
    return asset.map_asset_specs(lambda spec: spec.replace_attributes(code_version=version))


def observe(instance: dg.DagsterInstance, source: str, state: str) -> None:
    """Tell Dagster of a source's files."""
    instance.report_runless_asset_event(
        dg.AssetObservation(asset_key="source_files", partition=source, tags={"dagster/data_version": state})
    )


@pytest.fixture
def watched(instance: dg.DagsterInstance) -> Watched:
    return Watched(instance)


def test_sources_that_nobody_has_observed_are_not_asked_for(instance: dg.DagsterInstance, watched: Watched) -> None:
    assert watched.look() == {}
    observe(instance, "tabmwp", "one")
    assert watched.look() == {name: {"tabmwp"} for name in ALL}
    assert watched.look() == {}


def test_what_fails_is_not_asked_for_at_every_look(instance: dg.DagsterInstance, watched: Watched) -> None:
    observe(instance, "tabmwp", "one")
    assert watched.look()
    for _ in range(3):  # nothing was made of what was asked for
        assert watched.look() == {}
    observe(instance, "tabmwp", "two")
    assert watched.look() == {"source_qa": {"tabmwp"}}


def test_a_materialization_that_changes_nothing_asks_for_nothing(
    instance: dg.DagsterInstance, watched: Watched, work: Pipeline
) -> None:
    assert run(instance, work, "orr_dialogues", partition_key="tabmwp").success
    watched.look()
    assert run(instance, work, "source_qa", partition_key="tabmwp").success
    assert run(instance, work, "rr_dialogues", partition_key="tabmwp").success
    assert watched.look() == {}


def test_changed_files_ask_for_their_source_and_then_for_what_has_come_out_differently(
    instance: dg.DagsterInstance, watched: Watched, work: Pipeline
) -> None:
    write_visual_cot(work.sources)
    for source in ("tabmwp", "visual_cot"):
        run(instance, work, "orr_dialogues", partition_key=source)
    watched.look()
    write_tabmwp(work.sources, 4)
    observe(instance, "tabmwp", work.source_parts("tabmwp").state())
    assert watched.look() == {"source_qa": {"tabmwp"}}
    assert run(instance, work, "source_qa", partition_key="tabmwp").success
    assert watched.look() == {"rationales": {"tabmwp"}}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("prompts/orr_system.txt", {"orr_dialogues"}), ("prompts/rationale_system.txt", {"rationales"})],
)
def test_a_changed_prompt_asks_for_its_stage(
    instance: dg.DagsterInstance,
    work: Pipeline,
    name: str,
    expected: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched(instance)
    assert run(instance, work, "orr_dialogues", partition_key="tabmwp").success
    watched.look()
    edit(name, tmp_path, monkeypatch)
    asked = watched.look()
    assert {asset for asset, sources in asked.items() if "tabmwp" in sources} == expected
    assert set.union(*asked.values()) == {"tabmwp"}


def test_an_audit_is_asked_for_where_there_is_one(
    instance: dg.DagsterInstance, watched: Watched, work: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_visual_cot(work.sources)
    assert run(instance, work, "orr_dialogues", partition_key="visual_cot").success
    assert run(instance, work, "orr_dialogues", "dialogue_audit", partition_key="tabmwp").success
    watched.look()
    edit("stages/audit.py", tmp_path, monkeypatch)
    assert watched.look() == {"dialogue_audit": {"tabmwp"}}


def test_a_release_is_asked_for_when_dialogues_have_changed_and_none_are_made_any_more(
    instance: dg.DagsterInstance, watched: Watched, work: Pipeline
) -> None:
    assert watched.look() == {}
    assert run(instance, work, "orr_dialogues", partition_key="tabmwp").success
    assert watched.look() == {"dataset_release": {None}}
    assert watched.look() == {}
    assert run(instance, work, "orr_dialogues", partition_key="tabmwp").success
    assert watched.look() == {}
    write_tabmwp(work.sources, 4)
    assert run(instance, work, "orr_dialogues", partition_key="tabmwp").success
    assert watched.look() == {"dataset_release": {None}}


def test_nothing_begins_by_itself() -> None:
    repository = defs.get_repository_def()
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "changed_sources",
        "ended_batches",
        "failed_runs",
        "stale_data",
        "stale_release",
    }
    assert {sensor.default_status for sensor in repository.sensor_defs} == {OFF}
    assert {schedule.default_status.value for schedule in repository.schedule_defs} == {"STOPPED"}


def test_what_pays_is_never_asked_for_eagerly() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        condition = graph.get(key).automation_condition
        assert condition is None or "any_deps_updated" not in str(condition)
    assert graph.get(dg.AssetKey("rr_checkpoint")).automation_condition is None
    assert graph.get(dg.AssetKey("benchmark_scores")).automation_condition is None
