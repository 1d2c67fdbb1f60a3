"""A corpus is read as articles, which are cut in passages, or as passages, which are not; a bad one says where."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.passages import PASSAGE_WORDS, Article, Place, passage_at, read_passages
from mmat_dagster.tools import CorpusError, Passage

SWAN = "The mute swan is a large bird. Its wingspan is 200 to 240 centimetres."
ARTICLE = {"wikidata_id": "Q1", "wikipedia_title": "Judo", "wikipedia_content": "Judo was created in 1882."}
PASSAGE = {"id": "p1", "title": "Judo", "text": "Judo was created in 1882."}


def passages_of(text: str) -> list[Passage]:
    return list(Article(wikidata_id="Q1", wikipedia_title="S", wikipedia_content=text).passages())


def write(path: Path, lines: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def test_a_long_article_is_cut_at_the_ends_of_sentences() -> None:
    sentences = [f"Sentence number {number} says that Mr. J. Smith saw {number} swans." for number in range(60)]
    passages = passages_of(" ".join(sentences))
    assert " ".join(passage.text for passage in passages) == " ".join(sentences)
    assert all(100 <= len(passage.text.split()) <= PASSAGE_WORDS for passage in passages[:-1])
    assert all(passage.text.endswith(" swans.") for passage in passages)
    assert [passage.id for passage in passages] == [f"Q1#{number}" for number in range(len(passages))]


@given(st.lists(st.lists(st.sampled_from(["swan", "Mr.", "J.", "end.", "really?", "“No.”", "\n"])), max_size=60))
def test_cutting_keeps_every_word_in_order(lines: list[list[str]]) -> None:
    text = "\n".join(" ".join(words) for words in lines)
    passages = passages_of(text)
    assert [word for passage in passages for word in passage.text.split()] == text.split()
    assert all(0 < len(passage.text.split()) <= PASSAGE_WORDS for passage in passages)


def test_a_sentence_without_an_end_is_cut_by_words() -> None:
    words = " ".join(f"w{number}" for number in range(300))
    passages = passages_of(words)
    assert [len(passage.text.split()) for passage in passages] == [120, 120, 60]


@pytest.mark.parametrize(
    ("summary", "content", "expected"),
    [
        (SWAN, None, SWAN),
        (None, SWAN, SWAN),
        ("", SWAN, SWAN),
        ("The mute swan is a large bird.", SWAN, SWAN),
        ("Summed up.", SWAN, f"Summed up. {SWAN}"),
    ],
)
def test_summary_and_content_are_both_searched_and_none_twice(
    summary: str | None, content: str | None, expected: str
) -> None:
    found = Article(wikidata_id="Q1", wikipedia_title="S", wikipedia_summary=summary, wikipedia_content=content)
    assert [passage.text for passage in found.passages()] == [expected]


def test_passages_are_read_as_they_are_however_long(tmp_path: Path) -> None:
    long = "A swan swims. " * 400
    lines = [PASSAGE, {"id": 7, "text": f"{long}\n\tIt\u2028flies."}, {"id": 0.5, "title": None, "text": ""}]
    found = [passage for _, passage in read_passages(write(tmp_path / "p.jsonl", lines))]
    assert found == [
        Passage(id="p1", title="Judo", text="Judo was created in 1882."),
        Passage(id="7", title="", text=f"{long}It flies."),
        Passage(id="0.5", title="", text=""),
    ]


@given(st.lists(st.tuples(st.booleans(), st.text(max_size=30), st.integers(1, 300)), min_size=1, max_size=8))
def test_every_passage_is_found_again_at_its_place(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[bool, str, int]]
) -> None:
    path = tmp_path_factory.mktemp("places") / "corpus.jsonl"
    articles = (
        {"wikidata_id": f"Q{number}", "wikipedia_title": title, "wikipedia_content": "A swan swims. " * length}
        for number, (_, title, length) in enumerate(entries)
    )
    blanks = (b"\n \n" if blank else b"" for blank, _, _ in entries)
    path.write_bytes(
        b"".join(blank + json.dumps(line).encode() + b"\n" for blank, line in zip(blanks, articles, strict=True))
    )
    found = list(read_passages(path))
    with path.open("rb") as lines:
        assert [passage_at(lines, place) for place, _ in reversed(found)] == [each for _, each in reversed(found)]


def test_a_place_is_a_lines_first_byte_and_a_number(tmp_path: Path) -> None:
    lines = [ARTICLE, ARTICLE | {"wikidata_id": "Q2", "wikipedia_content": "swan " * (PASSAGE_WORDS + 1)}]
    path = write(tmp_path / "a.jsonl", lines)
    second = len(json.dumps(ARTICLE)) + 1
    places = [place for place, _ in read_passages(path)]
    assert places == [Place(offset=0, number=0), Place(offset=second, number=0), Place(offset=second, number=1)]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (f'{json.dumps(ARTICLE)}\n{{"wiki', "line 2 is not an article: unexpected end"),
        ('["Judo"]', "line 1 is not an article or a passage: it is no object with a wikidata_id or an id"),
        ('{"title": "Judo"}', "line 1 is not an article or a passage: it is no object with a wikidata_id or an id"),
        ("no JSON", "line 1 is not an article or a passage: invalid literal"),
        ('\n{"wikidata_id": "Q1"}', "line 2 is not an article: wikipedia_title: Field required"),
        ('{"wikidata_id": "Q1", "wikipedia_title": 5}', "line 1 is not an article: wikipedia_title: "),
        (f"{json.dumps(ARTICLE)}\n{json.dumps(ARTICLE)}", "line 2: the article Q1 is in the corpus twice"),
        ('{"id": "p1"}', "line 1 is not a passage: text: Field required"),
        ('{"id": true, "text": "x"}', "line 1 is not a passage: id: Input should be a valid string"),
        ('{"id": "", "text": "x"}', "line 1 is not a passage: id: String should have at least 1 character"),
        ('{"id": null, "text": "x"}', "line 1 is not a passage: id: Input should be a valid string"),
        (f'{json.dumps(PASSAGE)}\n{{"text": "x"}}', "line 2 is not a passage: id: Field required"),
        (f"{json.dumps(PASSAGE)}\n[]", "line 2 is not a passage: Input should be a valid dictionary"),
        ('{"id": 7, "text": "x"}\n{"id": "7", "text": "y"}', "line 2: the passage 7 is in the corpus twice"),
        (
            f"{json.dumps(PASSAGE)}\n{json.dumps(ARTICLE)}",
            "line 2 is not a passage like the lines before it: the file mixes two layouts",
        ),
        (
            f"{json.dumps(ARTICLE)}\n\n{json.dumps(PASSAGE)}",
            "line 3 is not an article like the lines before it: the file mixes two layouts",
        ),
    ],
)
def test_a_corpus_that_is_none_is_complained_of(tmp_path: Path, lines: str, complaint: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(lines, "utf-8")
    with pytest.raises(CorpusError, match=f"{path}, {complaint}") as caught:
        list(read_passages(path))
    assert "\n" not in str(caught.value)


def test_an_article_may_have_an_id_besides(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [ARTICLE | {"id": 3}, ARTICLE | {"wikidata_id": "Q2"}])
    assert [passage.id for _, passage in read_passages(path)] == ["Q1#0", "Q2#0"]
