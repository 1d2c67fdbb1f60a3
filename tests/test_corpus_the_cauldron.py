"""The corpus' Cauldron: its Parquet layout, its rounds, and that every answer follows from its picture's data."""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmat_dagster.corpus import the_cauldron
from mmat_dagster.corpus.crew import Crew
from mmat_dagster.corpus.geometry import FIGURES
from mmat_dagster.corpus.wiki_tables import SUBJECTS, Subject, make_lookup
from mmat_dagster.schema import SourceRecord
from mmat_dagster.sources import the_cauldron as reader

SUBSETS = ("iconqa", "intergps", "robut_wikisql", "robut_wtq", "st_vqa", "vistext")
PUBLISHED = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "sources" / "the_cauldron"


@dataclass(frozen=True)
class Text:
    """One round, read by plain pyarrow."""

    user: str
    assistant: str
    source: str


@dataclass(frozen=True)
class Row:
    """One row, read by plain pyarrow; a missing or foreign key raises."""

    images: list[dict[str, bytes]]
    texts: list[dict[str, str]]

    @property
    def rounds(self) -> list[Text]:
        """The row's texts."""
        return [Text(**text) for text in self.texts]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate enough rows to see every kind many times."""
    made = tmp_path_factory.mktemp("corpus") / "the_cauldron"
    the_cauldron.generate(made, 300, Crew(seed="0"))
    return made


def read_rows(folder: Path, subset: str) -> list[Row]:
    """Read the rows of all shards of a subset."""
    paths = sorted((folder / subset).iterdir())
    return [Row(**row) for path in paths for row in pq.read_table(path).to_pylist()]


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_subset_is_one_parquet_file_of_the_publishers_schema(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == list(SUBSETS)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    text = pa.struct([("user", pa.string()), ("assistant", pa.string()), ("source", pa.string())])
    for subset in SUBSETS:
        assert [path.name for path in (folder / subset).iterdir()] == ["train-00000-of-00001.parquet"]
        schema = pq.read_schema(folder / subset / "train-00000-of-00001.parquet")
        assert schema.equals(pa.schema([("images", pa.list_(image)), ("texts", pa.list_(text))]))


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published rows are not here")
def test_the_schema_is_that_of_a_published_file(folder: Path) -> None:
    published = pq.read_schema(PUBLISHED / "intergps" / "train-00000-of-00001.parquet")
    assert pq.read_schema(folder / "intergps" / "train-00000-of-00001.parquet").equals(published)


def test_each_of_three_hundred_pictures_opens_and_no_two_are_the_same(folder: Path) -> None:
    pictures = [row.images[0]["bytes"] for subset in SUBSETS for row in read_rows(folder, subset)]
    assert len(set(pictures)) == len(pictures) == 300
    for picture in pictures:
        with Image.open(io.BytesIO(picture)) as image:
            image.load()
            assert min(image.size) > 120


def test_every_subset_has_its_share_of_the_rows(folder: Path) -> None:
    assert {subset: len(read_rows(folder, subset)) for subset in SUBSETS} == {
        "iconqa": 15,
        "intergps": 30,
        "robut_wikisql": 60,
        "robut_wtq": 75,
        "st_vqa": 105,
        "vistext": 15,
    }


def test_a_chart_is_described_by_its_title_and_every_value(folder: Path) -> None:
    for text in (text for row in read_rows(folder, "vistext") for text in row.rounds):
        assert re.fullmatch(
            r'A (bar|line) chart with the title ".+"\. It shows (\d+ for \w+[, and]+)+\d+ for \w+\.', text.assistant
        )


@pytest.mark.parametrize("subset", ["intergps", "robut_wikisql", "robut_wtq", "st_vqa"])
def test_some_rows_hold_two_different_rounds_and_most_hold_one(folder: Path, subset: str) -> None:
    rounds = [row.rounds for row in read_rows(folder, subset)]
    twice = [texts for texts in rounds if len(texts) == 2]
    assert {len(texts) for texts in rounds} == {1, 2}
    assert 0 < len(twice) < len(rounds) / 2
    assert all(first.user != second.user for first, second in twice)
    assert {text.source for texts in rounds for text in texts} == {subset}


@pytest.mark.parametrize("subset", ["iconqa", "robut_wikisql", "robut_wtq", "st_vqa"])
def test_a_short_answer_ends_with_a_full_stop_and_its_question_with_an_instruction(folder: Path, subset: str) -> None:
    for text in (text for row in read_rows(folder, subset) for text in row.rounds):
        question, instruction = text.user.split("\n")
        assert question.endswith("?")
        assert instruction.endswith(".")
        assert re.fullmatch(r"[^.]+\.", text.assistant)


def test_a_geometry_question_offers_four_choices_and_answers_with_a_letter(folder: Path) -> None:
    for text in (text for row in read_rows(folder, "intergps") for text in row.rounds):
        head, choices = text.user.split("\nChoices:\n")
        *lettered, instruction = choices.split("\n")
        assert head
        assert [line[:3] for line in lettered] == ["A: ", "B: ", "C: ", "D: "]
        assert len({line[3:] for line in lettered}) == 4
        assert instruction == "Answer with the letter."
        assert re.fullmatch(r"Answer: [A-D]", text.assistant)


def test_a_geometry_letter_stands_for_the_measure_that_the_working_ends_in() -> None:
    for number, figure in enumerate(FIGURES):
        row = the_cauldron.draw_geometry_row(Random(number), number)
        rounds = figure(Random(number)).rounds
        for published, asked in zip(row.texts, rounds, strict=True):
            letter = published.assistant.removeprefix("Answer: ")
            chosen = re.search(rf"^{letter}: (.*)$", published.user, re.MULTILINE)
            assert chosen is not None
            assert re.findall(r"\d+", chosen[1])[0] == re.findall(r"\d+", asked.steps[-1])[-1]


def test_the_reader_takes_every_round_without_letters_full_stops_and_instructions(folder: Path) -> None:
    rows = [row for subset in SUBSETS for row in read_rows(folder, subset)]
    texts = [text for row in rows for text in row.rounds]
    records = list(reader.read(folder))
    assert len(records) == len(texts)
    for record, text in zip(records, texts, strict=True):
        assert isinstance(record, SourceRecord)
        assert record.question == text.user.split("\n")[0]
        answer = text.assistant if record.part == "vistext" else text.assistant.removesuffix(".")
        assert record.answers == (answer.removeprefix("Answer: "),)
        assert (record.answer_type == "option_letter") == (record.part == "intergps")
    assert len({record.id for record in records if isinstance(record, SourceRecord)}) == len(records)


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: str(subject.title))
def test_a_lookup_names_one_row_and_answers_with_a_cell_of_it(subject: Subject) -> None:
    for seed in range(30):
        lookup = make_lookup(Random(seed), subject)
        head, rows = lookup.table.header, lookup.table.rows
        assert all(len(set(column)) == len(rows) for column in zip(*rows, strict=True))
        for (named, template, answered), (question, answer) in zip(subject.asked, lookup.questions, strict=True):
            matched = re.fullmatch(re.escape(template).replace(r"\{\}", "(.+)"), question)
            assert matched is not None
            found = [row for row in rows if row[head.index(named)] == matched[1]]
            assert [row[head.index(answered)] for row in found] == [answer]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        the_cauldron.generate(tmp_path / name, 20, Crew(seed=str(seed)))
    assert contents(tmp_path / "first") == contents(tmp_path / "again")
    assert contents(tmp_path / "first") != contents(tmp_path / "other")


@pytest.mark.parametrize("records", [1, 2, 7])
def test_a_few_rows_are_exactly_as_many_as_asked_for(tmp_path: Path, records: int) -> None:
    the_cauldron.generate(tmp_path / "out", records, Crew(seed="0"))
    subsets = [path.name for path in (tmp_path / "out").iterdir()]
    assert sum(len(read_rows(tmp_path / "out", subset)) for subset in subsets) == records


def test_many_rows_go_into_numbered_shards_and_small_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(the_cauldron, "SHARD_ROWS", 6)
    monkeypatch.setattr(the_cauldron, "GROUP_ROWS", 4)
    the_cauldron.generate(tmp_path / "sharded", 30, Crew(seed="2"))
    monkeypatch.undo()
    the_cauldron.generate(tmp_path / "whole", 30, Crew(seed="2"))
    paths = sorted((tmp_path / "sharded" / "st_vqa").iterdir())
    assert [path.name for path in paths] == [f"train-{shard:05d}-of-00002.parquet" for shard in range(2)]
    first = pq.ParquetFile(paths[0]).metadata
    assert [first.row_group(group).num_rows for group in range(first.num_row_groups)] == [4, 2]
    for subset in SUBSETS:
        assert read_rows(tmp_path / "sharded", subset) == read_rows(tmp_path / "whole", subset)
