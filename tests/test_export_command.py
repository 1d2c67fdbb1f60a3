"""The command `export`: writes, tells what it wrote, and fails with one clear sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmat_dagster import cli
from mmat_dagster.export.folder import SUMMARY
from tests.builders import make_sample
from tests.exporting import build_corpus, make_dialogue, put, rows, write_image

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_corpus(tmp_path_factory.mktemp("export_command"), records=2)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("MMAT_", "OPENAI_", "DAGSTER"))]:
        monkeypatch.delenv(name)
    use(monkeypatch, tmp_path)


def use(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("MMAT_STORE", str(folder / "store"))
    monkeypatch.setenv("MMAT_SOURCES", str(folder / "sources"))


def export(out: Path, *more: str, trainer: str = "ms-swift", form: str = "rr") -> int:
    return cli.run(["export", "--trainer", trainer, "--format", form, "--out", str(out), *more])


def test_it_writes_all_that_is_built_and_tells_how_to_train(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, corpus)
    assert export(tmp_path / "out", "--check-images", form="orr") == 0
    told = capsys.readouterr().out
    count = len(rows(tmp_path / "out"))
    assert f"{count} dialogues to train on, over " in told
    assert "CC BY-NC-SA 4.0, not for commercial use" in told
    assert told.endswith(f"Train: cd {tmp_path / 'out'} && swift sft sft.yaml\n")
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["README.md", "dropped.jsonl", SUMMARY, "sft.yaml", "train.jsonl"]


def test_it_takes_sources_a_student_and_a_share(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, corpus)
    options = ["--source", "llava_cot", "--source", "tabmwp", "--student", "MiniCPM-V-2.6", "--val-share", "0.5"]
    assert export(tmp_path / "out", *options, trainer="llama-factory", form="answer") == 0
    written = [*rows(tmp_path / "out"), *rows(tmp_path / "out", "val.jsonl")]
    assert {row["id"].partition("/")[0] for row in written} == {"llava_cot", "tabmwp"}
    settings = (tmp_path / "out" / "train.yaml").read_text()
    assert 'model_name_or_path: "openbmb/MiniCPM-V-2_6"\ntrust_remote_code: true' in settings
    assert " held out" in capsys.readouterr().out


def test_nothing_built_yet_tells_what_builds_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(tmp_path / "out", form="orr") == 1
    told = capsys.readouterr().err
    assert "is not built yet. Build it with: python -m mmat_dagster materialize orr_dialogues\n" in told
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_not_built_is_passed_over_unless_it_was_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, make_dialogue(make_sample(images=(write_image(tmp_path, "1.png", "0" * 64),))))
    assert export(tmp_path / "out") == 0
    assert "llava_cot: rr_dialogues is not built, passed over" in capsys.readouterr().err
    assert export(tmp_path / "other", "--source", "tabmwp", "--source", "llava_cot") == 1
    assert capsys.readouterr().err == (
        "error: rr_dialogues of llava_cot is not built yet. Build it with: "
        "python -m mmat_dagster materialize rr_dialogues --source llava_cot\n"
    )


def test_losses_are_told_and_an_export_without_a_dialogue_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound, missing = (make_sample(id=f"tabmwp/{name}") for name in ("sound", "missing"))
    image = write_image(tmp_path, "1.png", "0" * 64)
    put(tmp_path, make_dialogue(missing))
    assert export(tmp_path / "out") == 1
    assert "error: no dialogue is left to train on: 1 missing image\n" in capsys.readouterr().err
    put(tmp_path, make_dialogue(missing), make_dialogue(make_sample(id=sound.id, images=(image,))))
    assert export(tmp_path / "out") == 0
    told = capsys.readouterr().out
    assert "missing image" in told
    assert f"{tmp_path / 'out' / 'dropped.jsonl'} names each that was dropped" in told


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--trainer", "axolotl"], "invalid choice: 'axolotl' (choose from 'ms-swift', 'llama-factory', 'trl')"),
        (["--format", "dpo"], "invalid choice: 'dpo'"),
        (["--val-share", "1"], "must be at least 0 and below 1"),
        (["--val-share", "nan"], "must be at least 0 and below 1"),
    ],
)
def test_wrong_arguments_are_refused_with_the_right_ones(
    options: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        export(tmp_path / "out", *options)
    assert complaint in capsys.readouterr().err


def test_an_unknown_student_is_refused_with_the_known_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(tmp_path / "out", "--student", "gpt-5") == 1
    assert "error: 'gpt-5' is no student that ms-swift can train: it may be internvl2.5-8b" in capsys.readouterr().err


def test_an_existing_folder_is_kept_unless_it_is_to_be_overwritten(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, corpus)
    assert export(tmp_path / "out") == 0
    assert export(tmp_path / "out", form="orr") == 1
    assert "Add --overwrite to replace an export" in capsys.readouterr().err
    assert export(tmp_path / "out", "--overwrite", form="orr") == 0
    assert "# mmat_orr for ms-swift" in (tmp_path / "out" / "README.md").read_text()


def test_a_place_that_cannot_be_written_is_told(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, corpus)
    (tmp_path / "file").write_text("a file where the folder should be")
    assert export(tmp_path / "file" / "out") == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'file' / 'out'} cannot be written: File exists\n"


def test_a_rebuild_meanwhile_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, make_dialogue(make_sample()))
    next((tmp_path / "store" / "rr_dialogues" / "tabmwp").glob("*key.parquet")).unlink()
    assert export(tmp_path / "out") == 1
    assert "rr_dialogues of tabmwp was rebuilt meanwhile" in capsys.readouterr().err


def test_it_imports_neither_torch_nor_dagsters_definitions(tmp_path: Path) -> None:
    script = (
        "import sys, mmat_dagster.export, mmat_dagster.cli; "
        "print([name for name in ('torch', 'transformers', 'datasets', 'dagster') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "[]\n"
