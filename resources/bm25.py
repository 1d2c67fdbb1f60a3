"""BM25 by tantivy: an index of where words stand, in memory or mapped from a folder that is there whole or not at all.

A word counts without case, accents and ending (Snowball's English), and not at all if it is a stop word.
"""

import fcntl
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from mmat_dagster.passages import Place

if TYPE_CHECKING:
    import tantivy

# Counts the changes of what decides a result, besides tantivy's: an index of another edition is another index.
EDITION = 1
STOP_WORDS = (
    "a an and are as at be been but by did do does for from had has have how in is it its of on or that the "
    "their there these this those to was were what when where which who whom whose why will with"
).split()
WRITER_BYTES = 100_000_000
# Scores that agree in so many digits are equal: the last ones depend on how an index is split.
DIGITS = 5


def bm25_version() -> str:
    """Return what decides the scores of words; k1 is 1.2 and b 0.75, as in Lucene."""
    return f"tantivy {version('tantivy')}, words {EDITION}"


@dataclass(frozen=True, kw_only=True)
class Bm25Index:
    """Finds passages by their words."""

    schema: "tantivy.Schema"
    searcher: "tantivy.Searcher"

    def best(self, query: str, top_k: int) -> list[tuple[Place, float]]:
        """Return the passages that share a word with `query`, best first, equal ones in the order of the corpus."""
        words = words_of(query)
        found = self._found(words, top_k) if words and top_k > 0 else []
        order = sorted(found, key=lambda hit: (-hit[1], hit[0].offset, hit[0].number))
        return order[:top_k]

    def _found(self, words: list[str], top_k: int) -> list[tuple[Place, float]]:
        """Return the best `top_k` passages and all others that are as good as the last of them."""
        import tantivy  # noqa: PLC0415

        terms = [tantivy.Query.term_query(self.schema, "words", word) for word in words]
        wanted = tantivy.Query.boolean_query([(tantivy.Occur.Should, term) for term in terms])
        limit = top_k + 1
        while True:
            hits = self.searcher.search(wanted, limit, count=False).hits
            scores = [float(f"{score:.{DIGITS}g}") for score, _ in hits]
            if len(hits) < limit or scores[-1] < scores[top_k - 1]:
                break
            # tantivy orders equals by the part of the index that they stand in: all of them are needed to order them.
            limit *= 2
        at = [address for _, address in hits]
        places = zip(self._column("offset", at), self._column("number", at), strict=True)
        return [
            (Place(offset=offset, number=number), score) for (offset, number), score in zip(places, scores, strict=True)
        ]

    def _column(self, name: str, at: "list[tantivy.DocAddress]") -> list[int]:
        return [int(value) for value in self.searcher.fast_field_values(name, at) if value is not None]


def words_of(text: str) -> list[str]:
    """Return the words of `text` that count, in their order."""
    return list(_analyzer().analyze(_composed(text)))


def build_index(passages: Iterable[tuple[Place, str]], folder: Path | None) -> Bm25Index:
    """Index passages in a folder, or in memory."""
    import tantivy  # noqa: PLC0415  not every run searches

    fields = tantivy.SchemaBuilder()
    fields.add_text_field("words", tokenizer_name="words", index_option="freq")
    for name in ("offset", "number"):
        fields.add_integer_field(name, fast=True)
    schema = fields.build()
    index = tantivy.Index(schema, path=str(folder) if folder else None)
    index.register_tokenizer("words", _analyzer())
    writer = index.writer(heap_size=WRITER_BYTES, num_threads=1)
    try:
        for place, text in passages:
            writer.add_document(tantivy.Document(words=_composed(text), offset=place.offset, number=place.number))
        writer.commit()
    finally:
        # Its threads would write on in a folder that the next build wants to clear.
        writer.wait_merging_threads()
    return _opened(index)


def kept_index(folder: Path, build: Callable[[Path], Bm25Index]) -> Bm25Index:
    """Return the index in `folder`, mapped, not read; build it where it is not there.

    One process builds, the others wait for it. A build that is killed leaves a folder `.part`, which the next clears.
    Raises OSError where the folder cannot be written or opened.
    """
    import tantivy  # noqa: PLC0415

    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_suffix(".lock")):
        if not folder.is_dir():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            with _told_as_oserror(f"{part.name} cannot be written"):
                build(part)
            part.rename(folder)
    with _told_as_oserror(f"{folder.name} is damaged, remove it"):
        return _opened(tantivy.Index.open(str(folder)))


def _opened(index: "tantivy.Index") -> Bm25Index:
    # Nobody writes to an index that is built: there is nothing to look out for.
    index.config_reader(reload_policy="manual")
    index.reload()
    return Bm25Index(schema=index.schema, searcher=index.searcher())


@cache
def _analyzer() -> "tantivy.TextAnalyzer":
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer  # noqa: PLC0415

    plain = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.ascii_fold()).filter(Filter.lowercase())
    return plain.filter(Filter.custom_stopword(STOP_WORDS)).filter(Filter.stemmer("english")).build()


def _composed(text: str) -> str:
    """Join letters and their accents, which would part a word, and replace what UTF-8 cannot tell."""
    return unicodedata.normalize("NFKC", text).encode("utf-8", "replace").decode()


@contextmanager
def _told_as_oserror(what: str) -> Iterator[None]:
    """Tell what tantivy says of files, which it calls a ValueError, as what it is."""
    try:
        yield
    except ValueError as error:
        raise OSError(f"{what} ({error})") from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock that no other process holds; it is let go when this process ends, however it does."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
