"""A secret, and what others say of it: whatever form a server quotes it in, it is taken out before anything is kept.

sk-a/b"c   as it is, in JSON (sk-a\\/b\\"c, sk-a\\u002fb\\u0022c), a URL (sk-a%2Fb%22c), HTML (sk-a/b&quot;c), base64
"""

import base64
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

MARK = "***"
# Of a base64 text's piece that is shorter nobody can say where it comes from.
SHORTEST = 6
# What JSON, and JSON within JSON, writes behind backslashes.
_ESCAPED = '"\\/'
_BACKSLASH = r"(?:\\|%(?:25)*5[cC])"


@dataclass(frozen=True)
class Secret:
    """A key, a token or a password; an empty one is none, and nothing is taken out for it."""

    value: str = field(repr=False)

    def cleared(self, said: str) -> str:
        """Return `said` without the secret; to be called before a text is cut, since a piece of it is not known."""
        for pattern in self._patterns:
            said = pattern.sub(MARK, said)
        return said

    def cleared_bytes(self, body: bytes) -> bytes:
        """Return a body in UTF-8, or in whatever else, without the secret."""
        for pattern in self._byte_patterns:
            body = pattern.sub(MARK.encode(), body)
        return body

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        if not self.value:
            return ()
        # Each of them begins with one of a few characters, which a search skips to; together they would not.
        written = "".join(f"(?:{'|'.join(_forms(character))})" for character in self.value)
        encoded = "|".join(map(re.escape, _in_base64(self.value.encode())))
        return tuple(re.compile(pattern) for pattern in (written, encoded) if pattern)

    @cached_property
    def _byte_patterns(self) -> tuple[re.Pattern[bytes], ...]:
        return tuple(re.compile(pattern.pattern.encode()) for pattern in self._patterns)


def _forms(character: str) -> Iterator[str]:
    """Yield patterns of how a character may be written; what begins like another form stands before it."""
    number = ord(character)
    if character in _ESCAPED:
        yield rf"{_BACKSLASH}+(?:{_in_url(number)}|{re.escape(character)})"
    yield rf"\\\\*u{_hexadecimal(number, 4)}"
    yield _in_url(number)
    yield rf"&#(?:0*{number}|[xX]0*{_hexadecimal(number, 1)});"
    if html.escape(character) != character:
        yield re.escape(html.escape(character))
    yield r"[ +]" if character == " " else re.escape(character)


def _in_url(number: int) -> str:
    """Return the pattern of a character in a URL, and in a URL that stands in another one."""
    return f"%(?:25)*{_hexadecimal(number, 2)}"


def _hexadecimal(number: int, digits: int) -> str:
    """Return the pattern of a number in hexadecimal digits, small or large."""
    written = f"{number:0{digits}x}"
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in written)


def _in_base64(secret: bytes) -> Iterator[str]:
    """Yield what of a base64 text the secret alone decides, wherever it stands in what was encoded."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret).decode()
        # The characters at its ends hold bits of its neighbours too.
        inner = encoded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]
        if len(inner) >= SHORTEST:
            yield from (inner, inner.translate(str.maketrans("+/", "-_")))
