"""Search for RAG by BM25 over a local corpus of articles or passages."""

import asyncio
import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import dagster as dg
from pydantic import Field, PrivateAttr

from mmat_dagster.operators.observation import one_line
from mmat_dagster.passages import PASSAGE_WORDS, Place, passage_at, read_passages, unreadable
from mmat_dagster.tools import CorpusError, Passage, Retriever, SearchEngine
from resources.bm25 import Bm25Index, bm25_version, build_index, kept_index, words_of

MAX_CHARS = 1200


class BM25Search(dg.ConfigurableResource[SearchEngine], SearchEngine):
    """Ranks passages of a JSON Lines corpus; an index is built at the first search over its corpus."""

    corpus: str = Field(description="The corpus for sources that bring none of their own.")
    max_chars: int = Field(default=MAX_CHARS, gt=20, description="A longer passage is cut, and the cut marked.")
    cache: str | None = Field(default=None, description="Folder where indexes are kept; without one, none is.")

    _retrievers: dict[Path, "BM25Retriever"] = PrivateAttr(default_factory=dict)

    def over(self, passages: Path | None) -> Retriever:
        """Return the retriever over `passages`, or over the default corpus."""
        path = passages or Path(self.corpus)
        cache = Path(self.cache) if self.cache else None
        return self._retrievers.setdefault(path, BM25Retriever(path, self.max_chars, cache))


class BM25Retriever(Retriever):
    """Searches one corpus; keeps no text in memory, but reads what it found again."""

    def __init__(self, corpus: Path, max_chars: int = MAX_CHARS, cache: Path | None = None) -> None:
        """Remember the corpus; it is read at the first search."""
        self._corpus, self._max_chars, self._cache = corpus, max_chars, cache
        self._building = threading.Lock()

    @property
    def version(self) -> str:
        """Packages, parameters and the corpus' SHA-256."""
        return f"{self._index_version}, told in {self._max_chars} characters"

    async def search(self, query: str, top_k: int, question: str = "") -> tuple[Passage, ...]:  # noqa: ARG002
        """Return the best passages that share a word with the query."""
        return await asyncio.to_thread(self._search, query, top_k)

    def _search(self, query: str, top_k: int) -> tuple[Passage, ...]:
        with self._building:
            state, index = self._state, self._index
        found = index.best(query, top_k)
        if not found:
            return ()
        try:
            with self._corpus.open("rb") as lines:
                if _state(os.fstat(lines.fileno())) != state:
                    raise CorpusError(self._changed)
                return tuple(self._told(passage_at(lines, place), score) for place, score in found)
        except OSError as error:
            raise unreadable(self._corpus, error) from error

    def _told(self, passage: Passage, score: float) -> Passage:
        return replace(passage, text=one_line(passage.text, self._max_chars), score=score)

    @property
    def _index_version(self) -> str:
        return f"{bm25_version()}, passages of {PASSAGE_WORDS} words, corpus {self._sha256}"

    @property
    def _changed(self) -> str:
        return f"the passage corpus {self._corpus} has changed since it was first read"

    @cached_property
    def _state(self) -> tuple[int, ...]:
        """What tells a corpus that was replaced or written since from the one that was read."""
        try:
            return _state(self._corpus.stat())
        except OSError as error:
            raise unreadable(self._corpus, error) from error

    @cached_property
    def _sha256(self) -> str:
        _ = self._state
        try:
            with self._corpus.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise unreadable(self._corpus, error) from error

    @cached_property
    def _index(self) -> Bm25Index:
        if self._cache is None:
            return self._build(None)
        folder = self._cache / hashlib.sha256(self._index_version.encode()).hexdigest()
        try:
            return kept_index(folder, self._build)
        except OSError as error:
            reason = error.strerror or error
            raise CorpusError(f"the index of {self._corpus} cannot be kept in {self._cache}: {reason}") from error

    def _build(self, folder: Path | None) -> Bm25Index:
        return build_index(self._texts(), folder)

    def _texts(self) -> Iterator[tuple[Place, str]]:
        """Yield what is searched; raise CorpusError where no passage has a word."""
        has_words = False
        for place, passage in read_passages(self._corpus):
            text = f"{passage.title} {passage.text}"
            has_words = has_words or bool(words_of(text))
            yield place, text
        if not has_words:
            raise CorpusError(f"the passage corpus {self._corpus} is empty")
        # An index is kept under the hash that was taken before the corpus was read for it.
        if _state(self._corpus.stat()) != self._state:
            raise CorpusError(self._changed)


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
