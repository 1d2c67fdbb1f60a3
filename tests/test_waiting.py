"""A run that meets replies which come with a batch waits without a worker, and the sensor goes on with it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import dagster as dg

from assets.sensors import CONTINUES_TAG, ended_batches
from assets.waiting import CONTINUED, LABELS_TAG, STATE_TAG, WAITING
from mmat_dagster.images import PicturesOnDisk
from mmat_dagster.pipeline import Pipeline, Settings
from mmat_dagster.teachers.prompted import PromptedTeacher
from resources.store import LocalStore
from tests import instances
from tests.asking import make_model
from tests.fakes import ToldRetriever
from tests.layouts import write_tabmwp
from tests.teacher_server import Behaviour, TeacherServer
from tests.teacher_server_batches import BatchRules
from tests.test_assets import recorded, run
from tests.test_pipeline import EndlessOcr

instance = instances.ephemeral

LATER_S = 3600.0


def batching(folder: Path, server: TeacherServer, **fields: object) -> Pipeline:
    """Return a pipeline over three problems whose teacher asks in batches."""
    if not (folder / "sources").exists():
        write_tabmwp(folder / "sources", 3)
    model = make_model(server.url, folder, mode="batch", batch_settle_s=0.05, max_retries=3, **fields)
    pictures = PicturesOnDisk(source_root=folder / "sources", store_root=folder / "store")
    return Pipeline(
        sources=folder / "sources",
        store=LocalStore(root=str(folder / "store")),
        teacher=PromptedTeacher(model=model, pictures=pictures, max_turns=4),
        operators={"ocr": EndlessOcr()},
        search=ToldRetriever(),
        settings=Settings(part_rows=2),
    )


def look(instance: dg.DagsterInstance, work: Pipeline) -> list[dg.RunRequest]:
    """Evaluate the sensor once."""
    with dg.build_sensor_context(instance=instance, resources={"pipeline": work}) as context:
        results = list(cast("Iterator[dg.RunRequest | dg.SkipReason]", ended_batches(context)))
    return [result for result in results if isinstance(result, dg.RunRequest)]


def wait_for_request(instance: dg.DagsterInstance, work: Pipeline) -> dg.RunRequest:
    for _ in range(200):
        requests = look(instance, work)
        if requests:
            (request,) = requests
            return request
        time.sleep(0.05)
    raise TimeoutError("no batch has ended")


def test_a_run_that_lacks_replies_ends_well_and_is_tagged(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    with TeacherServer(Behaviour(batch_delay_s=LATER_S)) as server:
        result = run(instance, batching(tmp_path, server), "rationales", "rr_dialogues", partition_key="tabmwp")
    assert result.success
    assert set(recorded(instance, "source_qa")) == {"tabmwp"}
    assert not recorded(instance, "rationales")
    assert not recorded(instance, "rr_dialogues")
    tags = instance.get_runs()[0].tags
    assert (tags[STATE_TAG], tags[LABELS_TAG]) == (WAITING, "rationales of tabmwp")


def test_the_sensor_waits_as_long_as_the_batch_does(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    with TeacherServer(Behaviour(batch_delay_s=LATER_S)) as server:
        work = batching(tmp_path, server)
        assert look(instance, work) == []
        run(instance, work, "rationales", partition_key="tabmwp")
        assert look(instance, work) == []
        assert look(instance, work) == []
        assert len(server.batches) == 1


def test_the_sensor_carries_a_run_on_until_its_dialogues_are_written(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with TeacherServer() as server:
        work = batching(tmp_path, server)
        run(instance, work, "rr_dialogues", partition_key="tabmwp")
        waited_for = instance.get_runs()[0].run_id
        rounds = 0
        while not recorded(instance, "rr_dialogues"):
            request = wait_for_request(instance, work)
            assert request.partition_key == "tabmwp"
            assert request.asset_selection == [dg.AssetKey("rr_dialogues")]
            assert request.tags[CONTINUES_TAG] == waited_for
            before = instance.get_run_by_id(waited_for)
            assert before is not None
            assert before.tags[STATE_TAG] == CONTINUED
            run(instance, work, "rr_dialogues", partition_key="tabmwp", tags=dict(request.tags))
            waited_for = instance.get_runs(limit=1)[0].run_id
            rounds += 1
        assert rounds >= 3  # the steps of a rationale come one after the other, then the checks
        assert look(instance, work) == []
        assert max(server.paid.values()) == 1
        paid = recorded(instance, "rationales")["tabmwp"].metadata
        assert paid["rows_out"].value == 3


def test_a_run_of_a_source_that_is_done_does_not_wait(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    with TeacherServer(Behaviour(batch_delay_s=LATER_S)) as server:
        work = batching(tmp_path, server)
        run(instance, work, "source_qa", partition_key="tabmwp")
    assert STATE_TAG not in instance.get_runs()[0].tags


def test_a_batch_that_the_provider_refuses_is_told_and_not_carried_on(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with TeacherServer(Behaviour(batch_rules=BatchRules(max_lines=1))) as server:
        work = batching(tmp_path, server)
        run(instance, work, "rationales", partition_key="tabmwp")
        result = run(instance, work, "rationales", partition_key="tabmwp")
    assert not result.success
    failure = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert failure.user_failure_data is not None
    assert "has refused a batch of 3 requests" in str(failure.user_failure_data.description)
    assert look(instance, work) == []
