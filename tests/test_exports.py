"""Exports hold what their trainers' published formats ask for, and every dialogue survives."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings

from mmat_dagster import wire
from mmat_dagster.export import EXPORTERS
from mmat_dagster.export.dialogues import messages_of
from mmat_dagster.export.writing import write_export
from mmat_dagster.media_marks import MEDIA_MARKS
from mmat_dagster.schema import Message, Transcript
from mmat_dagster.training.spec import TrainingFormat
from tests.builders import SAMPLE, make_sample
from tests.exporting import build_corpus, losses, make_dialogue, make_export, put, read, rows, write_image
from tests.test_wire import transcripts

FORMS: tuple[TrainingFormat, ...] = ("rr", "orr", "answer")
PIXELS = hashlib.sha256(b"pixels").hexdigest()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_corpus(tmp_path_factory.mktemp("exports"))


@pytest.mark.parametrize("trainer", EXPORTERS)
@pytest.mark.parametrize("form", FORMS)
def test_every_dialogue_becomes_one_row_with_its_messages_and_pictures(
    corpus: Path, tmp_path: Path, trainer: str, form: TrainingFormat
) -> None:
    write_export(make_export(corpus, trainer, form, is_hashed=True), tmp_path / "out")
    dialogues = read(corpus, form)
    written = rows(tmp_path / "out")
    assert {dialogue.source for dialogue in dialogues} == {
        "visual_cot",
        "llava_cot",
        "the_cauldron",
        "tabmwp",
        "infoseek",
    }
    for dialogue, row in zip(dialogues, written, strict=True):
        assert row["id"] == dialogue.id
        expected = messages_of(dialogue, form)
        assert [Message(**message) for message in row["messages"]] == list(expected)
        hashes = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in row["images"]]
        assert hashes == [image.sha256 for image in dialogue.images]
    assert losses(tmp_path / "out") == []


@pytest.mark.parametrize("trainer", EXPORTERS)
@pytest.mark.parametrize("form", FORMS)
def test_rows_keep_to_what_both_trainers_publish(
    corpus: Path, tmp_path: Path, trainer: str, form: TrainingFormat
) -> None:
    write_export(make_export(corpus, trainer, form), tmp_path / "out")
    for row in rows(tmp_path / "out"):
        assert set(row) == {"id", "messages", "images"}
        assert all(set(message) == {"role", "content"} for message in row["messages"])
        roles = [message["role"] for message in row["messages"]]
        talk = roles[1:] if form != "answer" else roles
        assert talk == ["user", "assistant"] * (len(talk) // 2)
        assert talk
        assert sum(message["content"].count("<image>") for message in row["messages"]) == len(row["images"])
        assert all(Path(path).is_absolute() for path in row["images"])


def test_the_control_asks_what_orr_asks_and_tells_nothing_but_the_answer(corpus: Path, tmp_path: Path) -> None:
    write_export(make_export(corpus, form="answer"), tmp_path / "out")
    for dialogue, row in zip(read(corpus, "answer"), rows(tmp_path / "out"), strict=True):
        asked, told = row["messages"]
        assert asked == {"role": "user", "content": dialogue.messages[1].content}
        assert told == {"role": "assistant", "content": wire.parse_orr(dialogue.messages).answer}


@given(transcripts)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_messages_survive_the_export(tmp_path: Path, transcript: Transcript) -> None:
    images = tuple(write_image(tmp_path, f"{number}.png", PIXELS) for number in range(transcript.image_count))
    sample = replace(SAMPLE, images=images)
    dialogue = make_dialogue(sample, transcript)
    assume(not any(mark in message.content for mark in MEDIA_MARKS for message in dialogue.messages))
    put(tmp_path, dialogue)
    write_export(make_export(tmp_path), tmp_path / "out", is_replacing=True)
    (row,) = rows(tmp_path / "out")
    messages = [Message(**message) for message in row["messages"]]
    assert messages == list(dialogue.messages)
    assert wire.parse_rr(messages) == transcript
    assert len(row["images"]) == transcript.image_count


def test_the_same_export_twice_has_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    for trainer in EXPORTERS:
        for name in ("one", "two"):
            write_export(make_export(corpus, trainer, val_share=0.3), tmp_path / trainer / name)
        one, two = (
            {path.name: path.read_bytes() for path in (tmp_path / trainer / name).iterdir()} for name in ("one", "two")
        )
        assert one == two
        assert str(tmp_path).encode() not in b"".join(one.values())


def test_licences_are_told_by_part_and_what_is_not_for_sale_is_named(corpus: Path, tmp_path: Path) -> None:
    totals = write_export(make_export(corpus), tmp_path / "out")
    told = (tmp_path / "out" / "README.md").read_text()
    counted = sum(dialogues for _, dialogues, _ in totals.parts)
    assert counted == len(rows(tmp_path / "out")) == totals.dialogues("train.jsonl")
    assert "| tabmwp | train | 3 | 3 | CC BY-NC-SA 4.0 | **no** |" in told
    assert any(part.is_commercial for part, _, _ in totals.parts)
    for part, dialogues, images in totals.parts:
        use = "yes" if part.is_commercial else "**no**"
        assert f"| {part.part} | {dialogues} | {images} | {part.licence} | {use} |" in told
    assert f"They show {totals.images:,} different images" in told


def test_the_readme_of_llama_factory_says_that_it_cuts(corpus: Path, tmp_path: Path) -> None:
    totals = write_export(make_export(corpus, "llama-factory"), tmp_path / "out")
    longest = max(sum(len(part["content"].encode()) for part in row["messages"]) for row in rows(tmp_path / "out"))
    told = (tmp_path / "out" / "README.md").read_text()
    assert "**It cuts.**" in told
    assert totals.longest_bytes == longest
    assert f"{longest:,} bytes" in told.replace("\n", " ")


def test_rows_without_images_come_last_so_that_the_first_ones_tell_what_images_are(tmp_path: Path) -> None:
    image = write_image(tmp_path, "1.png", PIXELS)
    put(
        tmp_path,
        make_dialogue(make_sample(id="tabmwp/bare", images=())),
        make_dialogue(make_sample(id="tabmwp/seen", images=(image,))),
    )
    write_export(make_export(tmp_path), tmp_path / "out")
    assert [(row["id"], len(row["images"])) for row in rows(tmp_path / "out")] == [
        ("tabmwp/seen", 1),
        ("tabmwp/bare", 0),
    ]
    assert not [path for path in (tmp_path / "out").iterdir() if "without" in path.name]


@pytest.mark.parametrize("trainer", EXPORTERS)
def test_the_files_are_read_by_hugging_faces_datasets(corpus: Path, tmp_path: Path, trainer: str) -> None:
    datasets = pytest.importorskip("datasets")
    write_export(make_export(corpus, trainer), tmp_path / "out")
    files = str(tmp_path / "out" / "train.jsonl")
    loaded = datasets.load_dataset("json", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.to_list() == rows(tmp_path / "out")
