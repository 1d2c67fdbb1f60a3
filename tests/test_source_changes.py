"""A source whose folder has changed is asked for once, when nothing in it changes any more; Dagster is told of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import dagster as dg
import pytest

from assets.source_changes import changed_sources
from mmat_dagster.definitions import defs
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.staleness import Patience
from tests import instances
from tests.code_copies import edit
from tests.layouts import write_tabmwp, write_visual_cot
from tests.test_asking import ALL, AT_ONCE, begin
from tests.test_assets import run, stale_causes

instance = instances.instance
work = instances.work


@dataclass
class Watch:
    """The sensor as the daemon evaluates it: with the cursor of the last tick, and its observations kept."""

    instance: dg.DagsterInstance
    work: Pipeline
    cursor: str | None = None
    keys: list[str] = field(default_factory=list)

    def tick(self, patience: Patience = AT_ONCE) -> tuple[dict[str, list[str]], str]:
        """Evaluate the sensor once; return what it asks for by source, and why of nothing else."""
        resources = {"pipeline": self.work, "patience": patience}
        with dg.build_sensor_context(self.instance, self.cursor, resources=resources) as context:
            result = cast("dg.SensorResult", changed_sources(context))
        self.cursor = result.cursor
        for event in result.asset_events:
            self.instance.report_runless_asset_event(cast("dg.AssetObservation", event))
        asked = {}
        for request in result.run_requests or ():
            asked[request.partition_key or ""] = [key.to_user_string() for key in request.asset_selection or ()]
            self.keys.append(request.run_key or "")
        return asked, (result.skip_reason.skip_message or "") if result.skip_reason else ""


@pytest.fixture
def watch(instance: dg.DagsterInstance, work: Pipeline) -> Watch:
    return Watch(instance, work)


def observed(instance: dg.DagsterInstance) -> list[str | None]:
    records = instance.fetch_observations(dg.AssetKey("source_files"), limit=9).records
    return [record.partition_key for record in records]


def test_a_new_source_is_asked_for_once_also_where_its_run_fails(watch: Watch) -> None:
    assert watch.tick()[0] == {"tabmwp": ALL}
    for _ in range(3):
        asked, why = watch.tick()
        assert asked == {}
        assert "tabmwp: its files have not changed since they were last looked at." in why
    assert "infoseek: The source infoseek was looked for in the folder" in why
    assert observed(watch.instance) == ["tabmwp"]


def test_the_daemon_can_launch_what_is_asked_for(instance: dg.DagsterInstance, work: Pipeline) -> None:
    repository = defs.get_repository_def()
    resources = {"pipeline": work, "patience": AT_ONCE}
    with dg.build_sensor_context(instance, repository_def=repository, resources=resources) as context:
        result = repository.get_sensor_def("changed_sources").evaluate_tick(context)
    (request,) = result.run_requests or ()
    assert request.tags["dagster/partition"] == "tabmwp"
    assert len(result.asset_events) == 1


def test_a_changed_source_is_shown_as_stale_and_built_anew(watch: Watch) -> None:
    run(watch.instance, watch.work, "orr_dialogues", "dialogue_audit", partition_key="tabmwp")
    assert watch.tick()[0] == {}
    assert stale_causes(watch.instance) == {}
    write_tabmwp(watch.work.sources, 4)
    assert watch.tick()[0] == {"tabmwp": [*ALL, "dialogue_audit"]}
    assert stale_causes(watch.instance)["source_qa"]
    run(watch.instance, watch.work, "orr_dialogues", "dialogue_audit", partition_key="tabmwp")
    assert watch.tick()[0] == {}
    assert stale_causes(watch.instance) == {}


def test_a_folder_that_becomes_what_it_was_before_is_a_change_too(watch: Watch) -> None:
    run(watch.instance, watch.work, "source_qa", "orr_dialogues", partition_key="tabmwp")
    page = watch.work.sources / "tabmwp" / "page.txt"
    watch.tick()
    page.write_text("new")
    assert watch.tick()[0] == {"tabmwp": ALL}
    run(watch.instance, watch.work, "source_qa", "orr_dialogues", partition_key="tabmwp")
    watch.tick()
    page.unlink()
    assert watch.tick()[0] == {"tabmwp": ALL}
    assert len({*watch.keys}) == len(watch.keys) == 2


def test_files_that_were_written_again_as_they_were_ask_for_nothing(watch: Watch) -> None:
    run(watch.instance, watch.work, "orr_dialogues", partition_key="tabmwp")
    watch.tick()
    path = watch.work.sources / "tabmwp" / "problems_train.json"
    path.write_bytes(path.read_bytes())
    asked, why = watch.tick()
    assert asked == {}
    assert "tabmwp: its files are those that it was built from." in why


def test_changed_code_alone_asks_for_nothing(watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(watch.instance, watch.work, "orr_dialogues", partition_key="tabmwp")
    edit("stages/foundation.py", tmp_path, monkeypatch)
    assert watch.tick()[0] == {}


def test_a_folder_that_is_still_copied_is_asked_for_when_it_is_whole(watch: Watch) -> None:
    asked, why = watch.tick(Patience(settle_s=600))
    assert asked == {}
    assert "may still be copied" in why
    assert observed(watch.instance) == []
    assert watch.tick()[0] == {"tabmwp": ALL}


def test_a_source_that_changes_while_it_is_made_is_asked_for_afterwards(watch: Watch) -> None:
    begun = begin(watch.instance, dg.DagsterRunStatus.STARTED, {"dagster/partition": "tabmwp"}, *ALL)
    asked, why = watch.tick()
    assert asked == {}
    assert f"tabmwp: the run {begun.run_id[:8]} of it is started." in why
    assert observed(watch.instance) == ["tabmwp"]
    watch.instance.report_run_canceled(begun)
    assert watch.tick()[0] == {"tabmwp": ALL}


def test_only_the_source_that_has_changed_is_asked_for(watch: Watch) -> None:
    write_visual_cot(watch.work.sources)
    for source in ("tabmwp", "visual_cot"):
        run(watch.instance, watch.work, "orr_dialogues", partition_key=source)
    write_tabmwp(watch.work.sources, 4)
    assert watch.tick()[0] == {"tabmwp": ALL}


def test_a_folder_in_another_layout_is_said_at_every_look(watch: Watch) -> None:
    (watch.work.sources / "infoseek").mkdir()
    assert watch.tick()[0] == {"tabmwp": ALL}
    for _ in range(2):
        assert "infoseek, which holds none of its annotation files" in watch.tick()[1]


def test_files_that_are_too_large_to_be_read_here_are_left_to_the_run(watch: Watch) -> None:
    assert watch.tick(Patience(settle_s=0, read_bytes=10))[0] == {"tabmwp": ALL}
    assert observed(watch.instance) == []
