"""Decontamination: the index of the benchmarks, and what the guard tells of a sample."""

import hashlib
import io
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmat_dagster.decontamination.building import build_index
from mmat_dagster.decontamination.guard import ITEMS_TOLD
from mmat_dagster.decontamination.index import BenchmarkIndex, OutdatedIndex
from mmat_dagster.decontamination.items import BenchmarkItem, Unreadable
from mmat_dagster.decontamination.questions import TEMPLATE_OVER
from mmat_dagster.decontamination.wording import GRAM, grams, words
from mmat_dagster.likeness import likeness
from mmat_dagster.pixels import read_rgb
from mmat_dagster.schema import Leak
from tests.pictures import as_jpeg, encoded, photo, scaled

LONG = "How many kilometres does the slow train travel between the two northern towns?"
OTHER = "Which of these four planets has the largest number of moons that were found before 1900?"


def item(
    name: str, question: str = LONG, benchmark: str = "ai2d", images: tuple[Path | bytes, ...] = ()
) -> BenchmarkItem:
    return BenchmarkItem(benchmark=benchmark, item=name, question=question, images=images)


def seen(data: bytes) -> tuple[str, bytes]:
    """Return what the pipeline knows of an image."""
    return hashlib.sha256(data).hexdigest(), likeness(read_rgb(data))


def leaks_of(question: str, *items: BenchmarkItem) -> tuple[Leak, ...]:
    return build_index(items).guard([question]).leaks(question, [])


def test_the_same_question_is_a_leak() -> None:
    assert leaks_of(LONG, item("1"), item("2", OTHER)) == (
        Leak(benchmark="ai2d", item="1", evidence="same question", score=1.0),
    )


def test_the_same_image_is_told_before_the_same_question() -> None:
    data = encoded(photo(1))
    guard = build_index([item("1"), item("2", OTHER, images=(data,))]).guard([])
    assert [(leak.item, leak.evidence) for leak in guard.leaks(LONG, [seen(data)])] == [
        ("2", "same image"),
        ("1", "same question"),
    ]


def test_an_item_is_told_once_with_its_strongest_evidence() -> None:
    data = encoded(photo(1))
    guard = build_index([item("1", images=(data,))]).guard([])
    assert guard.leaks(LONG, [seen(data), seen(data)]) == (
        Leak(benchmark="ai2d", item="1", evidence="same image", score=1.0),
    )


def test_an_image_of_another_size_and_format_is_similar() -> None:
    guard = build_index([item("1", images=(encoded(photo(1)),))]).guard([])
    again = encoded(as_jpeg(scaled(photo(1), 0.6), 80), "JPEG", 70)
    (leak,) = guard.leaks(OTHER, [seen(again)])
    assert (leak.item, leak.evidence) == ("1", "similar image")
    assert 0.9 < leak.score < 1.0


def test_unrelated_samples_leak_nothing() -> None:
    guard = build_index([item("1", images=(encoded(photo(1)),))]).guard([OTHER])
    assert guard.leaks(OTHER, [seen(encoded(photo(2)))]) == ()


def test_a_benchmark_may_wrap_the_question_in_a_hint_and_a_unit() -> None:
    hint = "Hint: Please answer the question and provide the final value at the end. Question: "
    assert leaks_of(LONG, item("1", f"{hint}{LONG} (Unit: $)"))[0].score == 1.0


def test_a_few_shared_words_are_no_leak() -> None:
    assert (
        leaks_of("How many kilometres does the slow train travel between noon and the evening of a day?", item("1"))
        == ()
    )


def test_short_questions_are_counted_and_not_compared() -> None:
    index = build_index([item("1", "Find x."), item("2")])
    assert index.guard([]).leaks("Find x.", []) == ()
    assert index.counts["ai2d"].short_questions == 1


def test_a_wording_that_the_source_asks_over_and_over_is_a_template() -> None:
    index = build_index([item("1")])
    asked = [LONG] * (TEMPLATE_OVER + 1)
    assert index.guard(asked).leaks(LONG, [])[0].evidence == "template question"
    assert index.guard(asked[1:]).leaks(LONG, [])[0].evidence == "same question"


def test_a_wording_that_the_benchmark_asks_over_and_over_is_a_template() -> None:
    items = [item(str(number)) for number in range(TEMPLATE_OVER + 1)]
    found = leaks_of(LONG, *items)
    assert {leak.evidence for leak in found} == {"template question"}
    assert len(found) == ITEMS_TOLD


def test_only_wordings_that_match_a_benchmark_are_remembered() -> None:
    guard = build_index([item("1")]).guard([OTHER] * 100)
    assert guard.templates == frozenset()


def test_each_benchmark_tells_its_few_best_items() -> None:
    items = [item(str(number), f"{LONG} {'very ' * number}", benchmark=name) for name in "ab" for number in range(6)]
    found = leaks_of(LONG, *items)
    assert [leak.benchmark for leak in found].count("a") == ITEMS_TOLD == [leak.benchmark for leak in found].count("b")
    assert [leak.score for leak in found] == sorted((leak.score for leak in found), reverse=True)


def test_images_that_cannot_be_read_are_told_and_hide_nothing(tmp_path: Path) -> None:
    cut = encoded(photo(1))[:200]
    gone = tmp_path / "gone.png"
    counts = build_index([item("1", images=(cut, gone, encoded(photo(2)))), item("2", OTHER)]).counts["ai2d"]
    assert (counts.items, counts.images, counts.unreadable_images) == (2, 1, 2)
    assert any("gone.png: No such file" in problem for problem in counts.problems)
    assert not any(str(tmp_path) in problem for problem in counts.problems)


def test_broken_files_are_told_by_benchmark() -> None:
    index = build_index([Unreadable(benchmark="mmmu", where="a.json", problem="cut off"), item("1")])
    assert index.counts["mmmu"].problems == ("a.json: cut off",)
    assert index.counts["ai2d"].problems == ()


def test_an_item_of_two_files_counts_once_with_the_image_of_either() -> None:
    data = encoded(photo(1))
    bare = BenchmarkItem(benchmark="ai2d", item="1", question=LONG, images=(), missing=1)
    counts = build_index([bare, item("1", images=(data,))]).counts["ai2d"]
    assert (counts.items, counts.images, counts.missing_images) == (1, 1, 0)


def test_an_index_survives_the_round_trip() -> None:
    shared = encoded(photo(1))
    index = build_index([item("1", images=(shared, encoded(photo(2)))), item("2", OTHER, images=(shared,))])
    again = BenchmarkIndex.from_bytes(index.to_bytes())
    assert again == index
    assert again.to_bytes() == index.to_bytes()
    assert again.guard([]).leaks(LONG, [seen(shared)]) == index.guard([]).leaks(LONG, [seen(shared)])


def test_an_empty_index_survives_the_round_trip_and_finds_nothing() -> None:
    index = BenchmarkIndex.from_bytes(build_index([]).to_bytes())
    assert index.guard([LONG]).leaks(LONG, [seen(encoded(photo(1)))]) == ()


def test_the_order_of_the_files_does_not_matter() -> None:
    items = [item(str(number), f"{OTHER} {number}", images=(encoded(photo(number)),)) for number in range(6)]
    shuffled = random.Random(1).sample(items, len(items))
    assert build_index(shuffled).to_bytes() == build_index(items).to_bytes()


def test_another_item_makes_another_file() -> None:
    assert build_index([item("1")]).to_bytes() != build_index([item("2")]).to_bytes()


def test_what_is_no_index_of_today_is_refused() -> None:
    with pytest.raises(OutdatedIndex, match="no index"):
        BenchmarkIndex.from_bytes(b"PAR1 but cut off")
    table = pq.read_table(io.BytesIO(build_index([item("1")]).to_bytes()), use_threads=False)
    other = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({b"mmat.rules": b"of yesterday"}), other)
    with pytest.raises(OutdatedIndex, match="other rules"):
        BenchmarkIndex.from_bytes(other.getvalue())


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("In <image 1>, is <image2> AB = 7.50?", "in is ab 7.50"),
        ("<img src='../a/b.jpg'> Is the truck over the cat?", "is the truck over the cat"),
        ("Use parallelogram W X Y Z to find W Z.", "use parallelogram wxyz to find wz"),
        (r"$\overline{AB}$ is 1,250 m", "overline ab is 1250 m"),
        ("Ｆｉｎｄ the ﬁrst STRASSE", "find the first strasse"),
        ("求三角形ABC的面积", "求 三 角 形 abc 的 面 积"),
        ("", ""),
    ],
)
def test_a_question_is_compared_by_its_words(question: str, expected: str) -> None:
    assert " ".join(words(question)) == expected


WORDS = st.lists(st.from_regex(r"[a-z]{2,8}|[0-9]{1,3}", fullmatch=True), min_size=GRAM, max_size=40)


@settings(max_examples=100, deadline=None)
@given(WORDS)
def test_a_question_equals_itself_in_capitals_and_with_other_punctuation(asked: list[str]) -> None:
    question, changed = " ".join(asked), " ; ".join(asked).upper() + " ?!"
    assert leaks_of(changed, item("1", question))[0].score == 1.0


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_any_text_has_words_and_grams(question: str) -> None:
    asked = words(question)
    assert len(grams(asked)) <= max(0, len(asked) - GRAM + 1)
    assert words(" ".join(asked)) == asked


@settings(max_examples=50, deadline=None)
@given(WORDS, st.integers(0, 39))
def test_overlap_is_the_share_of_the_smaller_set_of_grams(asked: list[str], at: int) -> None:
    other = [*asked[:at], "zzzzzzzzz", *asked[at + 1 :]]
    mine, theirs = set(grams(asked).tolist()), set(grams(other).tolist())
    overlap = len(mine & theirs) / min(len(mine), len(theirs))
    found = leaks_of(" ".join(asked), item("1", " ".join(other)))
    assert [leak.score for leak in found] == ([pytest.approx(overlap)] if overlap >= 0.8 else [])
