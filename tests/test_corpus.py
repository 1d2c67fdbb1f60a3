"""The sample corpus is whole, the same for the same seed, in the publishers' layouts, and every record can be read."""

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from mmat_dagster import answers
from mmat_dagster.corpus import BENCHMARKS, GENERATORS, encyclopedia, ensure_corpus, write_corpus
from mmat_dagster.corpus.crew import Crew
from mmat_dagster.schema import SourceName, SourceRecord
from mmat_dagster.sources import READERS, check_layout

SMALL = 12
MANY = 100
WORDS = range(80, 151)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a corpus of SMALL records for each source."""
    out = tmp_path_factory.mktemp("small")
    write_corpus(out, records=SMALL)
    return out


@pytest.fixture(scope="module")
def infoseek(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of MANY InfoSeek questions."""
    out = tmp_path_factory.mktemp("many")
    write_corpus(out, records=MANY, seed=7, sources=["infoseek"])
    return out / "infoseek"


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_there_is_a_generator_for_every_source() -> None:
    assert set(GENERATORS) == set(READERS)


def test_the_same_seed_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "again", records=SMALL)
    assert _files(tmp_path / "again") == _files(small)


def test_a_source_is_the_same_with_and_without_the_others(small: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path, records=SMALL, sources=["tabmwp"])
    assert [path.name for path in tmp_path.iterdir()] == ["tabmwp"]
    assert _files(tmp_path / "tabmwp") == _files(small / "tabmwp")


def test_another_seed_gives_other_records(small: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path, records=SMALL, seed=1)
    for name in GENERATORS:
        before, after = _files(small / name), _files(tmp_path / name)
        images = {path for path in before if path.endswith((".png", ".parquet"))}
        assert not [path for path in images & set(after) if before[path] == after[path]]


def test_a_source_that_is_there_already_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "tabmwp").mkdir()
    with pytest.raises(FileExistsError) as refused:
        write_corpus(tmp_path, records=1)
    assert refused.value.filename == str(tmp_path / "tabmwp")
    assert [path.name for path in tmp_path.iterdir()] == ["tabmwp"]
    assert not list((tmp_path / "tabmwp").iterdir())


def test_a_source_that_could_not_be_finished_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_dry(folder: Path, records: int, crew: Crew) -> None:
        (folder / "train.jsonl").write_text("{", "utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(GENERATORS, "llava_cot", run_dry)
    with pytest.raises(OSError, match="No space"):
        write_corpus(tmp_path, records=1, sources=["llava_cot"])
    assert not list(tmp_path.iterdir())


def test_a_source_named_twice_is_written_once(tmp_path: Path) -> None:
    write_corpus(tmp_path, records=1, sources=["tabmwp", "tabmwp"])
    assert [path.name for path in tmp_path.iterdir()] == ["tabmwp"]


def test_a_corpus_of_no_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one record"):
        write_corpus(tmp_path, records=0)


@pytest.mark.parametrize("name", READERS)
def test_the_reader_of_a_source_reads_every_record(small: Path, name: SourceName) -> None:
    folder = check_layout(name, small / name)
    records = list(READERS[name].read(folder))
    found = [record for record in records if isinstance(record, SourceRecord)]
    assert found == records
    assert len(found) >= SMALL
    assert len({record.id for record in found}) == len(found)
    assert {record.source for record in found} == {name}
    assert all((folder / image).is_file() for record in found for image in record.images if isinstance(image, str))


@pytest.mark.parametrize("name", READERS)
def test_one_record_is_enough_for_a_source(tmp_path: Path, name: SourceName) -> None:
    write_corpus(tmp_path, records=1, sources=[name])
    assert len({record.images for record in _read(name, tmp_path / name)}) == 1


def test_every_picture_on_disk_opens(small: Path) -> None:
    pictures = sorted(small.rglob("*.png"))
    assert len(pictures) > 3 * SMALL
    for path in pictures:
        with Image.open(path) as picture:
            picture.load()


def _read(name: SourceName, folder: Path) -> list[SourceRecord]:
    records = list(READERS[name].read(folder))
    return [record for record in records if isinstance(record, SourceRecord)]


def test_infoseek_has_the_publishers_layout(infoseek: Path) -> None:
    questions, links = _lines(infoseek / "infoseek_train.jsonl"), _lines(infoseek / "infoseek_train_withkb.jsonl")
    keys = {"data_id", "image_id", "question", "answer", "answer_eval", "data_split"}
    assert all(set(question) == keys for question in questions)
    assert all(set(link) == {"data_id", "entity_id", "entity_text"} for link in links)
    assert [link["data_id"] for link in links] == [question["data_id"] for question in questions]
    assert len({question["data_id"] for question in questions}) == MANY


def test_infoseek_pictures_lie_where_the_digits_of_their_ids_say(infoseek: Path) -> None:
    ids = {str(question["image_id"]) for question in _lines(infoseek / "infoseek_train.jsonl")}
    expected = {infoseek / "oven_images" / re.findall(r"\d\d", image_id)[0] / f"{image_id}.png" for image_id in ids}
    assert set((infoseek / "oven_images").rglob("*.png")) == expected


def test_infoseek_pictures_do_not_repeat(infoseek: Path) -> None:
    pictures = [path.read_bytes() for path in infoseek.rglob("*.png")]
    assert len(set(pictures)) == len(pictures)


def test_infoseek_links_name_articles_of_its_encyclopedia(infoseek: Path) -> None:
    titles = {article["wikidata_id"]: article["wikipedia_title"] for article in _lines(encyclopedia())}
    links = _lines(infoseek / "infoseek_train_withkb.jsonl")
    assert all(titles[link["entity_id"]] == link["entity_text"] for link in links)
    assert {link["entity_id"] for link in links} == set(titles)


def test_infoseek_brings_the_encyclopedia_as_its_passages(infoseek: Path) -> None:
    found = READERS["infoseek"].passages(infoseek)
    assert found is not None
    assert found.read_bytes() == encyclopedia().read_bytes()


def test_the_article_of_an_infoseek_question_states_every_answer(infoseek: Path) -> None:
    articles = _contents()
    for record in _read("infoseek", infoseek):
        text = articles[str(record.annotations.entity)]
        if record.number_range is None:
            missing = [answer for answer in record.answers if not answers.holds_phrase(text, answer)]
            assert not missing, f"{record.question}: {missing} not in {text}"


def test_the_first_number_in_range_is_the_one_that_an_infoseek_question_asks_for(infoseek: Path) -> None:
    articles = _contents()
    numeric = [record for record in _read("infoseek", infoseek) if record.number_range is not None]
    assert numeric
    for record in numeric:
        low, high = record.number_range or (0, 0)
        text = articles[str(record.annotations.entity)].replace(",", "")
        within = [value for value in map(float, re.findall(r"\d+(?:\.\d+)?", text)) if low <= value <= high]
        assert within[:1] == [float(record.answers[0])], record.question


def test_articles_are_short_different_and_named_in_their_own_first_words() -> None:
    articles = _lines(encyclopedia())
    assert len(articles) >= 24
    assert len({article["wikidata_id"] for article in articles}) == len(articles)
    for article in articles:
        title, text = str(article["wikipedia_title"]), str(article["wikipedia_content"])
        assert set(article) == {"wikidata_id", "wikipedia_title", "wikipedia_summary", "wikipedia_content"}
        assert len(text.split()) in WORDS, title
        assert text.startswith(str(article["wikipedia_summary"]))
        assert title.split(" (", maxsplit=1)[0].casefold() in text[:60].casefold()


def _contents() -> Mapping[str, str]:
    return {str(article["wikipedia_title"]): str(article["wikipedia_content"]) for article in _lines(encyclopedia())}


def test_the_default_corpus_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: ensure_corpus(tmp_path / "corpus", 1), range(3)))
    assert sorted(path.name for path in (tmp_path / "corpus").iterdir()) == sorted([*GENERATORS, BENCHMARKS])
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
