"""Checkpoints are assets: trained once, recorded mixture by mixture, and stale when their dialogues change."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from assets import checkpoints, foundation, schedules
from assets.partitions import MIXTURES
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.training.checkpoints import read_current
from mmat_dagster.training.executor import TrainingExecutor, TrainingFailed
from mmat_dagster.training.spec import HyperParameters, Outcome, Student
from mmat_dagster.training.students import STUDENTS
from resources.training_executor import LocalTrainingExecutor
from tests import instances
from tests.fakes import ToldExecutor
from tests.layouts import write_tabmwp, write_visual_cot
from tests.test_assets import ASSETS
from tests.test_pipeline import PatientTeacher, pipeline

instance = instances.ephemeral

TRAINED: list[Any] = [foundation.source_files, *ASSETS, checkpoints.rr_checkpoint, checkpoints.orr_checkpoint]


@pytest.fixture
def work(tmp_path: Path) -> Pipeline:
    write_tabmwp(tmp_path / "sources", 3)
    return replace(pipeline(tmp_path), teacher=PatientTeacher())


@pytest.fixture
def executor() -> ToldExecutor:
    return ToldExecutor()


def run(
    instance: dg.DagsterInstance,
    work: Pipeline,
    executor: TrainingExecutor[dg.AssetExecutionContext],
    config: dict[str, Any] | None = None,
    **how: Any,
) -> dg.ExecuteInProcessResult:
    name = how.pop("name", "rr_checkpoint")
    resources = {"pipeline": work, "training_executor": executor, "student": STUDENTS["tiny"]}
    return dg.materialize(
        TRAINED,
        instance=instance,
        selection=dg.AssetSelection.assets(name),
        resources=resources,
        run_config={"ops": {name: {"config": config}}} if config else None,
        raise_on_error=False,
        **how,
    )


def recorded(instance: dg.DagsterInstance, name: str = "rr_checkpoint") -> list[dg.AssetMaterialization]:
    records = instance.fetch_materializations(dg.AssetKey(name), limit=100).records
    return [record.asset_materialization for record in reversed(records) if record.asset_materialization]


def failure(result: dg.ExecuteInProcessResult) -> Any:
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    told = failed.step_failure_data.user_failure_data
    assert told is not None, failed.step_failure_data.error_display_string
    return told


def test_a_checkpoint_is_trained_on_dialogues_that_are_built_for_it(
    instance: dg.DagsterInstance, work: Pipeline, executor: ToldExecutor, tmp_path: Path
) -> None:
    assert run(instance, work, executor, partition_key="tabmwp").success
    (asked,) = executor.runs
    (data,) = asked.data
    assert (asked.name, asked.format, data.source, data.dataset) == (
        "rr_checkpoint of tabmwp",
        "rr",
        "tabmwp",
        "rr_dialogues",
    )
    assert sum(shard.rows for shard in data.shards) == 3
    assert all(Path(shard.path).is_file() for shard in data.shards)
    assert Path(data.images) == tmp_path / "sources" / "tabmwp"
    assert [event.partition for event in recorded(instance, "rr_dialogues")] == ["tabmwp"]
    assert recorded(instance, "orr_dialogues") == []


def test_what_was_trained_is_shown(instance: dg.DagsterInstance, work: Pipeline, executor: ToldExecutor) -> None:
    run(instance, work, executor, {"weights": {"tabmwp": 0.5}}, partition_key="tabmwp", name="orr_checkpoint")
    (event,) = recorded(instance, "orr_checkpoint")
    checkpoint = read_current(work.store, "orr_checkpoint", "tabmwp")
    assert checkpoint is not None
    shown: dict[str, Any] = {name: value.value for name, value in event.metadata.items()}
    assert (shown["student"], shown["base_model"], shown["steps"]) == ("tiny", "tiny", 2)
    assert (shown["first_loss"], shown["final_loss"], shown["peak_memory_gb"]) == (1.0, 0.5, 2.0)
    assert (shown["dialogues"], shown["dropped"]) == (3, 1)
    assert "| missing image | 1 |" in shown["dropped_by_reason"]
    assert f"| tabmwp | 0.5 | `{checkpoint.data['tabmwp']}` |" in shown["data"]
    assert shown["loss"].startswith("![loss](data:image/png;base64,iVBOR")
    assert shown["model_card"] == "# A model card"
    assert Path(shown["location"], "processor", "chat_template.jinja").is_file()
    assert (event.tags or {})["dagster/data_version"] == checkpoint.fingerprint


def test_what_was_trained_once_is_not_trained_again(
    instance: dg.DagsterInstance, work: Pipeline, executor: ToldExecutor
) -> None:
    for _ in range(2):
        assert run(instance, work, executor, partition_key="tabmwp").success
    assert len(executor.runs) == 1
    first, second = recorded(instance)
    assert (first.metadata["is_reused"].value, second.metadata["is_reused"].value) == (False, True)
    assert (first.tags or {})["dagster/data_version"] == (second.tags or {})["dagster/data_version"]
    assert run(instance, work, executor, {"seed": 7}, partition_key="tabmwp").success
    assert len(executor.runs) == 2


def test_a_run_asks_for_what_differs_from_how_the_student_is_usually_trained(
    instance: dg.DagsterInstance, work: Pipeline, executor: ToldExecutor
) -> None:
    config = {
        "student": "OpenGVLab/InternVL3-1B-hf@main",
        "epochs": 2.0,
        "precision": "fp16",
        "accelerate": "fsdp2",
        "save_every_steps": 5,
    }
    assert run(instance, work, executor, config, partition_key="tabmwp").success
    (asked,), (job,) = executor.runs, executor.jobs
    assert asked.student == Student(name="InternVL3-1B-hf", model="OpenGVLab/InternVL3-1B-hf", revision="main")
    assert asked.hyper == HyperParameters(epochs=2.0, precision="fp16")
    assert (asked.save_every_steps, job.accelerate) == (5, "fsdp2")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"student": "gpt"}, "'gpt' is no student"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be a number above 0"),
        ({"weights": {"infoseek": 2.0}}, "infoseek has a weight and is not in the mixture tabmwp"),
        ({"weights": {"tabmwp": 0.0}}, "nothing to learn from. All of its sources have the weight 0"),
        ({"upstream": "require"}, "dagster asset materialize --select rr_dialogues --partition tabmwp"),
    ],
)
def test_what_cannot_be_meant_is_told(
    config: dict[str, Any],
    complaint: str,
    instance: dg.DagsterInstance,
    work: Pipeline,
    executor: ToldExecutor,
) -> None:
    assert complaint in failure(run(instance, work, executor, config, partition_key="tabmwp")).description
    assert executor.runs == []


def test_the_whole_mixture_takes_what_is_there_and_names_what_is_not(
    instance: dg.DagsterInstance, work: Pipeline, executor: ToldExecutor, tmp_path: Path
) -> None:
    write_visual_cot(tmp_path / "sources")
    config = {"weights": {"visual_cot": 2.0, "llava_cot": 0.0}}
    assert run(instance, work, executor, config, partition_key="mmat_1m").success
    (asked,) = executor.runs
    assert [(item.source, item.weight) for item in asked.data] == [("visual_cot", 2.0), ("tabmwp", 1.0)]
    passed_over = str(recorded(instance)[0].metadata["passed_over"].value)
    assert "| infoseek | The source infoseek was looked for in the folder" in passed_over
    assert "llava_cot" not in passed_over


def test_a_mixture_of_absent_sources_alone_fails(
    instance: dg.DagsterInstance, executor: ToldExecutor, tmp_path: Path
) -> None:
    (tmp_path / "sources").mkdir()
    told = failure(run(instance, pipeline(tmp_path), executor, partition_key="mmat_1m")).description
    assert "rr_checkpoint of mmat_1m was not trained. The source visual_cot was looked for" in told


def test_a_source_without_one_dialogue_is_nothing_to_learn_from(
    instance: dg.DagsterInstance, work: Pipeline, executor: ToldExecutor, tmp_path: Path
) -> None:
    for image in (tmp_path / "sources" / "tabmwp" / "tables").iterdir():
        image.unlink()
    told = failure(run(instance, work, executor, partition_key="tabmwp")).description
    assert "rr_dialogues of tabmwp is empty" in told


def test_a_range_records_what_is_trained_and_fails_for_what_is_not(
    instance: dg.DagsterInstance, work: Pipeline, tmp_path: Path
) -> None:
    executor = ToldExecutor(visual_cot=TrainingFailed("loss is nan\nlast line"))
    write_visual_cot(tmp_path / "sources")
    tags = {"dagster/asset_partition_range_start": "visual_cot", "dagster/asset_partition_range_end": "mmat_1m"}
    told = failure(run(instance, work, executor, tags=tags))
    assert "rr_checkpoint of visual_cot: loss is nan\nlast line" in told.description
    assert "infoseek" not in told.description
    assert told.metadata["state"].value == "failed"
    assert {event.partition for event in recorded(instance)} == {"tabmwp", "mmat_1m"}


def test_a_range_passes_over_absent_sources(
    instance: dg.DagsterInstance, work: Pipeline, executor: ToldExecutor
) -> None:
    tags = {"dagster/asset_partition_range_start": "the_cauldron", "dagster/asset_partition_range_end": "infoseek"}
    assert run(instance, work, executor, tags=tags).success
    assert [event.partition for event in recorded(instance)] == ["tabmwp"]


def test_a_process_of_its_own_trains_in_a_range_and_is_observed(instance: dg.DagsterInstance, work: Pipeline) -> None:
    executor = LocalTrainingExecutor(module="tests.stand_in_training", packages=[])
    tags = {"dagster/asset_partition_range_start": "tabmwp", "dagster/asset_partition_range_end": "mmat_1m"}
    assert run(instance, work, executor, tags=tags).success
    assert [event.partition for event in recorded(instance)] == ["tabmwp", "mmat_1m"]
    observed = instance.fetch_observations(dg.AssetKey("rr_checkpoint"), limit=9).records
    assert {record.partition_key for record in observed} == {"tabmwp", "mmat_1m"}


def test_a_preempted_training_says_where_it_goes_on_and_does(instance: dg.DagsterInstance, work: Pipeline) -> None:
    executor = ToldExecutor(tabmwp=Outcome(state="preempted", step=40, max_steps=90))
    told = failure(run(instance, work, executor, partition_key="tabmwp"))
    assert told.description == (
        "The training of rr_checkpoint of tabmwp was stopped from outside at step 40 of 90. "
        "Materialize it again: it goes on from there."
    )
    assert (told.metadata["state"].value, told.metadata["step"].value) == ("preempted", 40)
    assert recorded(instance) == []
    assert run(instance, work, executor, partition_key="tabmwp").success
    first, second = executor.jobs
    assert first.folder == second.folder
    assert not Path(first.folder).exists()


def test_a_preempted_training_goes_on_by_itself_where_it_may(instance: dg.DagsterInstance, work: Pipeline) -> None:
    executor = ToldExecutor(tabmwp=Outcome(state="preempted", step=40, max_steps=90))
    assert run(instance, work, executor, {"retries": 1}, partition_key="tabmwp").success
    assert len(executor.jobs) == 2
    assert [event.partition for event in recorded(instance)] == ["tabmwp"]


def test_dialogues_that_wait_for_a_batch_are_no_mixture_yet(
    instance: dg.DagsterInstance, executor: ToldExecutor, tmp_path: Path
) -> None:
    write_tabmwp(tmp_path / "sources", 3)
    waiting = replace(pipeline(tmp_path), teacher=PatientTeacher("tabmwp/2"))
    result = run(instance, waiting, executor, partition_key="tabmwp")
    assert "wait for replies that come with a batch" in failure(result).description
    tags = instance.get_run_by_id(result.run_id)
    assert tags is not None
    assert (tags.tags["mmat/waiting_for"], tags.tags["mmat/assets"]) == ("rationales of tabmwp", "rr_dialogues")


def stale_causes(instance: dg.DagsterInstance, mixture: str) -> list[str]:
    """Return why Dagster takes a mixture's RR checkpoint for stale."""
    graph = dg.Definitions(
        assets=TRAINED, resources={"pipeline": None, "training_executor": None, "student": None}
    ).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    return [cause.reason for cause in resolver.get_stale_causes(dg.AssetKey("rr_checkpoint"), mixture)]


def test_a_checkpoint_is_in_step_with_all_of_its_sources_until_one_changes(
    instance: dg.DagsterInstance, work: Pipeline, executor: ToldExecutor, tmp_path: Path
) -> None:
    write_visual_cot(tmp_path / "sources")
    for mixture in ("visual_cot", "tabmwp", "mmat_1m"):
        assert run(instance, work, executor, partition_key=mixture).success
    assert stale_causes(instance, "visual_cot") == stale_causes(instance, "tabmwp") == []
    assert stale_causes(instance, "mmat_1m") == []
    write_tabmwp(tmp_path / "sources", 4)
    assert run(instance, work, executor, partition_key="tabmwp").success
    assert stale_causes(instance, "visual_cot") == stale_causes(instance, "tabmwp") == []
    assert stale_causes(instance, "mmat_1m") == ["has a new dependency data version"]
    assert run(instance, work, executor, partition_key="mmat_1m").success
    assert stale_causes(instance, "mmat_1m") == []


def test_every_source_is_a_mixture_and_part_of_the_whole() -> None:
    assert MIXTURES.get_partition_keys() == ["visual_cot", "llava_cot", "the_cauldron", "tabmwp", "infoseek", "mmat_1m"]
    job = schedules.training
    assert job.name == "training"
