"""Corpora that are searched: JSON Lines of articles in InfoSeek's Wikipedia layout, or of passages.

    {"wikidata_id": "Q1", "wikipedia_title": "Judo", "wikipedia_summary": null, "wikipedia_content": "Judo was ..."}
    {"id": "p1", "title": "Judo", "text": "Judo was ..."}

An article is cut in passages, a passage stays whole. The first line tells which of the two a corpus is made of.
"""

import re
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO, ClassVar

import orjson
from pydantic import BaseModel, Field, JsonValue, ValidationError

from mmat_dagster.operators.observation import one_line
from mmat_dagster.tools import CorpusError, Passage

# An article's passage ends with the last sentence that fits.
PASSAGE_WORDS = 120

# Behind a full stop that is not an initial's or a title's, with the quote it may close; or where a line ends.
_SENTENCE_END = re.compile(
    r"""(?:(?<=[.!?])|(?<=[.!?]["”’)\]]))(?<!\b[A-Z]\.)(?<!\b(?:Dr|Mr|Ms|St|Jr|Sr|No|vs|ca)\.)(?<!\bMrs\.)\s+|\s*\n\s*"""
)


class Entry(BaseModel):
    """One line of a corpus."""

    noun: ClassVar[str]
    marker: ClassVar[str]
    """The field that tells this layout from the other; its text is the entry's id."""

    @abstractmethod
    def passages(self) -> Iterator[Passage]:
        """Yield the passages of this line, each in one line of any length."""


class Article(Entry):
    """An article in the layout of InfoSeek's Wikipedia knowledge base."""

    noun: ClassVar[str] = "an article"
    marker: ClassVar[str] = "wikidata_id"

    wikidata_id: str
    wikipedia_title: str
    wikipedia_summary: str | None = None
    wikipedia_content: str | None = None

    @property
    def text(self) -> str:
        """The article from its first sentence on; its content mostly begins with the summary, but need not."""
        summary, content = (self.wikipedia_summary or "").strip(), (self.wikipedia_content or "").strip()
        return content if content.startswith(summary) else f"{summary}\n{content}".strip()

    def passages(self) -> Iterator[Passage]:
        """Cut the article in passages of at most PASSAGE_WORDS words, at the ends of sentences."""
        title = one_line(self.wikipedia_title)
        for number, portion in enumerate(_portions(self.text)):
            yield Passage(id=f"{self.wikidata_id}#{number}", title=title, text=_one_line(portion))


class Ready(Entry):
    """A passage as somebody else has cut it; its id may be a number."""

    noun: ClassVar[str] = "a passage"
    marker: ClassVar[str] = "id"

    id: Annotated[str, Field(coerce_numbers_to_str=True, min_length=1)]
    text: str
    title: str | None = None

    def passages(self) -> Iterator[Passage]:
        """Yield the passage as it is."""
        yield Passage(id=self.id, title=one_line(self.title or ""), text=_one_line(self.text))


LAYOUTS: tuple[type[Entry], ...] = (Article, Ready)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a passage stands: the first byte of its line, and its number among the passages of that line."""

    offset: int
    number: int


def read_passages(corpus: Path) -> Iterator[tuple[Place, Passage]]:
    """Yield every passage of a corpus and its place; raise CorpusError where it is no corpus."""
    seen: set[str] = set()
    layout: type[Entry] | None = None
    for number, offset, line in _lines(corpus):
        where = f"{corpus}, line {number}"
        layout, entry = _entry(line, layout, where)
        key = getattr(entry, layout.marker)
        if key in seen:
            raise CorpusError(f"{where}: the {layout.noun.split()[-1]} {key} is in the corpus twice")
        seen.add(key)
        for count, passage in enumerate(entry.passages()):
            yield Place(offset=offset, number=count), passage


def passage_at(lines: BinaryIO, place: Place) -> Passage:
    """Read one passage of an opened corpus again."""
    lines.seek(place.offset)
    _, entry = _entry(lines.readline(), None, f"the line at byte {place.offset}")
    return next(islice(entry.passages(), place.number, None))


def _lines(corpus: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield number, first byte and content of the lines that are not blank."""
    offset = 0
    try:
        with corpus.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, offset, line
                offset += len(line)
    except OSError as error:
        raise unreadable(corpus, error) from error


def unreadable(corpus: Path, error: OSError) -> CorpusError:
    """Say that a corpus cannot be read, and why."""
    return CorpusError(f"the passage corpus {corpus} cannot be read: {error.strerror}")


def _entry(line: bytes, layout: type[Entry] | None, where: str) -> tuple[type[Entry], Entry]:
    """Parse one line in the layout of the lines before it; the first line of a corpus has none before it."""
    wanted = f"{where} is not {layout.noun if layout else 'an article or a passage'}"
    try:
        found: JsonValue = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise CorpusError(f"{wanted}: {error}") from error
    own = _layout(found)
    if layout and own and own is not layout:
        raise CorpusError(f"{wanted} like the lines before it: the file mixes two layouts")
    layout = layout or own
    if layout is None:
        raise CorpusError(f"{wanted}: it is no object with a wikidata_id or an id")
    return layout, _validated(layout, found, where)


def _validated(layout: type[Entry], found: JsonValue, where: str) -> Entry:
    try:
        return layout.model_validate(found)
    except ValidationError as error:
        raise CorpusError(f"{where} is not {layout.noun}: {_first_complaint(error)}") from error


def _layout(found: JsonValue) -> type[Entry] | None:
    return next((layout for layout in LAYOUTS if isinstance(found, dict) and layout.marker in found), None)


def _first_complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")


def _one_line(text: str) -> str:
    return one_line(text, max(len(text), 1))


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
