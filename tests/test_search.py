"""Search finds passages of real articles, says nothing where nothing matches, and complains clearly of a bad corpus."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.operators.observation import CUT
from mmat_dagster.tools import CorpusError, Passage
from resources.search import PASSAGE_WORDS, Article, BM25Retriever, BM25Search, cut, words_of

ROOT = Path(__file__).resolve().parents[1]
XQUAD = ROOT.parent / "shared" / "data" / "operators" / "rag" / "xquad" / "xquad.en.json"

JUDO = "Judo was created in 1882 by Kanō Jigorō in Tokyo. It is practised in a dojo.\nIts players are called judoka."
SWAN = "The mute swan is a large bird. Its wingspan is 200 to 240 centimetres."
TELESCOPE = "The Gregorian telescope was designed by James Gregory. Robert Hooke built one."


def article(number: int, title: str, content: str | None, summary: str | None = None) -> dict[str, str | None]:
    return {
        "wikidata_id": f"Q{number}",
        "wikipedia_title": title,
        "wikipedia_summary": summary,
        "wikipedia_content": content,
        "wikipedia_image_url": None,
    }


def write(path: Path, articles: Iterable[dict[str, str | None]]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in articles), "utf-8")
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    found = [article(1, "Judo", JUDO), article(2, "Mute swan", SWAN), article(3, "Gregorian telescope", TELESCOPE)]
    return write(tmp_path / "corpus.jsonl", found)


def retriever(corpus: Path, max_chars: int = 1200) -> BM25Retriever:
    return BM25Retriever(corpus, max_chars)


async def test_a_question_finds_the_article_that_answers_it(corpus: Path) -> None:
    found = await retriever(corpus).search("Who designed the Gregorian telescope?", 3)
    assert found[0] == Passage(id="Q3#0", title="Gregorian telescope", text=TELESCOPE)


async def test_case_and_accents_make_no_difference(corpus: Path) -> None:
    for query in ("kano jigoro", "KANŌ JIGORŌ", "Kano\u0304 Jigoro\u0304"):
        assert [passage.title for passage in await retriever(corpus).search(query, 3)] == ["Judo"]


async def test_a_passage_is_found_by_its_title_and_told_in_one_line(corpus: Path) -> None:
    (found,) = await retriever(corpus).search("judo", 3)
    assert found.text == JUDO.replace("\n", " ")


@pytest.mark.parametrize("query", ["", "   ", "?!", "the of and", "zebra", "\n\ud800"])
async def test_nothing_is_found_where_no_word_matches(corpus: Path, query: str) -> None:
    assert await retriever(corpus).search(query, 3) == ()


async def test_only_as_many_passages_are_told_as_were_asked_for(corpus: Path) -> None:
    found = [len(await retriever(corpus).search("judo swan telescope", top_k)) for top_k in (0, 1, 2, 3, 9)]
    assert found == [0, 1, 2, 3, 3]


async def test_equal_passages_come_in_the_order_of_the_corpus(tmp_path: Path) -> None:
    twins = [article(number, "Swan", "A swan swims.") for number in (9, 4, 7, 1)]
    path = write(tmp_path / "twins.jsonl", [article(5, "Judo", JUDO), *twins])
    assert [passage.id for passage in await retriever(path).search("swan", 3)] == ["Q9#0", "Q4#0", "Q7#0"]


async def test_a_search_goes_over_the_sources_own_passages_or_else_over_the_default_corpus(
    tmp_path: Path, corpus: Path
) -> None:
    own = write(tmp_path / "own.jsonl", [article(8, "Heron", "The heron is a bird that eats fish.")])
    engine = BM25Search(corpus=str(corpus))
    assert [passage.title for passage in await engine.over(None).search("bird", 3)] == ["Mute swan"]
    assert [passage.title for passage in await engine.over(own).search("bird", 3)] == ["Heron"]
    assert engine.over(own) is engine.over(own)
    assert engine.over(None) is engine.over(corpus)


async def test_searches_at_once_agree(corpus: Path) -> None:
    over = retriever(corpus)
    found = await asyncio.gather(*(over.search("large bird", 3) for _ in range(20)))
    assert set(found) == {found[0]}
    assert found[0]


def test_threads_that_search_first_at_once_agree(corpus: Path) -> None:
    over = retriever(corpus)
    found: list[tuple[Passage, ...]] = []
    threads = [
        threading.Thread(target=lambda: found.append(asyncio.run(over.search("large bird", 3)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {found[0]}


def test_the_version_tells_corpus_and_engine_apart(tmp_path: Path, corpus: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(corpus.read_bytes())
    other = write(tmp_path / "other.jsonl", [article(1, "Judo", JUDO)])
    assert retriever(corpus).version == retriever(copy).version
    assert len({retriever(corpus).version, retriever(other).version, retriever(corpus, 500).version}) == 3
    assert sha256(corpus.read_bytes()).hexdigest() in retriever(corpus).version
    assert retriever(corpus).version.startswith("bm25s 0.")


def test_a_long_article_is_cut_at_the_ends_of_sentences() -> None:
    sentences = [f"Sentence number {number} says that Mr. J. Smith saw {number} swans." for number in range(60)]
    passages = list(cut(Article(wikidata_id="Q1", wikipedia_title="S", wikipedia_content=" ".join(sentences)), 5000))
    assert " ".join(passage.text for passage in passages) == " ".join(sentences)
    assert all(100 <= len(passage.text.split()) <= PASSAGE_WORDS for passage in passages[:-1])
    assert all(passage.text.endswith(" swans.") for passage in passages)
    assert [passage.id for passage in passages] == [f"Q1#{number}" for number in range(len(passages))]


@given(st.lists(st.lists(st.sampled_from(["swan", "Mr.", "J.", "end.", "really?", "“No.”", "\n"])), max_size=60))
def test_cutting_keeps_every_word_in_order(lines: list[list[str]]) -> None:
    text = "\n".join(" ".join(words) for words in lines)
    passages = list(cut(Article(wikidata_id="Q1", wikipedia_title="S", wikipedia_content=text), 100_000))
    assert [word for passage in passages for word in passage.text.split()] == text.split()
    assert all(0 < len(passage.text.split()) <= PASSAGE_WORDS for passage in passages)


def test_a_sentence_without_an_end_is_cut_by_words() -> None:
    words = " ".join(f"w{number}" for number in range(300))
    passages = list(cut(Article(wikidata_id="Q1", wikipedia_title="S", wikipedia_content=words), 5000))
    assert [len(passage.text.split()) for passage in passages] == [120, 120, 60]


def test_a_passage_longer_than_allowed_says_so() -> None:
    (passage,) = cut(Article(wikidata_id="Q1", wikipedia_title="S", wikipedia_content=SWAN), 40)
    assert len(passage.text) <= 40
    assert passage.text.endswith(CUT)


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
    assert [passage.text for passage in cut(found, 5000)] == [expected]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("", "is empty"),
        ("\n  \n", "is empty"),
        (json.dumps(article(1, "The", "It is.")), "is empty"),
        ('{"wikidata_id": "Q1", "wikipedia_title": "Judo"}\n{"wiki', r"line 2 is not an article: unexpected end"),
        ('["Judo"]', "line 1 is not an article: Input should be"),
        ('\n{"wikidata_id": "Q1"}', "line 2 is not an article: wikipedia_title: Field required"),
        ('{"wikidata_id": "Q1", "wikipedia_title": 5}', "line 1 is not an article: wikipedia_title: "),
        (
            f"{json.dumps(article(1, 'Judo', JUDO))}\n{json.dumps(article(1, 'Swan', SWAN))}",
            "line 2: the article Q1 is in the corpus twice",
        ),
    ],
)
async def test_a_corpus_that_is_none_is_complained_of(tmp_path: Path, lines: str, complaint: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(lines, "utf-8")
    with pytest.raises(CorpusError, match=complaint) as caught:
        await retriever(path).search("judo", 3)
    assert str(path) in str(caught.value)


async def test_a_missing_corpus_is_complained_of_by_search_and_version_alike(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"absent\.jsonl cannot be read: No such file"):
        await retriever(tmp_path / "absent.jsonl").search("judo", 3)
    with pytest.raises(CorpusError, match=r"absent\.jsonl cannot be read: No such file"):
        _ = retriever(tmp_path / "absent.jsonl").version


def test_words_that_say_nothing_do_not_count() -> None:
    assert words_of("What is the capital of Côte d'Ivoire?") == ["capital", "cote", "d", "ivoire"]


def test_importing_the_resource_loads_no_search_engine() -> None:
    code = "import sys, resources.search; assert 'bm25s' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


@pytest.mark.skipif(not XQUAD.is_file(), reason="XQuAD is not at hand")
async def test_most_questions_of_xquad_find_their_paragraph(tmp_path: Path) -> None:
    paragraphs = [item for page in json.loads(XQUAD.read_text("utf-8"))["data"] for item in page["paragraphs"]]
    articles = (article(number, "", item["context"]) for number, item in enumerate(paragraphs))
    over = retriever(write(tmp_path / "xquad.jsonl", articles))
    asked = [(question["question"], number) for number, item in enumerate(paragraphs) for question in item["qas"]]
    hits = 0
    for question, number in asked:
        found = await over.search(question, 3)
        hits += any(passage.id.startswith(f"Q{number}#") for passage in found)
    assert len(asked) > 1000
    assert hits / len(asked) > 0.95
