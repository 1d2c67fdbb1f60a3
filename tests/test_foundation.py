"""Foundation: images are verified before anything is built on them, and questions say how they want to be answered."""

import hashlib
import io
import json
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from PIL import Image

from mmat_dagster.images import ImageShelf, PicturesOnDisk, UnreadableImage, examine, quiet_decoders
from mmat_dagster.interfaces import StoreError
from mmat_dagster.questions import CONSTRAINTS, lay_out_question
from mmat_dagster.schema import Annotations, AnswerType, Box, ImageRef, Rejection, Round, Sample, SourceRecord
from mmat_dagster.sources import READERS
from resources.store import LocalStore
from tests.grounding import ground_all

REAL = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "sources"


@cache
def picture(kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    """Return an image whose pixels differ, so that cutting it off loses some of them."""
    image = Image.new("RGB", size)
    image.putdata([(x * 7 % 256, x * 13 % 256, x * 29 % 256) for x in range(size[0] * size[1])])
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def claimed_png(width: int, height: int) -> bytes:
    """Return a PNG of correct checksums that claims a size and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def record(*images: Path | bytes, name: str = "tabmwp/1") -> SourceRecord:
    return SourceRecord(
        id=name,
        source="tabmwp",
        part="train",
        question="What is the mean?",
        answers=("8.20",),
        answer_type="number",
        images=tuple(image.as_posix() if isinstance(image, Path) else image for image in images),
        licence="CC BY-NC-SA 4.0",
    )


def asked(question: str, kind: AnswerType, choices: tuple[str, ...] = (), unit: str | None = None) -> str:
    one = structs.replace(record(b""), question=question, answer_type=kind, choices=choices, unit=unit)
    return lay_out_question(one)


def ground(one: SourceRecord, folder: Path, shelf: ImageShelf) -> Sample | Rejection:
    """Return what becomes of a record that is alone."""
    with quiet_decoders():
        return next(ground_all([one], folder, shelf))


def rejection(one: Sample | Rejection) -> Rejection:
    assert isinstance(one, Rejection)
    return one


def sample(one: Sample | Rejection) -> Sample:
    assert isinstance(one, Sample), one
    return one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a source's folder with one sound image in it."""
    place = tmp_path / "sources" / "tabmwp"
    (place / "tables").mkdir(parents=True)
    (place / "tables" / "1.png").write_bytes(picture())
    return place


@pytest.fixture
def shelf(tmp_path: Path) -> ImageShelf:
    """Return an empty shelf."""
    return ImageShelf(LocalStore(root=str(tmp_path / "store")))


# Images


def test_a_file_in_the_source_is_measured_and_left_where_it_is(folder: Path, shelf: ImageShelf) -> None:
    found = sample(ground(record(Path("tables/1.png")), folder, shelf))
    sha = hashlib.sha256((folder / "tables" / "1.png").read_bytes()).hexdigest()
    assert found.images == (ImageRef(home="source", path="tables/1.png", sha256=sha, width=40, height=30),)
    assert not shelf.store.mirror.exists()


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("GIF", "gif")])
def test_bytes_go_to_the_shelf_by_content(kind: str, suffix: str, folder: Path, shelf: ImageShelf) -> None:
    data = picture(kind)
    first = sample(ground(record(data), folder, shelf)).images[0]
    again = sample(ground(record(data, name="tabmwp/2"), folder, shelf)).images[0]
    sha = hashlib.sha256(data).hexdigest()
    assert (
        first
        == again
        == ImageRef(home="store", path=f"images/{sha[:2]}/{sha}.{suffix}", sha256=sha, width=40, height=30)
    )
    assert [path.name for path in shelf.store.mirror.rglob("*") if path.is_file()] == [f"{sha}.{suffix}"]
    assert (shelf.store.mirror / first.path).read_bytes() == data


def test_what_lies_on_the_shelf_is_not_written_again(shelf: ImageShelf) -> None:
    path = shelf.store.mirror / shelf.put(b"pixels", "png")
    os.utime(path, ns=(1, 1))
    assert shelf.store.mirror / shelf.put(b"pixels", "png") == path
    assert path.stat().st_mtime_ns == 1


def test_an_image_that_cannot_be_written_leaves_nothing_behind(shelf: ImageShelf) -> None:
    name = shelf.put(b"pixels", "png")
    (shelf.store.mirror / name).unlink()
    (shelf.store.mirror / name).mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        shelf.put(b"pixels", "png")
    assert [path for path in shelf.store.mirror.rglob("*") if path.is_file()] == []


def test_pictures_are_located_below_the_source_or_the_store(tmp_path: Path, folder: Path, shelf: ImageShelf) -> None:
    pictures = PicturesOnDisk(source_root=folder.parent, store_root=shelf.store.mirror)
    found = sample(ground(record(Path("tables/1.png"), picture("JPEG")), folder, shelf))
    on_disk, stored = (pictures.locate("tabmwp", image) for image in found.images)
    assert on_disk == folder / "tables" / "1.png"
    assert stored.read_bytes() == picture("JPEG")


@pytest.mark.parametrize("path", ["tables/2.png", "nowhere/1.png", "tables", "", "tables/1.png/deeper"])
def test_an_absent_image_is_missing(path: str, folder: Path, shelf: ImageShelf) -> None:
    lost = rejection(ground(record(Path("tables/1.png"), Path(path)), folder, shelf))
    assert (lost.record_id, lost.stage, lost.reason) == ("tabmwp/1", "source_qa", "missing image")
    assert Path(path).as_posix() in lost.detail


def test_a_record_without_images_misses_one(folder: Path, shelf: ImageShelf) -> None:
    assert rejection(ground(record(), folder, shelf)).reason == "missing image"


def test_a_path_may_not_leave_the_source(tmp_path: Path, folder: Path, shelf: ImageShelf) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(picture())
    (folder / "link.png").symlink_to(outside)
    (folder / "linked").symlink_to(tmp_path, target_is_directory=True)
    leaving = [Path("../../outside.png"), outside, Path("link.png"), Path("linked/outside.png"), Path("../tabmwp2/x")]
    leaving += [folder / "tables" / "1.png"]  # inside, and wrong once the folder is moved
    reasons = [rejection(ground(record(path), folder, shelf)).reason for path in leaving]
    assert reasons == ["image outside the source folder"] * len(leaving)


def test_a_path_may_wander_inside_the_source_and_the_source_be_a_link(
    tmp_path: Path, folder: Path, shelf: ImageShelf
) -> None:
    (folder / "link.png").symlink_to(folder / "tables" / "1.png")
    linked = tmp_path / "linked"
    linked.symlink_to(folder, target_is_directory=True)
    for path in (Path("tables/../tables/1.png"), Path("link.png")):
        assert sample(ground(record(path), linked, shelf)).images[0].path == path.as_posix()


@pytest.mark.parametrize("path", ["nul\0.png", "x" * 5000])
def test_a_path_that_no_file_can_have_is_rejected(path: str, folder: Path, shelf: ImageShelf) -> None:
    assert rejection(ground(record(Path(path)), folder, shelf)).reason == "unreadable image"


def test_links_in_a_circle_are_rejected(folder: Path, shelf: ImageShelf) -> None:
    (folder / "a.png").symlink_to(folder / "b.png")
    (folder / "b.png").symlink_to(folder / "a.png")
    assert isinstance(ground(record(Path("a.png")), folder, shelf), Rejection)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no image",
        picture("PNG")[:-200],
        picture("JPEG")[:-200],
        picture("PNG")[:60],
        picture("PNG").replace(b"IDAT", b"IDAX"),
        claimed_png(0, 10),
        claimed_png(10, 0),
        claimed_png(500, 500),
        claimed_png(10_001, 10_000),
        claimed_png(60_000, 60_000),
    ],
)
def test_a_damaged_empty_or_monstrous_image_is_unreadable(data: bytes, folder: Path, shelf: ImageShelf) -> None:
    (folder / "bad.png").write_bytes(data)
    in_file = rejection(ground(record(Path("bad.png")), folder, shelf))
    in_bytes = rejection(ground(record(data), folder, shelf))
    assert (in_file.reason, in_bytes.reason) == ("unreadable image", "unreadable image")
    assert "bad.png" in in_file.detail
    assert not shelf.store.mirror.exists()


def test_the_pixel_limit_is_told() -> None:
    with pytest.raises(UnreadableImage, match="10001x10000 pixels are more than 100,000,000"):
        examine(claimed_png(10_001, 10_000))


def test_a_replaced_file_is_looked_at_again(folder: Path, shelf: ImageShelf) -> None:
    path = folder / "tables" / "1.png"
    assert sample(ground(record(Path("tables/1.png")), folder, shelf)).images[0].width == 40
    path.write_bytes(picture(size=(50, 20)))
    assert sample(ground(record(Path("tables/1.png")), folder, shelf)).images[0].width == 50
    path.write_bytes(b"damaged")
    assert rejection(ground(record(Path("tables/1.png")), folder, shelf)).reason == "unreadable image"


@settings(deadline=None, max_examples=200)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "PPM", "AVIF"]),
    at=st.floats(0, 1),
    junk=st.binary(max_size=6),
)
def test_no_damage_to_an_image_gets_past_examine(kind: str, at: float, junk: bytes) -> None:
    data = picture(kind)
    place = int(at * len(data))
    with suppress(UnreadableImage):
        found = examine(data[:place] + junk + data[place + len(junk) :])
        assert found.width > 0
        assert found.height > 0


# Questions


@pytest.mark.parametrize(
    ("kind", "laid_out"),
    [
        ("word_or_phrase", "Who won? Answer the question with a single word or phrase."),
        ("option_letter", "Who won? Answer with the option's letter."),
        ("option_text", "Who won? Answer with one of the options."),
        ("number", "Who won? Answer with a number."),
        ("yes_no", "Who won? Answer with yes or no."),
        ("free_text", "Who won?"),
    ],
)
def test_every_answer_type_has_its_constraint(kind: AnswerType, laid_out: str) -> None:
    assert asked("Who won?", kind) == laid_out
    assert asked(laid_out, kind) == laid_out
    assert laid_out.endswith(CONSTRAINTS[kind])


def test_choices_are_laid_out_once_with_letters() -> None:
    laid_out = "Which?\n(A) x\n(B) y\nAnswer with the option's letter."
    assert asked("Which?", "option_letter", ("x", "y")) == laid_out
    shown = "Which?\nA. x\nB. y"
    assert asked(shown, "option_letter", ("x", "y")) == f"{shown}\nAnswer with the option's letter."
    assert (
        asked("Is it x or y?", "option_text", ("x", "y"))
        == "Is it x or y?\n(A) x\n(B) y\n" + CONSTRAINTS["option_text"]
    )


def test_choices_without_a_constraint_are_laid_out_too() -> None:
    assert asked("Which?", "free_text", ("x", "y")) == "Which?\n(A) x\n(B) y"


def test_more_choices_than_letters_lose_none() -> None:
    lines = asked("Which?", "option_text", tuple(f"choice {number}" for number in range(30))).split("\n")
    assert len(lines) == 32
    assert (lines[26], lines[27]) == ("(Z) choice 25", "(27) choice 26")


def test_the_constraint_of_an_unclosed_question_stands_on_its_own_line() -> None:
    assert asked("Find TQ", "number") == "Find TQ\nAnswer with a number."
    assert asked("Look.\nHow many?", "number") == "Look.\nHow many?\nAnswer with a number."


@pytest.mark.parametrize(
    ("question", "unit", "constraint"),
    [
        ("What is the weight of the lightest child?", "pounds", "Answer with a number in pounds."),
        ("What was the rate of change?", "games per year", "Answer with a number in games per year."),
        ("What is the age of the oldest person?", "years old", "Answer with a number in years."),
        ("How much did she spend?", "$", "Answer with a number."),
        ("What was the rate of change?", "$, per year", "Answer with a number."),
        ("How many more fan letters came?", "fan letters", "Answer with a number."),
        ("How many more passengers were there?", "people", "Answer with a number."),
        ("How long is it in meters?", "meters", "Answer with a number."),
        ("What is the mean?", None, "Answer with a number."),
    ],
)
def test_a_unit_is_told_where_the_question_does_not(question: str, unit: str | None, constraint: str) -> None:
    assert asked(question, "number", unit=unit) == f"{question} {constraint}"


def test_a_unit_is_told_for_numbers_only() -> None:
    assert asked("Who?", "word_or_phrase", unit="pounds") == f"Who? {CONSTRAINTS['word_or_phrase']}"


def test_grounding_changes_nothing_else(folder: Path, shelf: ImageShelf) -> None:
    full = structs.replace(
        record(Path("tables/1.png")),
        question=" What is the mean? ",
        answers=("8.20", "$8.2"),
        choices=("8.20", "9"),
        answer_type="option_text",
        number_range=(8.0, 9.0),
        unit="$",
        context=(Round(question="Which coin?", answer="a dime"),),
        annotations=Annotations(caption="c", boxes=(Box(phrase="p", x1=0, y1=1, x2=2, y2=3),)),
    )
    found = sample(ground(full, folder, shelf))
    for name in ("id", "source", "part", "answers", "answer_type", "choices", "unit", "number_range", "context"):
        assert getattr(found, name) == getattr(full, name)
    assert (found.annotations, found.licence, found.bare_question) == (full.annotations, full.licence, full.question)
    assert "dime" not in found.question


# Streams


def test_a_repeated_id_is_rejected_and_the_first_kept(folder: Path, shelf: ImageShelf) -> None:
    sound, bad = Path("tables/1.png"), Path("tables/2.png")
    records = [record(bad), record(sound), record(sound, name="tabmwp/2"), record(sound, name="tabmwp/2")]
    found = list(ground_all(records, folder, shelf))
    reasons = [one.reason if isinstance(one, Rejection) else None for one in found]
    assert reasons == ["missing image", "duplicate id", None, "duplicate id"]
    assert [rejection(one).record_id for one in found if isinstance(one, Rejection)][-1] == "tabmwp/2"


def test_a_readers_rejection_passes_through(folder: Path, shelf: ImageShelf) -> None:
    lost = Rejection(source="tabmwp", record_id="x", stage="source_qa", reason="empty question", detail="f:1")
    assert list(ground_all([lost, lost], folder, shelf)) == [lost, lost]


def test_foundation_streams(folder: Path, shelf: ImageShelf) -> None:
    drawn: list[int] = []

    def endless() -> Iterator[SourceRecord]:
        while True:
            drawn.append(len(drawn))
            asked = record(Path("tables/1.png"), name=f"tabmwp/{len(drawn)}")
            yield structs.replace(asked, question=f"What is number {len(drawn)}?")

    stream = ground_all(endless(), folder, shelf)
    assert [sample(next(stream)).id for _ in range(3)] == ["tabmwp/1", "tabmwp/2", "tabmwp/3"]
    assert len(drawn) == 3


def write_problems(folder: Path, count: int) -> None:
    problem = {
        "question": "How many?",
        "choices": None,
        "answer": "1",
        "unit": None,
        "ques_type": "free_text",
        "ans_type": "integer_number",
        "split": "train",
    }
    problems = {str(number): problem for number in range(1, count + 1)}
    (folder / "problems_train.json").write_text(json.dumps(problems), encoding="utf-8")
    for number in range(1, count + 1):
        (folder / "tables" / f"{number}.png").write_bytes(picture())


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.text(max_size=30))
def test_any_path_is_grounded_or_rejected(path: str, folder: Path, shelf: ImageShelf) -> None:
    assert isinstance(ground(record(Path(path)), folder, shelf), Sample | Rejection)


@pytest.mark.skipif(not REAL.is_dir(), reason="the published data is not here")
@pytest.mark.parametrize(
    ("name", "count"), [("tabmwp", 1000), ("visual_cot", 78), ("the_cauldron", 30), ("infoseek", 4)]
)
def test_every_published_record_becomes_a_sample(name: str, count: int, shelf: ImageShelf) -> None:
    (reader,) = (one for key, one in READERS.items() if key == name)
    folder = REAL / name
    pictures = PicturesOnDisk(source_root=REAL, store_root=shelf.store.mirror)
    records = [one for one in reader.read(folder) if isinstance(one, SourceRecord)]
    samples = [sample(one) for one in ground_all(records, folder, shelf)]
    assert len(samples) == count
    for before, after in zip(records, samples, strict=True):
        path = pictures.locate(reader.name, after.images[0])
        with Image.open(path) as image:
            assert image.size == (after.images[0].width, after.images[0].height)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == after.images[0].sha256
        assert (after.answers, after.bare_question) == (before.answers, before.question)
        assert after.question.startswith(before.question)


def test_a_photo_that_lies_on_its_side_is_measured_upright(tmp_path: Path) -> None:
    photo = Image.new("RGB", (30, 20))
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(tmp_path / "photo.jpg", exif=exif)
    found = examine((tmp_path / "photo.jpg").read_bytes())
    assert (found.width, found.height) == (20, 30)
