"""Leaks as they are known to be: AI2D is a part and a benchmark, MathVista asks TabMWP's and Geometry3K's questions."""

import base64
import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from mmat_dagster.decontamination.benchmark_files import read_benchmarks
from mmat_dagster.decontamination.building import build_index
from mmat_dagster.decontamination.guard import Guard
from mmat_dagster.decontamination.index import BenchmarkIndex
from mmat_dagster.likeness import likeness
from mmat_dagster.pixels import read_rgb
from mmat_dagster.schema import SourceRecord
from mmat_dagster.sources import READERS
from tests.pictures import as_jpeg, encoded, photo, scaled

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the published data is not there")


@pytest.fixture(scope="module")
def index() -> BenchmarkIndex:
    # BLINK's photos and TabMWP's tables take most of the time and are read elsewhere.
    wanted = ("mathvista", "mathvision", "mmmu", "hallusionbench")
    return build_index(one for one in read_benchmarks(DATA / "benchmarks") if one.benchmark in wanted)


@pytest.fixture(scope="module")
def mathvista() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads((DATA / "benchmarks/mathvista/data/testmini.json").read_text())
    return found


def records(name: str) -> list[SourceRecord]:
    found = READERS[name].read(DATA / "sources" / name)  # type: ignore[index]
    return [record for record in found if isinstance(record, SourceRecord)]


def items_from(mathvista: dict[str, dict[str, object]], source: str) -> Iterator[tuple[str, str]]:
    for pid, item in mathvista.items():
        metadata = item["metadata"]
        if isinstance(metadata, dict) and metadata["source"] == source:
            yield pid, str(item["question"])


def guard_of(index: BenchmarkIndex, source: list[SourceRecord]) -> Guard:
    return index.guard(record.question for record in source)


@pytest.mark.parametrize(("name", "source"), [("tabmwp", "TabMWP"), ("the_cauldron", "Geometry3K")])
def test_mathvista_items_are_found_in_the_source_that_they_come_from(
    index: BenchmarkIndex, mathvista: dict[str, dict[str, object]], name: str, source: str
) -> None:
    asked = dict(items_from(mathvista, source))
    assert len(asked) == 62
    own = records(name)
    # The problem as its source has it: without the unit that MathVista adds.
    held = [replace(own[0], question=question.partition(" (Unit:")[0].rstrip("'")) for question in asked.values()]
    guard = guard_of(index, own + held)
    told = {pid: guard.leaks(record.question, []) for pid, record in zip(asked, held, strict=True)}
    found = {pid for pid, leaks in told.items() if pid in {leak.item for leak in leaks if leak.score == 1.0}}
    short = {pid for pid, question in asked.items() if len(question.partition(" (Unit:")[0].split()) < 9}
    assert found >= asked.keys() - short
    assert len(found) >= {"TabMWP": 60, "Geometry3K": 25}[source]


def test_tabmwps_development_problems_share_questions_with_mathvista(index: BenchmarkIndex) -> None:
    source = records("tabmwp")
    guard = guard_of(index, source)
    leaking = {record.id: guard.leaks(record.question, []) for record in source}
    told = {leak.benchmark for leaks in leaking.values() for leak in leaks}
    assert told == {"mathvista"}
    assert 10 <= sum(bool(leaks) for leaks in leaking.values()) <= 40


@pytest.mark.parametrize("name", ["visual_cot", "the_cauldron", "infoseek"])
def test_unrelated_sources_share_no_question(index: BenchmarkIndex, name: str) -> None:
    source = records(name)
    guard = guard_of(index, source)
    assert [leak for record in source for leak in guard.leaks(record.question, [])] == []


def test_tables_of_the_test_split_are_found_in_the_development_split() -> None:
    """Of the 1,000 and the 800 tables, two are the same file, and a third is the same picture in another tint."""
    tables = sorted((DATA / "benchmarks/tabmwp/tables").glob("*.png"))
    wanted = {"529", "36559", "24281", "54", "1492", "15674"}
    items = [one for one in read_benchmarks(DATA / "benchmarks") if one.benchmark == "tabmwp"]
    kept = [one for one in items if getattr(one, "item", None) in wanted]
    assert len(tables) == len(items) == 800
    guard = build_index(kept).guard([])
    told = {}
    for name in ("3140", "37225", "37404", "1001"):
        path = DATA / "sources/tabmwp/tables" / f"{name}.png"
        if path.exists():
            told[name] = guard.leaks("", [seen(path.read_bytes())])
    assert [(leak.item, leak.evidence) for leak in told["3140"]] == [("529", "same image")]
    assert [(leak.item, leak.evidence) for leak in told["37225"]] == [("36559", "same image")]
    assert [(leak.item, leak.evidence) for leak in told["37404"]] == [("24281", "similar image")]
    assert not told.get("1001")


def test_a_source_image_inside_a_benchmarks_table_is_found(tmp_path: Path) -> None:
    """As AI2D_TEST.tsv holds the diagrams that AI2D as a training part holds too, encoded anew and smaller."""
    images = [image for record in records("the_cauldron") for image in record.images if isinstance(image, bytes)]
    leaked, own = images[:10], [encoded(photo(seed)) for seed in range(3)]
    rows = [(encoded(as_jpeg(scaled(read_rgb(image), 0.7), 85), "JPEG", 85), "leaked") for image in leaked]
    rows += [(image, "its own") for image in own]
    with (tmp_path / "AI2D_TEST.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(["index", "question", "A", "answer", "image"])
        for number, (data, _) in enumerate(rows):
            table.writerow([number, "Which letter names the angle?", "x", "A", base64.b64encode(data).decode()])
    guard = build_index(read_benchmarks(tmp_path)).guard([])
    told = [guard.leaks("Find x.", [seen(image)]) for image in images]
    assert [[(leak.item, leak.evidence) for leak in leaks] for leaks in told[:10]] == [
        [(str(number), "similar image")] for number in range(10)
    ]
    assert not any(told[10:])


def seen(data: bytes) -> tuple[str, bytes]:
    return hashlib.sha256(data).hexdigest(), likeness(read_rgb(data))
