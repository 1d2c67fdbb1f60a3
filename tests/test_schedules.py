"""The job `data` reaches the release, for one source and for all of them, and old releases and scores are told."""

import asyncio
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.loader import LoadingContextForTest

from assets import schedules
from mmat_dagster.definitions import defs
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.release.publishing import read_release
from tests import instances
from tests.test_asking import ASSETS_OF_JOBS
from tests.test_assets import RANGE
from tests.test_release_asset import ToldHub, ToldOutlays

instance = instances.instance
work = instances.work


def run_data(instance: dg.DagsterInstance, work: Pipeline, **options: Any) -> dg.ExecuteInProcessResult:
    job = dg.Definitions(
        assets=ASSETS_OF_JOBS,
        jobs=[schedules.data],
        resources={"pipeline": work, "release_hub": ToldHub(), "outlays": ToldOutlays()},
        executor=dg.in_process_executor,
    ).resolve_job_def("data")
    return job.execute_in_process(instance=instance, raise_on_error=False, **options)


@pytest.mark.parametrize("options", [{"partition_key": "tabmwp"}, {"tags": RANGE}])
def test_a_run_of_data_goes_from_the_files_to_the_release(
    instance: dg.DagsterInstance, work: Pipeline, options: dict[str, Any]
) -> None:
    result = run_data(instance, work, **options)
    assert result.success
    made = read_release(work.store)
    assert made is not None
    assert (made.splits["rr"]["train"] + made.splits["rr"]["val"], made.audited) == (3, 3)
    (record,) = instance.fetch_materializations(dg.AssetKey("dataset_release"), limit=9).records
    assert record.partition_key is None


def freshness(instance: dg.DagsterInstance, name: str) -> FreshnessState:
    node = defs.resolve_asset_graph().get(dg.AssetKey(name))
    evaluator = TimeWindowFreshnessPolicyEvaluator()
    return asyncio.run(evaluator.evaluate_freshness(LoadingContextForTest(instance), node))


@pytest.mark.parametrize(("name", "partition"), [("dataset_release", None), ("benchmark_scores", "mmat_1m")])
def test_the_daemon_knows_how_old_releases_and_scores_are(
    instance: dg.DagsterInstance, name: str, partition: str | None
) -> None:
    assert instance.freshness_enabled  # without a word in dagster.yaml
    assert freshness(instance, name) is FreshnessState.UNKNOWN
    instance.report_runless_asset_event(dg.AssetMaterialization(asset_key=name, partition=partition))
    assert freshness(instance, name) is FreshnessState.PASS
