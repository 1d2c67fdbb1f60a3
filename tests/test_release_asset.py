"""The release as an asset: recorded with what it holds, pushed after it is whole, and failed with what to do."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets import release
from mmat_dagster.ledger.outlays import Outlay
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.release.hub import PushFailed, ReleaseHub
from mmat_dagster.release.ledger import ReadOutlays
from mmat_dagster.release.publishing import read_release
from resources.hub import HuggingFaceHub
from tests import instances
from tests.commands import make_home, set_environment
from tests.releasing import Shop, stock
from tests.test_cli import call
from tests.test_pipeline import pipeline

instance = instances.instance

PAID = Outlay(
    model="gpt-4o-2024-11-20",
    label="rationales of tabmwp",
    calls=12,
    prompt_tokens=3400,
    cached_tokens=1000,
    completion_tokens=560,
    usd=0.25,
    first_at=1_700_000_000.0,
    last_at=1_700_100_000.0,
)


@dataclass
class ToldHub(ReleaseHub):
    """Takes every release, or none."""

    name: str | None = None
    trouble: str = ""
    pushed: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def repository(self) -> str | None:
        return self.name

    def push(self, folder: Path, repository: str) -> str:
        assert (folder / "README.md").is_file()
        if self.trouble:
            raise PushFailed(self.trouble)
        self.pushed.append((folder, repository))
        return f"https://hub.example/datasets/{repository}"


class ToldOutlays(ReadOutlays):
    """Has paid once."""

    def read(self, labels: Collection[str]) -> tuple[Outlay, ...]:
        return (PAID,) if PAID.label in labels else ()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return stock(tmp_path, 20)


@pytest.fixture
def work(shop: Shop) -> Pipeline:
    return pipeline(shop.root)


def run(instance: dg.DagsterInstance, work: Pipeline, hub: ReleaseHub, **config: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [release.dataset_release],
        instance=instance,
        resources={"pipeline": work, "release_hub": hub, "outlays": ToldOutlays()},
        run_config={"ops": {"dataset_release": {"config": config}}},
        raise_on_error=False,
    )


def recorded(instance: dg.DagsterInstance) -> dg.AssetMaterialization:
    (record,) = instance.fetch_materializations(dg.AssetKey("dataset_release"), limit=1).records
    assert record.asset_materialization is not None
    return record.asset_materialization


def why(result: dg.ExecuteInProcessResult) -> str:
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    told = failed.step_failure_data.user_failure_data
    assert told is not None
    return told.description or ""


def test_a_release_is_recorded_with_its_counts_its_licences_and_its_card(
    instance: dg.DagsterInstance, work: Pipeline, shop: Shop
) -> None:
    assert run(instance, work, ToldHub(), val_share=0.3).success
    told = recorded(instance)
    made = read_release(shop.store)
    assert made is not None
    assert told.metadata["rr_train"].value == made.splits["rr"]["train"]
    assert told.metadata["images"].value == 10
    assert "| tabmwp | train | CC BY-NC-SA 4.0 | 20 | 20 | 10 |" in str(told.metadata["licences"].value)
    card = str(told.metadata["card"].value)
    assert card.lstrip().startswith("# MMAT dialogues")
    assert (
        "| gpt-4o-2024-11-20 | rationales of tabmwp | 12 | 3,400 | 1,000 | 560 | 0.2500 | 2023-11-14 to 2023-11-16 |"
        in card
    )
    assert (told.tags or {})["dagster/data_version"] == made.fingerprint


def test_a_release_is_pushed_once_it_is_whole(instance: dg.DagsterInstance, work: Pipeline, shop: Shop) -> None:
    hub = ToldHub(name="somebody/mmat")
    assert run(instance, work, hub).success
    made = read_release(shop.store)
    assert made is not None
    assert hub.pushed == [(shop.folder(made).absolute(), "somebody/mmat")]
    assert recorded(instance).metadata["pushed_to"].value == "https://hub.example/datasets/somebody/mmat"


def test_a_failed_push_leaves_the_release_and_says_what_to_do(
    instance: dg.DagsterInstance, work: Pipeline, shop: Shop
) -> None:
    result = run(instance, work, ToldHub(name="somebody/mmat", trouble="check HF_TOKEN"))
    assert not result.success
    assert "check HF_TOKEN" in why(result)
    assert read_release(shop.store) is not None


def test_an_empty_store_fails_with_the_command_to_run(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    result = run(instance, pipeline(tmp_path), ToldHub())
    assert "materialize orr_dialogues" in why(result)


def test_the_hub_says_that_a_token_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PushFailed, match="set HF_TOKEN"):
        HuggingFaceHub(repository_id="somebody/mmat").push(tmp_path, "somebody/mmat")


def test_a_token_is_never_shown() -> None:
    assert "hf_secret" not in repr(HuggingFaceHub(token="hf_secret"))


def test_the_command_makes_a_release_and_says_where(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "DAGSTER_HOME": str(make_home(shop.root)),
        "MMAT_STORE": str(shop.root / "store"),
        "MMAT_SOURCES": str(shop.root / "sources"),
    }
    set_environment(monkeypatch, variables)
    done = call("release", "--val-share", "0.3")
    made = read_release(shop.store)
    assert (done.returncode, done.stderr) == (0, "")
    assert made is not None
    assert str(shop.folder(made)) in done.stdout
