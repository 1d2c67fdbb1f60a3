"""Benchmark scores are an asset: told with the table, the plot and significance, and recorded by mixture."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from PIL import Image

from assets import evaluation
from assets.evaluation_metadata import draw_scores
from mmat_dagster.evaluation.hosts import HostingFailed
from mmat_dagster.evaluation.results import read_scoreboard
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.training.checkpoints import read_current
from mmat_dagster.training.students import STUDENTS
from tests import instances
from tests.examined import ToldHost
from tests.test_pipeline import pipeline
from tests.test_scoreboard import knows, train, write_benchmark

instance = instances.ephemeral


@pytest.fixture
def work(tmp_path: Path) -> Pipeline:
    write_benchmark(tmp_path / "benchmarks")
    made = pipeline(tmp_path)
    return replace(made, settings=replace(made.settings, benchmarks=tmp_path / "benchmarks"))


def run(instance: dg.DagsterInstance, work: Pipeline, host: ToldHost, **config: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [evaluation.benchmark_scores],
        instance=instance,
        partition_key="tabmwp",
        resources={"pipeline": work, "student_host": host, "student": STUDENTS["tiny"]},
        run_config={"ops": {"benchmark_scores": {"config": config}}},
        raise_on_error=False,
    )


def recorded(instance: dg.DagsterInstance) -> list[dg.AssetMaterialization]:
    records = instance.fetch_materializations(dg.AssetKey("benchmark_scores"), limit=10).records
    return [record.asset_materialization for record in reversed(records) if record.asset_materialization]


def test_scores_are_told_with_table_plot_and_significance(instance: dg.DagsterInstance, work: Pipeline) -> None:
    for name in ("orr_checkpoint", "rr_checkpoint"):
        train(work.store, name)  # type: ignore[arg-type]
    assert run(instance, work, knows("red", "blue")).success
    (told,) = recorded(instance)
    assert told.partition == "tabmwp"
    assert "| rr |  | 50.0 (" in told.metadata["scores"].value  # type: ignore[operator]
    assert "rr against base" in told.metadata["significance"].value  # type: ignore[operator]
    assert str(told.metadata["plot"].value).startswith("![scores](data:image/png;base64,")
    assert told.metadata["sample_vqa_rr"].value == 50.0
    assert "**assistant**" in str(told.metadata["transcript"].value)
    assert (told.tags or {})["dagster/data_version"] == read_scoreboard(work.store, "tabmwp").fingerprint


def test_a_second_run_examines_nobody(instance: dg.DagsterInstance, work: Pipeline) -> None:
    train(work.store, "rr_checkpoint")  # type: ignore[arg-type]
    assert run(instance, work, knows("red"), variants=["rr"]).success
    assert run(instance, work, knows("red"), variants=["rr"]).success
    first, second = recorded(instance)
    assert [first.metadata["reused"].value, second.metadata["reused"].value] == [0, 1]
    assert (first.tags or {})["dagster/data_version"] == (second.tags or {})["dagster/data_version"]


def test_scores_are_recorded_with_the_checkpoints_that_they_are_of(
    instance: dg.DagsterInstance, work: Pipeline
) -> None:
    train(work.store, "rr_checkpoint")  # type: ignore[arg-type]
    assert run(instance, work, knows("red"), variants=["rr"]).success
    (told,) = recorded(instance)
    checkpoint = read_current(work.store, "rr_checkpoint", "tabmwp")
    assert checkpoint is not None
    assert (told.tags or {})["dagster/input_data_version/rr_checkpoint"] == checkpoint.fingerprint


def test_missing_checkpoints_are_told_beside_the_scores_of_the_others(
    instance: dg.DagsterInstance, work: Pipeline
) -> None:
    assert run(instance, work, knows()).success
    (told,) = recorded(instance)
    assert "there is no rr_checkpoint of tabmwp" in str(told.metadata["not_examined"].value)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"benchmarks": ["mystery"]}, "mystery is no benchmark"),
        ({"variants": ["best"]}, "'best' is no variant"),
        ({"variants": ["rr"]}, "Train it first"),
        ({"variants": ["base"], "extraction": "teacher"}, "set MMAT_TEACHER"),
        ({"variants": ["base"]}, "the server has died"),
    ],
)
def test_what_cannot_be_examined_fails_with_what_to_do(
    instance: dg.DagsterInstance, work: Pipeline, config: dict[str, Any], complaint: str
) -> None:
    class Dead(ToldHost):
        def serve(self, student: object) -> Any:
            raise HostingFailed("the server has died")

    result = run(instance, work, Dead(lambda student, messages: ""), **config)
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    told = failed.step_failure_data.user_failure_data
    assert told is not None
    assert complaint in (told.description or "")


def test_the_plot_is_a_picture_of_a_size_that_an_event_log_holds(instance: dg.DagsterInstance, work: Pipeline) -> None:
    assert run(instance, work, knows()).success
    drawn = draw_scores(read_scoreboard(work.store, "tabmwp"))
    with Image.open(io.BytesIO(drawn)) as picture:
        assert picture.width > picture.height > 200
    assert len(drawn) < 100_000
