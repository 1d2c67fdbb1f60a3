"""A release is read by the libraries and trainers that it is made for: datasets, the hub's card, Croissant, TRL."""

import json
import logging
import os
import runpy
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mmat_dagster.export.dialogues import of_release
from mmat_dagster.export.image_files import ImageFiles
from mmat_dagster.export.trainer import Recipe
from mmat_dagster.export.trl import TRAINER
from mmat_dagster.export.writing import Export, write_export
from mmat_dagster.images import PicturesOnDisk
from mmat_dagster.release.lines import NAMES
from mmat_dagster.release.provenance import Facts
from mmat_dagster.release.reading import read_released
from mmat_dagster.release.validation import load_mlcroissant, validate
from tests.releasing import Shop, lines, stock

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    pytest.importorskip("datasets")
    pytest.importorskip("huggingface_hub")
    # Not imported before it is used: what it logs with closes stderr when another test configures logging.
    if find_spec("mlcroissant") is None:
        pytest.skip("mlcroissant is not installed", allow_module_level=True)

import datasets
from huggingface_hub import DatasetCard

SHARE = 0.3


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return stock(tmp_path_factory.mktemp("loading"))


@pytest.fixture(scope="module")
def folder(shop: Shop) -> Path:
    return shop.folder(shop.publish(Facts(version="1.0", benchmarks={"mmstar": 1500}), val_share=SHARE))


@pytest.mark.parametrize("form", ["rr", "orr"])
def test_datasets_opens_both_splits_with_images_decoded(folder: Path, tmp_path: Path, form: Any) -> None:
    loaded = datasets.load_dataset(str(folder), form, cache_dir=str(tmp_path))
    assert {*loaded} == {"train", "val"}
    for side in ("train", "val"):
        expected = lines(folder / NAMES[form, side])
        assert [row["messages"] for row in loaded[side]] == [row["messages"] for row in expected]
        image = loaded[side][0]["images"][0]
        assert image.size == (8, 6)
        assert image.format == "PNG"


def test_datasets_reads_the_json_lines(folder: Path, tmp_path: Path) -> None:
    path = folder / NAMES["rr", "train"]
    loaded = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path))
    assert loaded.to_list() == lines(path)


def test_the_hub_reads_the_card_back_with_what_it_asks_for(folder: Path) -> None:
    card = DatasetCard.load(folder / "README.md")
    told = card.data.to_dict()
    assert told["license"] == "cc-by-nc-sa-4.0"
    assert told["size_categories"] == ["n<1K"]
    assert [each["config_name"] for each in told["configs"]] == ["rr", "orr"]
    infos = datasets.info.DatasetInfosDict.from_directory(str(folder))
    assert infos["rr"].splits["train"].num_examples == len(lines(folder / NAMES["rr", "train"]))
    loaded = datasets.load_dataset_builder(str(folder), "rr")
    assert loaded.info.features == infos["rr"].features
    assert "mmstar (1,500 questions)" in card.text
    assert "CC BY-NC-SA 4.0 | **no commercial use**; derived data under the same licence; name the authors" in card.text


def test_croissant_is_valid_and_its_records_are_those_of_the_release(folder: Path) -> None:
    logging.getLogger("absl").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        described = load_mlcroissant().Dataset(str(folder / "croissant.json"))
        assert not described.metadata.ctx.issues.errors
        records = [each["rr_val/id"].decode() for each in described.records("rr_val")]
    assert sorted(records) == sorted(row["id"] for row in lines(folder / NAMES["rr", "val"]))


def test_a_release_validates_itself(folder: Path) -> None:
    validate(folder)


def export(folder: Path, out: Path, form: Any = "rr") -> Path:
    recipe = Recipe(name=f"mmat_{form}", student=TRAINER.students["smolvlm"], form=form, has_validation=True)
    wanted = Export(
        trainer=TRAINER,
        recipe=recipe,
        store=Shop(root=folder).store,
        manifests=[],
        images=ImageFiles(pictures=PicturesOnDisk(source_root=folder, store_root=folder), is_hashed=True),
        release=folder,
        sources=("tabmwp",),
    )
    write_export(wanted, out)
    return out


def test_an_export_from_a_release_keeps_its_split_and_every_word(folder: Path, tmp_path: Path) -> None:
    out = export(folder, tmp_path / "out")
    for side, name in (("train", "train.jsonl"), ("val", "val.jsonl")):
        exported, released = lines(out / name), lines(folder / NAMES["rr", side])
        assert [(row["id"], row["messages"]) for row in exported] == [(row["id"], row["messages"]) for row in released]
        assert all(Path(path).is_file() and Path(path).is_absolute() for row in exported for path in row["images"])


def test_a_released_dialogue_says_what_an_export_needs(folder: Path) -> None:
    found = [of_release(each) for each in read_released(folder, "orr")]
    assert {each.is_held_out for each in found} == {True, False}
    assert {(each.part, each.licence) for each in found} == {("train", "CC BY-NC-SA 4.0")}


def test_trl_takes_the_rows_as_its_script_prepares_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not os.environ.get("MMAT_REQUIRE_TRAINING"):
        pytest.importorskip("trl")
    from trl.data_utils import is_conversational, prepare_multimodal_messages  # noqa: PLC0415

    out = export(folder, tmp_path / "out")
    monkeypatch.chdir(out)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    script = runpy.run_path("train.py")
    row = script["rows"]("train.jsonl")[0]
    assert is_conversational(row)
    taken = prepare_multimodal_messages(row["messages"], images=row["images"])
    assert "<image>" not in json.dumps(row["messages"])
    first = next(message for message in taken if message["role"] == "user")
    assert [part["type"] for part in first["content"]] == ["image", "text"]
    assert first["content"][0]["image"].size == (8, 6)
