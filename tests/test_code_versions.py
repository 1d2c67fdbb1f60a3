"""A changed prompt or module makes its stage and what follows stale, by the engine's keys and by Dagster's versions."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from assets import foundation
from mmat_dagster.datasets import code_version
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.schema import DatasetName
from mmat_dagster.staleness import stale_datasets
from tests.code_copies import edit
from tests.instances import local_instance
from tests.layouts import write_tabmwp
from tests.test_assets import ASSETS, run
from tests.test_pipeline import pipeline

EVERYTHING = {*get_args(DatasetName)}
AFTER_SAMPLES = EVERYTHING - {"source_qa"}
AFTER_RATIONALES = AFTER_SAMPLES - {"rationales"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dg.DagsterInstance, Pipeline]]:
    """Return a history and a store in which everything of one source is up to date."""
    folder = tmp_path_factory.mktemp("built")
    write_tabmwp(folder / "sources", 3)
    work = pipeline(folder)
    with local_instance(folder) as instance:
        assert run(instance, work, *EVERYTHING, partition_key="tabmwp").success
        yield instance, work


def stale_in_dagster(instance: dg.DagsterInstance) -> set[str]:
    """Return what Dagster takes for stale when it loads the assets as they are now."""
    assets = [
        asset.map_asset_specs(
            lambda spec: spec.replace_attributes(code_version=code_version(spec.key.to_user_string()))  # type: ignore[arg-type]
        )
        for asset in ASSETS
    ]
    graph = dg.Definitions(assets=[foundation.source_files, *assets], resources={"pipeline": None})
    resolver = CachingStaleStatusResolver(instance, graph.resolve_asset_graph(), LoadingContextForTest(instance))
    statuses = {asset.key.to_user_string(): resolver.get_status(asset.key, "tabmwp") for asset in ASSETS}
    return {name for name, status in statuses.items() if status is StaleStatus.STALE}


@pytest.mark.parametrize(
    ("name", "stages", "expected"),
    [
        ("prompts/orr_system.txt", {"orr_dialogues"}, {"orr_dialogues"}),
        ("stages/integration.py", {"orr_dialogues"}, {"orr_dialogues"}),
        ("prompts/audit_judge.txt", {"dialogue_audit"}, {"dialogue_audit"}),
        ("audit/gold.py", {"dialogue_audit"}, {"dialogue_audit"}),
        ("prompts/reflection_general.txt", {"rr_dialogues"}, AFTER_RATIONALES),
        ("stages/reflection.py", {"rr_dialogues"}, AFTER_RATIONALES),
        ("prompts/rationale_system.txt", {"rationales"}, AFTER_SAMPLES),
        ("stages/rationale.py", {"rationales"}, AFTER_SAMPLES),
        ("prompts/repair.txt", {"rationales", "rr_dialogues", "dialogue_audit"}, AFTER_SAMPLES),
        ("sources/tabmwp.py", {"source_qa"}, EVERYTHING),
        ("stages/foundation.py", {"source_qa"}, EVERYTHING),
        ("schema.py", EVERYTHING, EVERYTHING),
        ("release/card.py", set(), set()),
        ("scoring/mmmu.py", set(), set()),
    ],
)
def test_a_change_makes_its_stages_and_what_follows_stale(
    built: tuple[dg.DagsterInstance, Pipeline],
    name: str,
    stages: set[str],
    expected: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    instance, work = built
    assert (stale_in_dagster(instance), stale_datasets(work, "tabmwp")) == (set(), ())
    edit(name, tmp_path, monkeypatch)
    assert set(stale_datasets(work, "tabmwp")) == expected
    # What follows is stale to Dagster as soon as the stage has been made anew, and has come out differently.
    assert stale_in_dagster(instance) == stages
