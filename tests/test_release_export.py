"""The command `export --release`: whoever has the folder of a release, and nothing else, can train on it."""

import os
from pathlib import Path

import pytest

from mmat_dagster import cli
from mmat_dagster.export import EXPORTERS
from mmat_dagster.release.lines import NAMES
from tests.releasing import lines, stock


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("MMAT_", "OPENAI_", "DAGSTER"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MMAT_STORE", str(tmp_path / "nowhere"))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    shop = stock(tmp_path / "shop")
    return shop.folder(shop.publish(val_share=0.3)).rename(tmp_path / "downloaded")


@pytest.mark.parametrize("trainer", EXPORTERS)
def test_every_trainer_gets_both_sides_of_the_release(release: Path, tmp_path: Path, trainer: str) -> None:
    out = tmp_path / "out"
    asked = ["export", "--trainer", trainer, "--format", "orr", "--release", str(release), "--out", str(out)]
    assert cli.run([*asked, "--check-images"]) == 0
    for side, name in (("train", "train.jsonl"), ("val", "val.jsonl")):
        exported, released = lines(out / name), lines(release / NAMES["orr", side])
        assert [row["messages"] for row in exported] == [row["messages"] for row in released]
        assert [row["images"] for row in exported] == [
            [str(release / path) for path in row["images"]] for row in released
        ]
    assert lines(out / "dropped.jsonl") == []


def test_the_answers_alone_can_be_exported_from_a_release(release: Path, tmp_path: Path) -> None:
    asked = ["export", "--trainer", "ms-swift", "--format", "answer", "--release", str(release)]
    assert cli.run([*asked, "--out", str(tmp_path / "out")]) == 0
    assert lines(tmp_path / "out" / "train.jsonl")[0]["messages"][-1]["content"] == "the-gold-answer"


def test_a_folder_that_is_no_release_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["export", "--trainer", "trl", "--format", "rr", "--release", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.run(asked) == 1
    assert "is no release: there is no dataset_qa_rr_train_all_RR_sys.jsonl" in capsys.readouterr().err


def test_a_release_is_not_split_once_more(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["export", "--trainer", "trl", "--format", "rr", "--release", str(release), "--out", str(tmp_path / "out")]
    assert cli.run([*asked, "--val-share", "0.1"]) == 1
    assert "a release is split already" in capsys.readouterr().err
