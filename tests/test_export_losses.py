"""What a trainer would misread is dropped by name, and no image is on both sides of a split."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmat_dagster.export.dialogues import NotExportable, check_messages
from mmat_dagster.export.folder import ExportRefused
from mmat_dagster.export.writing import write_export
from mmat_dagster.schema import Dialogue, Message, Role
from mmat_dagster.splits import is_held_out
from tests.builders import make_sample
from tests.dialogues import TRANSCRIPT
from tests.exporting import losses, make_dialogue, make_export, put, rows, write_image

PIXELS = hashlib.sha256(b"pixels").hexdigest()


def talk(*contents: str) -> list[Message]:
    roles: Sequence[Role] = ("system", "user", "assistant")
    return [Message(role=role, content=content) for role, content in zip(roles, contents, strict=True)]


@pytest.mark.parametrize(
    ("messages", "images", "reason"),
    [
        (talk("system", "<image>What?", "A <video> of it."), 1, "media mark in the text"),
        (talk("Hear <audio>", "<image>What?", "It."), 1, "media mark in the text"),
        (talk("system", "<image>What is <|image|>?", "It."), 1, "media mark in the text"),
        (talk("system", "<image>What?", "An <image> of it."), 1, "image marks do not match the images"),
        (talk("an <image>", "What?", "It."), 1, "image marks do not match the images"),
        (talk("system", "What <image>?", "It."), 1, "image marks do not match the images"),
        (talk("system", "<image>What?", "It."), 2, "image marks do not match the images"),
        (talk("system", "What?", "It.")[:2], 0, "roles out of order"),
        (talk("system", "What?", "It.")[::-1], 0, "roles out of order"),
        ([], 0, "roles out of order"),
    ],
)
def test_what_a_trainer_would_misread_is_not_exportable(messages: list[Message], images: int, reason: str) -> None:
    with pytest.raises(NotExportable, match=f"^{re.escape(reason)}: ") as refused:
        check_messages(messages, images)
    assert refused.value.reason == reason


def test_each_dropped_dialogue_is_named_and_its_neighbours_are_kept(tmp_path: Path) -> None:
    sound = write_image(tmp_path, "1.png", PIXELS)
    changed = write_image(tmp_path, "2.png", PIXELS, b"other pixels")
    missing = replace(sound, path="3.png")
    spoken = replace(TRANSCRIPT, answer="<video> of sand")
    put(
        tmp_path,
        make_dialogue(make_sample(id="tabmwp/1", images=(sound,))),
        make_dialogue(make_sample(id="tabmwp/2", images=(changed,))),
        make_dialogue(make_sample(id="tabmwp/3", images=(missing,))),
        make_dialogue(make_sample(id="tabmwp/4", images=(sound,)), spoken),
        replace(make_dialogue(make_sample(id="tabmwp/5", images=(sound,))), images=(sound, sound)),
        make_dialogue(make_sample(id="tabmwp/6", images=(sound,))),
    )
    totals = write_export(make_export(tmp_path, is_hashed=True), tmp_path / "out")
    assert [row["id"] for row in rows(tmp_path / "out")] == ["tabmwp/1", "tabmwp/6"]
    assert losses(tmp_path / "out") == [
        ("tabmwp/2", "image changed"),
        ("tabmwp/3", "missing image"),
        ("tabmwp/4", "media mark in the text"),
        ("tabmwp/5", "image marks do not match the images"),
    ]
    assert "'<video> of sand'" in rows(tmp_path / "out", "dropped.jsonl")[2]["detail"]
    assert all(set(row) == {"id", "source", "reason", "detail"} for row in rows(tmp_path / "out", "dropped.jsonl"))
    assert totals.lost.total() == 4
    assert "| tabmwp | image changed | 1 |" in (tmp_path / "out" / "README.md").read_text()


def test_a_changed_image_passes_unless_images_are_to_be_read(tmp_path: Path) -> None:
    changed = write_image(tmp_path, "1.png", PIXELS, b"other pixels")
    put(tmp_path, make_dialogue(make_sample(images=(changed,))))
    write_export(make_export(tmp_path), tmp_path / "out")
    assert losses(tmp_path / "out") == []


def split(tmp_path: Path, *dialogues: Dialogue) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    put(tmp_path, *dialogues)
    write_export(make_export(tmp_path, "llama-factory", val_share=0.3), tmp_path / "out")
    return rows(tmp_path / "out"), rows(tmp_path / "out", "val.jsonl")


def shown(folder: Path, *pictures: int) -> Any:
    data = [str(picture).encode() for picture in pictures]
    return tuple(
        write_image(folder, f"{number.decode()}.png", hashlib.sha256(number).hexdigest(), number) for number in data
    )


def test_no_image_is_both_learned_from_and_held_out(tmp_path: Path) -> None:
    dialogues = [
        make_dialogue(make_sample(id=f"tabmwp/{number}", images=shown(tmp_path, number % 50))) for number in range(100)
    ]
    train, validation = split(tmp_path, *dialogues)
    assert len(train) + len(validation) == 100
    assert 10 < len(validation) < 60
    learned, held_out = ({path for row in side for path in row["images"]} for side in (train, validation))
    assert not learned & held_out


def test_a_dialogue_over_images_of_both_sides_is_dropped_by_name(tmp_path: Path) -> None:
    sides = {is_held_out(hashlib.sha256(str(number).encode()).hexdigest(), 0.3): number for number in range(20)}
    both = make_dialogue(make_sample(id="tabmwp/both", images=shown(tmp_path, sides[True], sides[False])))
    left = make_dialogue(make_sample(id="tabmwp/left", images=shown(tmp_path, sides[False])))
    right = make_dialogue(make_sample(id="tabmwp/right", images=shown(tmp_path, sides[True])))
    train, validation = split(tmp_path, both, left, right)
    assert ([row["id"] for row in train], [row["id"] for row in validation]) == (["tabmwp/left"], ["tabmwp/right"])
    assert losses(tmp_path / "out") == [("tabmwp/both", "images on both sides of the split")]


def test_a_dialogue_without_images_has_a_side_too(tmp_path: Path) -> None:
    bare = [make_dialogue(make_sample(id=f"tabmwp/{number}", images=())) for number in range(40)]
    train, validation = split(tmp_path, *bare)
    assert Counter([bool(train), bool(validation), len(train) + len(validation) == 40]) == {True: 3}


def test_a_split_that_would_be_empty_is_refused(tmp_path: Path) -> None:
    put(tmp_path, make_dialogue(make_sample(images=shown(tmp_path, 1))))
    with pytest.raises(ExportRefused, match="no dialogue is held out"):
        write_export(make_export(tmp_path, val_share=1e-9), tmp_path / "out")
