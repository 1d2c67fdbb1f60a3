"""Reading a page of Google's results: a pure function of the answer's body, so that a kept one reads the same."""

import html
import re
from collections.abc import Iterator

from pydantic import BaseModel, Field, model_validator

from mmat_dagster.operators.observation import one_line
from mmat_dagster.tools import Passage
from resources.google_requests import LAST_START

KIND = "customsearch#search"

# Only tags that a snippet may hold: of "a <b and c> d" and "List<String>" nothing is taken away.
_ATTRIBUTES = r"(?:\s+[\w-]+\s*=[^<>]*)?\s*/?>"
_BREAK_TAG = re.compile(rf"</?(?:br|p|li|ul|ol|div|tr|td|h[1-6]){_ATTRIBUTES}", re.IGNORECASE)
_TAG = re.compile(rf"</?(?:b|i|u|a|em|strong|mark|span|font|sub|sup|small|wbr|code){_ATTRIBUTES}", re.IGNORECASE)


class Item(BaseModel):
    """One result, as far as it is read here."""

    title: str = ""
    html_title: str = Field(default="", alias="htmlTitle")
    link: str = ""
    snippet: str = ""
    html_snippet: str = Field(default="", alias="htmlSnippet")


class PageStart(BaseModel):
    """The page behind this one."""

    start: int = Field(default=0, alias="startIndex")


class Queries(BaseModel):
    """What can be asked for next."""

    next_page: list[PageStart] = Field(default=[], alias="nextPage")


class Page(BaseModel):
    """An answer: up to ten results."""

    kind: str = ""
    items: list[Item] = []
    queries: Queries = Queries()
    information: dict[str, object] | None = Field(default=None, alias="searchInformation")

    @model_validator(mode="after")
    def _is_one(self) -> "Page":
        if self.kind != KIND and not self.items and self.information is None:
            raise ValueError("neither results nor the word that there are none")
        return self

    def next_start(self, start: int) -> int | None:
        """Return where the page behind the one at `start` begins; None where there is none, or the API gives none."""
        told = self.queries.next_page[0].start if self.queries.next_page else 0
        return told if start < told <= LAST_START else None

    def passages(self, max_chars: int) -> Iterator[Passage]:
        """Yield the results that have a link, a title and a text."""
        for item in self.items:
            title, text = plain(item.title or item.html_title), plain(item.snippet or item.html_snippet, max_chars)
            if title and text and item.link.startswith(("http://", "https://")):
                yield Passage(id=item.link, title=title, text=text)


def read_page(body: bytes) -> Page:
    """Return what an answer says; raise ValidationError where it is no page of results."""
    return Page.model_validate_json(body)


def plain(text: str, max_chars: int = 300) -> str:
    """Return the text of a piece of HTML in one line: no tags, no entities, no hard spaces."""
    return one_line(html.unescape(_TAG.sub("", _BREAK_TAG.sub(" ", text))), max_chars)
