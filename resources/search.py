"""Search for RAG by BM25 over a local corpus of articles (bm25s)."""

import asyncio
import hashlib
import re
import threading
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import orjson
from pydantic import BaseModel, Field, PrivateAttr, ValidationError

from mmat_dagster.operators.observation import one_line
from mmat_dagster.tools import CorpusError, Passage, Retriever, SearchEngine

if TYPE_CHECKING:
    import bm25s

# A passage ends with the last sentence that fits.
PASSAGE_WORDS = 120

# Behind a full stop that is not an initial's or a title's, with the quote it may close; or where a line ends.
_SENTENCE_END = re.compile(
    r"""(?:(?<=[.!?])|(?<=[.!?]["”’)\]]))(?<!\b[A-Z]\.)(?<!\b(?:Dr|Mr|Ms|St|Jr|Sr|No|vs|ca)\.)(?<!\bMrs\.)\s+|\s*\n\s*"""
)
_WORD = re.compile(r"\w+")
STOP_WORDS = frozenset(
    (
        "a an and are as at be been but by did do does for from had has have how in is it its of on or that the "
        "their there these this those to was were what when where which who whom whose why will with"
    ).split()
)


class Article(BaseModel):
    """One line of the corpus, in the layout of InfoSeek's Wikipedia knowledge base."""

    wikidata_id: str
    wikipedia_title: str
    wikipedia_summary: str | None = None
    wikipedia_content: str | None = None

    @property
    def text(self) -> str:
        """The article from its first sentence on; its content mostly begins with the summary, but need not."""
        summary, content = (self.wikipedia_summary or "").strip(), (self.wikipedia_content or "").strip()
        return content if content.startswith(summary) else f"{summary}\n{content}".strip()


class BM25Search(dg.ConfigurableResource[SearchEngine], SearchEngine):
    """Ranks passages of a JSON Lines corpus; an index is built at the first search over its corpus."""

    corpus: str = Field(description="The corpus for sources that bring none of their own.")
    max_chars: int = Field(default=1200, gt=20, description="A longer passage is cut, and the cut marked.")

    _retrievers: dict[Path, "BM25Retriever"] = PrivateAttr(default_factory=dict)

    def over(self, passages: Path | None) -> Retriever:
        """Return the retriever over `passages`, or over the default corpus."""
        path = passages or Path(self.corpus)
        return self._retrievers.setdefault(path, BM25Retriever(path, self.max_chars))


class BM25Retriever(Retriever):
    """Searches one corpus."""

    def __init__(self, corpus: Path, max_chars: int) -> None:
        """Remember the corpus; it is read at the first search."""
        self._corpus, self._max_chars = corpus, max_chars
        self._building = threading.Lock()

    @property
    def version(self) -> str:
        """Package version and the corpus' SHA-256."""
        cut_at = f"{PASSAGE_WORDS} words, {self._max_chars} characters"
        return f"bm25s {version('bm25s')}, passages of {cut_at}, corpus {self._sha256}"

    async def search(self, query: str, top_k: int, question: str = "") -> tuple[Passage, ...]:  # noqa: ARG002
        """Return the best passages that share a word with the query."""
        return await asyncio.to_thread(self._search, query, top_k)

    def _search(self, query: str, top_k: int) -> tuple[Passage, ...]:
        with self._building:
            index, passages = self._index, self._passages
        words = [word for word in words_of(query) if word in index.vocab_dict]
        if not words:
            return ()
        scores = index.get_scores(words)
        best = (-scores).argsort(kind="stable")[:top_k]
        return tuple(passages[position] for position in best.tolist() if scores[position] > 0)

    @cached_property
    def _sha256(self) -> str:
        try:
            with self._corpus.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CorpusError(f"the passage corpus {self._corpus} cannot be read: {error.strerror}") from error

    @cached_property
    def _passages(self) -> list[Passage]:
        return [passage for article in read_articles(self._corpus) for passage in cut(article, self._max_chars)]

    @cached_property
    def _index(self) -> "bm25s.BM25":
        import bm25s  # noqa: PLC0415  not every run searches

        words = [words_of(f"{passage.title} {passage.text}") for passage in self._passages]
        if not any(words):
            raise CorpusError(f"the passage corpus {self._corpus} is empty")
        index = bm25s.BM25()
        index.index(words, show_progress=False)
        return index


def read_articles(corpus: Path) -> Iterator[Article]:
    """Yield the articles of a JSON Lines corpus; raise CorpusError where it is not one."""
    seen: set[str] = set()
    try:
        with corpus.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _article(line, f"{corpus}, line {number}", seen)
    except OSError as error:
        raise CorpusError(f"the passage corpus {corpus} cannot be read: {error.strerror}") from error


def cut(article: Article, max_chars: int) -> Iterator[Passage]:
    """Yield an article in passages of at most PASSAGE_WORDS words, cut at the ends of sentences."""
    for number, portion in enumerate(_portions(article.text)):
        yield Passage(
            id=f"{article.wikidata_id}#{number}",
            title=one_line(article.wikipedia_title),
            text=one_line(portion, max_chars),
        )


def words_of(text: str) -> list[str]:
    """Return the words that count for a search: without case, accents and stop words."""
    bare = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return [word for word in _WORD.findall(bare.casefold()) if word not in STOP_WORDS]


def _portions(text: str) -> Iterator[str]:
    held: list[str] = []
    for sentence in _SENTENCE_END.split(text):
        for words in _runs(sentence.split()):
            if len(held) + len(words) > PASSAGE_WORDS:
                yield " ".join(held)
                held = []
            held += words
    if held:
        yield " ".join(held)


def _runs(words: list[str]) -> Iterator[list[str]]:
    """Yield a sentence's words, in several runs where it is longer than a passage."""
    for start in range(0, len(words), PASSAGE_WORDS):
        yield words[start : start + PASSAGE_WORDS]


def _article(line: bytes, where: str, seen: set[str]) -> Article:
    try:
        article = Article.model_validate(orjson.loads(line))
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise CorpusError(f"{where} is not an article: {_first_complaint(error)}") from error
    if article.wikidata_id in seen:
        raise CorpusError(f"{where}: the article {article.wikidata_id} is in the corpus twice")
    seen.add(article.wikidata_id)
    return article


def _first_complaint(error: orjson.JSONDecodeError | ValidationError) -> str:
    if isinstance(error, orjson.JSONDecodeError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
