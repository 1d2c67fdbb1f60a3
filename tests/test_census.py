"""What records are made of is counted once, when their part is written."""

from collections import Counter
from collections.abc import Iterable

from mmat_dagster.census import facets
from tests.builders import SAMPLE
from tests.test_samples import CALLING, PLAIN, REFLECTED


def census(records: Iterable[object]) -> Counter[str]:
    return Counter(name for record in records for name in facets(record))


def test_dialogues_are_counted_by_turns_calls_and_reflections() -> None:
    assert census([PLAIN, CALLING, REFLECTED]) == {
        "2 turns": 2,
        "3 turns": 1,
        "answer not stated in the last thought": 3,
        "face_detection called": 1,
        "math reflection": 1,
        "no reflection": 2,
        "nothing called": 1,
        "ocr called": 2,
    }


def test_samples_are_counted_by_answer_type_and_part() -> None:
    assert census([SAMPLE, SAMPLE]) == {"answer: number": 2, "part: train": 2}


def test_nothing_is_counted_of_what_holds_nothing() -> None:
    assert census(["a record of another kind"]) == {}
