"""Batches: loss on the assistant's tokens alone, and a dialogue that poisons a batch is named and gives way."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

import torch
from PIL import Image

from mmat_dagster.schema import Dialogue, ImageRef
from mmat_dagster.training.process.batches import IGNORED, PLACES, Batches
from mmat_dagster.training.process.pictures import Album
from mmat_dagster.training.spec import DROPPED, BadRun, TrainingRun, read_dropped
from tests.learnable import HYPER, learnable, learnable_run
from tests.pictures import encoded
from tests.student_parts import about_photos, reader_named, with_pictures, without_pixels


def batches_of(
    folder: Path, dialogues: list[Dialogue], name: str = "tiny", processor: Any = None, **changes: Any
) -> Batches:
    """Return what makes batches of `dialogues`."""
    student = reader_named(name).student
    hyper = replace(HYPER, max_length=changes.pop("max_length", 100_000))
    run = learnable_run(folder, dialogues, student=student, hyper=hyper, **{"max_dropped": 0.9, **changes})
    plan = reader_named(name).plan(run, folder)
    return reader_named(name).batches(run, plan, folder, processor)


def batch(batches: Batches, *places: int) -> dict[str, torch.Tensor]:
    return batches([{"place": place} for place in places])


def names(batches: Batches, made: dict[str, torch.Tensor]) -> list[str]:
    return [batches.name(int(place)) for place in made[PLACES]]


def learned(name: str, made: dict[str, torch.Tensor], row: int) -> str:
    """Return the text that carries loss."""
    tokenizer = getattr(reader_named(name).processor, "tokenizer", reader_named(name).processor)
    labels = made["labels"][row]
    return str(tokenizer.decode(labels[labels != IGNORED], skip_special_tokens=False))


# What stands before the words of the assistant, and what ends them.
EDGES = {"tiny": ("", "<|end|>"), "tiler": (" ", "<end_of_utterance>\n"), "reader": ("", "<|im_end|>")}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("pictures", [(0, 1, 3), (1, 0, 0), (0, 0, 1), (0, 0, 0)])
def test_loss_lies_on_what_the_assistant_says_and_nowhere_else(
    tmp_path: Path, name: str, pictures: tuple[int, ...]
) -> None:
    dialogues = [about_photos(tmp_path, number, *[(40, 30)] * count) for number, count in enumerate(pictures)]
    before, end = EDGES[name]
    said = {
        each.id: "".join(f"{before}{message.content}{end}" for message in each.messages if message.role == "assistant")
        for each in dialogues
    }
    batches = batches_of(tmp_path, dialogues, name)
    made = batch(batches, 0, 1, 2)
    assert {each: learned(name, made, row) for row, each in enumerate(names(batches, made))} == said
    assert ((made["labels"] == IGNORED) | (made["labels"] == made["input_ids"])).all()
    assert not read_dropped(tmp_path)


def test_padding_carries_no_loss_and_no_attention(tmp_path: Path) -> None:
    batches = batches_of(tmp_path, [learnable(tmp_path, 1), learnable(tmp_path, 2, pictures=3)])
    made = batch(batches, 0, 1)
    padding = made["attention_mask"] == 0
    assert padding.any()
    assert (made["labels"][padding] == IGNORED).all()
    assert not padding[:, 0].any()


def test_a_batch_has_the_same_pixels_wherever_a_dialogue_stands(tmp_path: Path) -> None:
    batches = batches_of(tmp_path, [learnable(tmp_path, 1), learnable(tmp_path, 2, pictures=0)])
    there, back = batch(batches, 0, 1), batch(batches, 1, 0)
    assert names(batches, there) == names(batches, back) == ["tabmwp/1", "tabmwp/2"]
    assert all(torch.equal(there[name], back[name]) for name in there)


class Refusing:
    """A processor that dies on a dialogue of 7 bags, as some do on shapes that nobody has thought of."""

    def __init__(self, processor: Any, error: Exception) -> None:
        self._processor = processor
        self._error = error

    def apply_chat_template(self, chats: list[Any], **options: Any) -> Any:
        if "How much are 7 bags?" in str(chats):
            raise self._error
        return self._processor.apply_chat_template(chats, **options)


def missing(folder: Path) -> Dialogue:
    poisoned = learnable(folder, 7)
    (folder / "images" / poisoned.images[0].path).unlink()
    return poisoned


def changed(folder: Path) -> Dialogue:
    poisoned = learnable(folder, 7)
    (folder / "images" / poisoned.images[0].path).write_bytes(encoded(Image.new("RGB", (9, 9))))
    return poisoned


def torn(folder: Path) -> Dialogue:
    return with_pictures(folder, learnable(folder, 7), [(encoded(Image.effect_noise((40, 30), 9))[:-300], (40, 30))])


def no_image(folder: Path) -> Dialogue:
    return with_pictures(folder, learnable(folder, 7), [(b"<html>404</html>", (40, 30))])


def no_numbers(folder: Path) -> Dialogue:
    return with_pictures(folder, learnable(folder, 7), [(without_pixels(), (40, 30))])


def larger_than_said(folder: Path) -> Dialogue:
    """Return a dialogue with a hundred pictures, of which it is said that they are narrow."""
    data = encoded(Image.new("RGB", (400, 400)))
    return with_pictures(folder, learnable(folder, 7, pictures=100), [(data, (400, 10))] * 100)


POISONS: dict[str, tuple[Callable[[Path], Dialogue], str, str]] = {
    "missing image": (missing, "missing image", "7-0.png: No such file or directory"),
    "image changed": (changed, "image changed", "7-0.png is not the picture that the dialogue was written about"),
    "torn image": (torn, "unreadable image", ""),
    "no image": (no_image, "unreadable image", ""),
    "pixels that are no numbers": (no_numbers, "pixels are not finite", "holds pixels that are NaN or infinite"),
}


def assert_poison_gives_way(
    folder: Path, poisoned: Dialogue, reason: str, detail: str, name: str = "tiny", **changes: Any
) -> None:
    """Make batches of the poisoned dialogue among good ones, in both orders and twice."""
    good = [about_photos(folder, number, *[(40, 30)] * (number % 3)) for number in range(6)]
    batches = batches_of(folder, [*good[:3], poisoned, *good[3:]], name, **changes)
    at = next(place for place in range(7) if batches.name(place) == poisoned.id)
    others = [place for place in range(7) if place != at]
    follows = batches.name(at + 1)
    for places in ([at, *others[:2]], [*others[-2:], at], [at]):
        made = batch(batches, *places)
        expected = sorted([batches.name(place) if place != at else follows for place in places])
        assert sorted(names(batches, made)) == expected
        assert made["input_ids"].shape[0] == len(places)
    (lost,) = read_dropped(folder)
    assert (lost.id, lost.source, lost.reason) == (poisoned.id, "tabmwp", reason)
    assert detail in lost.detail
    assert (folder / DROPPED).read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("poison", POISONS)
def test_a_dialogue_with_a_bad_picture_is_named_and_the_next_takes_its_place(tmp_path: Path, poison: str) -> None:
    make, reason, detail = POISONS[poison]
    assert_poison_gives_way(tmp_path, make(tmp_path), reason, detail)


def test_a_hundred_pictures_larger_than_they_were_said_to_be_give_way(tmp_path: Path) -> None:
    assert_poison_gives_way(
        tmp_path, larger_than_said(tmp_path), "longer than max_length", "max_length is 2,500", "tiler", max_length=2500
    )


@pytest.mark.parametrize(
    "error", [ValueError("no"), IndexError("no"), RuntimeError("no"), TypeError("no"), KeyError("no")]
)
def test_a_dialogue_that_the_processor_dies_on_gives_way(tmp_path: Path, error: Exception) -> None:
    refusing = Refusing(reader_named("tiny").processor, error)
    reason, detail = "refused by the student's processor", f"{type(error).__name__}: {error}"
    assert_poison_gives_way(tmp_path, learnable(tmp_path, 7), reason, detail, processor=refusing)


class Infinite(Refusing):
    """A processor whose arithmetic overflows on a dialogue of 7 bags."""

    def apply_chat_template(self, chats: list[Any], **options: Any) -> Any:
        made = self._processor.apply_chat_template(chats, **options)
        if "How much are 7 bags?" in str(chats):
            made["pixel_values"][0] = torch.inf
        return made


def test_pixels_that_the_processor_makes_infinite_give_way(tmp_path: Path) -> None:
    infinite = Infinite(reader_named("tiny").processor, ValueError())
    assert_poison_gives_way(
        tmp_path, learnable(tmp_path, 7), "pixels are not finite", "pixel_values holds NaN", processor=infinite
    )


def test_batches_are_the_same_on_a_second_pass_and_from_the_middle(tmp_path: Path) -> None:
    dialogues = [learnable(tmp_path, number) for number in (1, 2, 3)]
    dialogues += [no_numbers(tmp_path), replace(missing(tmp_path), id="tabmwp/8")]
    first = batches_of(tmp_path, dialogues)
    passes = [[batch(first, place, place + 1) for place in range(0, 10, 2)] for _ in range(2)]
    resumed = batches_of(tmp_path, dialogues)
    behind = [batch(resumed, place, place + 1) for place in range(4, 10, 2)]
    for one, other in [*zip(*passes, strict=True), *zip(passes[0][2:], behind, strict=True)]:
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert {each.id for each in read_dropped(tmp_path)} == {"tabmwp/7", "tabmwp/8"}


def test_where_all_are_poisoned_the_run_ends(tmp_path: Path) -> None:
    dialogues = [replace(missing(tmp_path), id=f"tabmwp/{number}") for number in range(3)]
    with pytest.raises(BadRun, match=r"no dialogue of tabmwp can be learned from: see dropped.jsonl"):
        batch(batches_of(tmp_path, dialogues, max_dropped=1.0), 0)
    assert len(read_dropped(tmp_path)) == 3
    with pytest.raises(BadRun, match=r"than max_dropped allows \(50%\); the last one is tabmwp/\d: missing image: 7-0"):
        batch(batches_of(tmp_path, dialogues, max_dropped=0.5), 0)


def picture(folder: Path, data: bytes) -> Image.Image:
    (folder / "picture").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    run: TrainingRun = learnable_run(folder, [])
    album = Album((replace(run.data[0], images=str(folder)),), str(folder))
    return album.open("tabmwp", ImageRef(home="source", path="picture", sha256=sha256, width=2, height=1))


def test_a_student_sees_what_the_operators_saw(tmp_path: Path) -> None:
    grey = Image.new("I;16", (2, 1), 32896)
    assert picture(tmp_path, encoded(grey)).getpixel((0, 0)) == (128, 128, 128)
    clear = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    assert picture(tmp_path, encoded(clear)).getpixel((0, 0)) == (255, 255, 255)
    numbers = Image.new("F", (2, 1), 0.5)
    assert picture(tmp_path, encoded(numbers, "TIFF")).getpixel((0, 0)) == (128, 128, 128)
    lying = Image.new("RGB", (2, 1), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "lying.png", exif=exif)
    assert picture(tmp_path, (tmp_path / "lying.png").read_bytes()).size == (1, 2)
