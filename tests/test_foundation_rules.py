"""What may become a sample: no duplicates, no benchmark leaks, no licence that is not wanted; each loss is named."""

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from PIL import Image

from mmat_dagster.filebook import FileBook, open_book
from mmat_dagster.images import Examination, ImageShelf, quiet_decoders
from mmat_dagster.questions import normalise_question
from mmat_dagster.schema import Leak, Rejection, Sample, SourceRecord
from mmat_dagster.source_images import ImageExaminer
from mmat_dagster.stages.foundation import Foundation, Rules
from resources.store import LocalStore


def picture(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def record(number: int, question: str = "What is it?", image: bytes | None = None, part: str = "train") -> SourceRecord:
    return SourceRecord(
        id=f"tabmwp/{number}",
        source="tabmwp",
        part=part,
        question=question,
        answers=("8",),
        answer_type="number",
        images=(image or picture(),),
        licence="CC BY-NC-SA 4.0",
    )


class ToldGuard:
    """Takes a question with the word `leak` for one of a benchmark, and one with `template` for a template."""

    def leaks(self, question: str, images: Sequence[tuple[str, bytes]]) -> tuple[Leak, ...]:
        told = []
        if "leak" in question:
            told.append(Leak(benchmark="mathvista", item="7", evidence="same question", score=0.9))
        if "template" in question:
            told.append(Leak(benchmark="ai2d", item="3", evidence="template question", score=1.0))
        return tuple(told)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[FileBook]:
    with open_book(tmp_path / "files.sqlite") as opened:
        yield opened


def examiner(tmp_path: Path, book: FileBook, pool: ThreadPoolExecutor | None = None) -> ImageExaminer:
    return ImageExaminer(tmp_path, book, Examination(), pool)


def run(
    tmp_path: Path, book: FileBook, records: Sequence[SourceRecord], rules: Rules | None = None
) -> tuple[list[Sample | Rejection], dict[str, int]]:
    shelf = ImageShelf(LocalStore(root=str(tmp_path / "store")))
    made = Foundation(images=examiner(tmp_path, book), shelf=shelf, rules=rules or Rules(), guard=ToldGuard())
    with closing(made), quiet_decoders():
        return list(made.ground(made.admit(records))), made.take_census()


def outcomes(found: Sequence[Sample | Rejection]) -> list[str]:
    return [one.reason if isinstance(one, Rejection) else "kept" for one in found]


# Duplicates


def test_the_same_question_about_the_same_image_is_kept_once(tmp_path: Path, book: FileBook) -> None:
    again = record(2, " what IS it ? ")
    other_image, other_question = record(3, image=picture(9)), record(4, "What is that?")
    found, _ = run(tmp_path, book, [record(1), again, other_image, other_question])
    assert outcomes(found) == ["kept", "duplicate question", "kept", "kept"]
    assert isinstance(found[1], Rejection)
    assert (found[1].record_id, found[1].detail) == ("tabmwp/2", "tabmwp/1 asks the same about the same images")


def test_other_choices_make_another_question(tmp_path: Path, book: FileBook) -> None:
    one, swapped, other = (
        structs.replace(record(number), choices=choices)
        for number, choices in enumerate([("7", "8"), ("8", "7"), ("8", "9")])
    )
    assert outcomes(run(tmp_path, book, [one, swapped, other])[0]) == ["kept", "duplicate question", "kept"]


def test_the_order_of_two_images_matters(tmp_path: Path, book: FileBook) -> None:
    one = structs.replace(record(1), images=(picture(1), picture(2)))
    turned = structs.replace(record(2), images=(picture(2), picture(1)))
    assert outcomes(run(tmp_path, book, [one, turned])[0]) == ["kept", "kept"]


def test_a_record_that_was_lost_does_not_make_the_next_one_a_duplicate(tmp_path: Path, book: FileBook) -> None:
    broken = structs.replace(record(1), images=(picture(), b"no image"))
    sound = structs.replace(record(2), images=(picture(), picture(5)))
    assert outcomes(run(tmp_path, book, [broken, sound])[0]) == ["unreadable image", "kept"]


def test_an_image_of_a_duplicate_is_not_stored_twice_and_that_of_a_leak_never(tmp_path: Path, book: FileBook) -> None:
    run(tmp_path, book, [record(1), record(2), record(3, "a leak", picture(200))])
    assert len(list((tmp_path / "store").rglob("*.png"))) == 1


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("What is the mean?", "what is  the mean", True),
        ("“Who” won?", '"Who" won?', True),
        ("Is 3 < 5?", "Is 3 > 5?", False),
        ("Is it 1.5?", "Is it 15?", False),
        ("Is it 1,5 or 2.0.", "Is it 1,5 or 2.0", True),
        ("x - 3", "x + 3", False),
        ("Ｗhat?", "What?", True),
    ],
)
def test_questions_are_the_same_but_for_case_spaces_quotes_and_closing_marks(
    one: str, other: str, is_same: bool
) -> None:
    assert (normalise_question(one) == normalise_question(other)) is is_same


@given(st.text())
def test_a_normal_question_stays_as_it_is(question: str) -> None:
    assert normalise_question(normalise_question(question)) == normalise_question(question)


# Licences


def test_what_may_not_be_used_commercially_is_left_out_by_name(tmp_path: Path, book: FileBook) -> None:
    found, _ = run(tmp_path, book, [record(1)], Rules(allow_non_commercial=False))
    assert outcomes(found) == ["not for commercial use"]
    assert isinstance(found[0], Rejection)
    assert found[0].detail == "CC BY-NC-SA 4.0"
    free = structs.replace(record(2), source="visual_cot", part="openimages", licence="CC BY 2.0")
    assert outcomes(run(tmp_path, book, [free], Rules(allow_non_commercial=False))[0]) == ["kept"]


def test_the_licences_of_what_is_kept_are_counted(tmp_path: Path, book: FileBook) -> None:
    _, census = run(tmp_path, book, [record(1), record(2), record(3, "And this?")])
    assert census == {"licence: CC BY-NC-SA 4.0": 2}


# Benchmarks


def test_a_leak_is_dropped_and_its_benchmark_told(tmp_path: Path, book: FileBook) -> None:
    found, census = run(tmp_path, book, [record(1, "a leak"), record(2)])
    assert outcomes(found) == ["benchmark leak", "kept"]
    assert isinstance(found[0], Rejection)
    assert found[0].detail == "same question as mathvista 7 (0.90)"
    assert census["leak: mathvista, same question"] == 1


def test_a_leak_is_kept_and_marked_where_a_warning_is_wanted(tmp_path: Path, book: FileBook) -> None:
    found, census = run(tmp_path, book, [record(1, "a leak")], Rules(leaks="warn"))
    assert isinstance(found[0], Sample)
    assert [leak.item for leak in found[0].leaks] == ["7"]
    assert census["leak: mathvista, same question"] == 1


def test_a_template_is_marked_and_never_dropped(tmp_path: Path, book: FileBook) -> None:
    found, _ = run(tmp_path, book, [record(1, "a template"), record(2, "a template that is a leak")])
    assert outcomes(found) == ["kept", "benchmark leak"]
    assert isinstance(found[0], Sample)
    assert [leak.evidence for leak in found[0].leaks] == ["template question"]


# Threads and resuming


def test_threads_change_nothing_but_the_time(tmp_path: Path, book: FileBook) -> None:
    images = [picture(number % 7) if number % 5 else b"broken" for number in range(60)]
    records = [record(number, f"What is {number // 2}?", image) for number, image in enumerate(images)]
    alone, _ = run(tmp_path, book, records)
    with ThreadPoolExecutor(3) as pool, open_book(tmp_path / "other.sqlite") as other, quiet_decoders():
        shelf = ImageShelf(LocalStore(root=str(tmp_path / "other")))
        made = Foundation(
            images=examiner(tmp_path, other, pool), shelf=shelf, rules=Rules(), guard=ToldGuard(), ahead=8
        )
        with closing(made):
            assert list(made.ground(made.admit(records))) == alone
    assert {"kept", "unreadable image"} <= {*outcomes(alone)}


def test_what_an_earlier_run_made_counts_for_duplicates(tmp_path: Path, book: FileBook) -> None:
    (first,), _ = run(tmp_path, book, [record(1)])
    assert isinstance(first, Sample)
    made = Foundation(
        images=examiner(tmp_path, book), shelf=ImageShelf(LocalStore(root=str(tmp_path / "store"))), rules=Rules()
    )
    with closing(made):
        made.remember([first])
        assert outcomes(list(made.ground([record(2), record(3, "What else?")]))) == ["duplicate question", "kept"]
