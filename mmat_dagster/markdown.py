"""Text of a dataset on a Markdown page: shown as it is, whatever it holds, so that it breaks and loads nothing.

The pages are those of Dagster's UI: CommonMark with GitHub's tables, images from anywhere, raw HTML shown as text.
"""

import base64
import re
from collections.abc import Mapping
from typing import Literal

# What means something anywhere in a line, and what does at its beginning; a backslash takes the meaning away.
_INLINE = re.compile(r"([\\`*_\[\]<>&|~#])")
_LEADING = re.compile(r"(?m)^(\d*)(?=[-+=:]|[.)](?:\s|$))")
_LINE_ENDS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# GitHub's dialect makes links of these without any mark, and its e-mail addresses too.
_LINKED = re.compile(r"(?i)(?<=\bhttp)(?=s?:)|(?<=\bwww)(?=\.)|(?<=@)")
# Invisible, and no part of a link.
_WORD_JOINER = "\u2060"
_INDENT = re.compile(r"(?m)^[ \t]+")


def literal(text: str) -> str:
    """Return `text` so that a paragraph, a heading or a quotation shows it as it is, line by line."""
    lines = _INDENT.sub(lambda space: "\u00a0" * len(space[0]), "\n".join(_LINE_ENDS.split(text.strip())))
    return _escaped(lines).replace("\n", "\\\n")


def cell(text: str) -> str:
    """Return `text` so that a cell of a table or a picture's title shows it as it is, in one line."""
    return _escaped(" ".join(text.split()))


def count_table(title: str, counts: Mapping[str, int]) -> str:
    """Return counts as a table."""
    rows = "".join(f"| {cell(name)} | {count:,} |\n" for name, count in sorted(counts.items()))
    return f"| {cell(title)} | count |\n|---|---:|\n{rows}" if rows else "none"


def picture(title: str, data: bytes, kind: Literal["png", "jpeg"]) -> str:
    """Return a picture that the page holds itself."""
    return f"![{cell(title)}](data:image/{kind};base64,{base64.b64encode(data).decode()})"


def _escaped(text: str) -> str:
    return _LEADING.sub(r"\1\\", _INLINE.sub(r"\\\1", _LINKED.sub(_WORD_JOINER, text)))
