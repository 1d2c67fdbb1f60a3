r"""The value of a number written in LaTeX: 2\sqrt{3}, \frac{25}{7}, 24+4\pi, 1:2.

    sum     = term (+|- term)*
    term    = unary (*|/|:|\times|\cdot|\div unary)*
    unary   = (+|-)* power power*            2\pi is a product, and binds tighter than the stroke: 1/2\pi is 1/(2\pi)
    power   = factor (^ factor)* !*          from the left, as latex2sympy2 reads it: 2^3^2 is 64

As there, the number may end at a bracket that nothing opened, or an arrow, whatever follows: 25), 625 \rightarrow 626.
What holds a letter, a unit or anything else has no value. Nor has what is too long, too deep or too large: so no text
takes long, whatever stands in it.
"""

import math
import re
from collections.abc import Callable
from typing import TypeAlias

Number: TypeAlias = int | float

# No answer is longer, or nested deeper.
CHARS = 400
DEPTH = 30
# The binary digits of the largest whole number, and the largest whose factorial is taken.
BITS = 8000
FACTORIAL = 500

_TOKEN = re.compile(
    r"(?:\d+(?:,\d{3}(?!\d))*(?:\.\d+)?|\.\d+)(?:\\%)?|\\(?:[a-zA-Z]+|})|[-+*/:^!()\[\]{}|_,.&']|tr",
    re.ASCII,
)
# What LaTeX sets apart or around a formula and means nothing.
_BLANK = re.compile(r"\s+|\$|~|\\,|\\(?:left|right|quad|qquad|displaystyle|thinspace)(?![a-zA-Z])")
_TIMES = frozenset({"*", r"\times", r"\cdot"})
_OVER = frozenset({"/", ":", r"\div"})
# `tr` is the trace of a matrix: so 2 triangles are 2.
_ENDS = frozenset({"", ")", "]", "}", ".", "&", "'", "_", "tr", r"\}", r"\rightarrow", r"\Rightarrow", r"\to"})
# Stands for whatever is no token, and all behind it.
_UNKNOWN = "?"
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_CONSTANTS = {r"\pi": math.pi}
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    r"\sin": math.sin,
    r"\cos": math.cos,
    r"\tan": math.tan,
    r"\arcsin": math.asin,
    r"\arccos": math.acos,
    r"\arctan": math.atan,
}
_FRACTIONS = frozenset({r"\frac", r"\dfrac", r"\tfrac"})


def read_number(text: str) -> Number | None:
    """Return the value of `text`; None where it has none."""
    if len(text) > CHARS:
        return None
    try:
        return _Reader(_tokens(text)).read()
    except (_NoNumberError, ArithmeticError, ValueError):
        return None


class _NoNumberError(Exception):
    """The text is not the number that it began as."""


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    at = 0
    while at < len(text):
        if blank := _BLANK.match(text, at):
            at = blank.end()
        elif token := _TOKEN.match(text, at):
            tokens.append(token[0])
            at = token.end()
        else:
            return [*tokens, _UNKNOWN]
    return tokens


class _Reader:
    """Reads the tokens from left to right; each method reads what the grammar calls so."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = [*tokens, ""]
        self._at = 0
        self._depth = 0

    def read(self) -> Number:
        value = self._sum()
        if self._next not in _ENDS:
            raise _NoNumberError
        return value

    @property
    def _next(self) -> str:
        return self._tokens[self._at]

    def _take(self, *wanted: str) -> str:
        if self._next not in wanted:
            raise _NoNumberError
        self._at += 1
        return self._tokens[self._at - 1]

    def _sum(self) -> Number:
        self._depth += 1
        if self._depth > DEPTH:
            raise _NoNumberError
        value = self._term()
        while self._next in {"+", "-"}:
            value = value + self._term() if self._take("+", "-") == "+" else value - self._term()
        self._depth -= 1
        return _checked(value)

    def _term(self) -> Number:
        value = self._unary()
        while self._next in _TIMES | _OVER:
            is_over = self._take(*_TIMES, *_OVER) in _OVER
            value = value / self._unary() if is_over else _checked(value * self._unary())
        return value

    def _unary(self) -> Number:
        minus = False
        while self._next in {"+", "-"}:
            minus ^= self._take("+", "-") == "-"
        value = self._power()
        while self._begins_factor():
            value = _checked(value * self._power())
        return -value if minus else value

    def _begins_factor(self) -> bool:
        return self._next in _CLOSING or self._next[-1:].isdigit() or self._next[-2:] == r"\%" or _is_factor(self._next)

    def _power(self) -> Number:
        value = self._factor()
        while self._next == "^":
            self._take("^")
            value = _raised(value, self._exponent())
        while self._next == "!":
            self._take("!")
            value = _factorial(value)
        return value

    def _exponent(self) -> Number:
        if self._next == "{":
            return self._group()
        return self._factor() if self._next[:1] not in {"(", "["} and self._next not in _FRACTIONS else self._fail()

    def _factor(self) -> Number:
        token = self._next
        if token in _CLOSING:
            return self._group()
        self._at += bool(token)
        if token in _CONSTANTS:
            return _CONSTANTS[token]
        return self._command(token) if token[:1] == "\\" else _plain(token)

    def _command(self, name: str) -> Number:
        if name in _FRACTIONS:
            return self._group("{") / self._group("{")
        if name == r"\sqrt":
            degree = self._group("[") if self._next == "[" else None
            return _root(self._group("{"), degree)
        if name in _FUNCTIONS:
            return _FUNCTIONS[name](self._group() if self._next in {"(", "{"} else self._term())
        return self._fail()

    def _group(self, *opening: str) -> Number:
        closing = _CLOSING[self._take(*(opening or _CLOSING))]
        value = self._sum()
        self._take(closing)
        return value

    def _fail(self) -> Number:
        raise _NoNumberError


def _is_factor(command: str) -> bool:
    return command in _CONSTANTS or command in _FRACTIONS or command in _FUNCTIONS or command == r"\sqrt"


def _plain(token: str) -> Number:
    digits = token.replace(",", "").removesuffix(r"\%")
    value: Number = float(digits) if "." in digits else int(digits)
    return value / 100 if token.endswith("%") else value


def _root(value: Number, degree: Number | None) -> Number:
    return math.sqrt(value) if degree is None else _raised(value, 1 / degree)


def _raised(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > BITS:
        raise _NoNumberError
    value: object = base**exponent
    # A root of what is below zero is complex.
    if not isinstance(value, int | float):
        raise _NoNumberError
    return value


def _factorial(value: Number) -> int:
    if not isinstance(value, int) or value > FACTORIAL:
        raise _NoNumberError
    return math.factorial(value)


def _checked(value: Number) -> Number:
    if isinstance(value, int) and value.bit_length() > BITS:
        raise _NoNumberError
    return value
