"""What a person filters by: read from an address, written into one, told as a search."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

WORDS_CHARS = 400
_TERM = re.compile(r'"[^"]*"\*?|[^\s"]+')


class BadFilter(ValueError):
    """An address asks for what cannot be filtered by; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The dialogues that are shown; what is empty does not matter. `reflection` may also be `any`.

    `words` are searched in question, thoughts, observations and answer: all of them, "in this order" where quoted,
    and any that begin so behind a star*.
    """

    source: str = ""
    part: str = ""
    operator: str = ""
    reflection: str = ""
    teacher: str = ""
    min_score: float | None = None
    max_score: float | None = None
    words: str = ""

    @property
    def is_everything(self) -> bool:
        """Say whether nothing is filtered out."""
        return self == Wanted()

    def query(self) -> dict[str, str]:
        """Return what is set, as an address holds it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _text(value) for name, value in values.items() if value not in ("", None)}


def parse_wanted(query: Mapping[str, str]) -> Wanted:
    """Read what an address asks for; raise BadFilter for a score that is none."""
    return Wanted(
        source=query.get("source", ""),
        part=query.get("part", ""),
        operator=query.get("operator", ""),
        reflection=query.get("reflection", ""),
        teacher=query.get("teacher", ""),
        min_score=_score(query.get("min_score", "")),
        max_score=_score(query.get("max_score", "")),
        words=" ".join(query.get("words", "")[:WORDS_CHARS].split()),
    )


def search_expression(words: str) -> str:
    """Return `words` in the language of SQLite's FTS5, every term quoted, whatever it holds; empty for no term."""
    return " ".join(filter(None, map(_term, _TERM.findall(words))))


def _term(text: str) -> str:
    """Quote one term; what has no letter and no digit finds nothing and is left out."""
    kept = "".join(char for char in text if char.isprintable() and char not in '"*')
    star = "*" if text.endswith("*") else ""
    return f'"{kept}"{star}' if any(char.isalnum() for char in kept) else ""


def _score(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        score = float(text)
    except ValueError:
        raise BadFilter(f"a score is a number from 0 to 1, not {text[:40]!r}") from None
    if not 0 <= score <= 1:
        raise BadFilter(f"a score is a number from 0 to 1, not {text[:40]!r}")
    return score


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
