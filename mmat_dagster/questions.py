"""Questions as they are asked: choices laid out once, the response-style constraint behind them; and when two are one.

The table shows a function. Is the function linear or nonlinear?
(A) linear
(B) nonlinear
Answer with one of the options.
"""

import re
import unicodedata
from typing import Protocol

from mmat_dagster.schema import AnswerType


class Askable(Protocol):
    """What is laid out as a question: a source's record, or an item of a benchmark."""

    @property
    def question(self) -> str:
        """The question without choices and constraint."""

    @property
    def choices(self) -> tuple[str, ...]:
        """The choices without their letters; none where the answer is open."""

    @property
    def answer_type(self) -> AnswerType:
        """What is to be answered with."""

    @property
    def unit(self) -> str | None:
        """The unit of a number."""


CONSTRAINTS: dict[AnswerType, str] = {
    "word_or_phrase": "Answer the question with a single word or phrase.",
    "option_letter": "Answer with the option's letter.",
    "option_text": "Answer with one of the options.",
    "number": "Answer with a number.",
    "yes_no": "Answer with yes or no.",
    "free_text": "",
}

_CURRENCIES = "$€£¥"
_ADJECTIVE = re.compile(r" (?:old|tall|long|wide|deep|high)$")
# A choice's letter, the mark behind it and the space between them and the choice take no more than this.
_MARK_CHARS = 12
_APART = re.compile(r"(?:[\s\"'’‘“”()?!;:]|(?<!\d)[.,]|[.,](?!\d))+")


def lay_out_question(record: Askable) -> str:
    """Return the question as it is asked: its choices, if any, and the response-style constraint behind it."""
    question = record.question.strip()
    shown = not record.choices or _shows_choices(question, record.choices)
    listed = "" if shown else "".join(f"\n({_letter(at)}) {choice}" for at, choice in enumerate(record.choices))
    constraint = _constraint(record)
    if not constraint or question.endswith(constraint):
        return question + listed
    one_line = not listed and "\n" not in question and question.endswith((".", "?", "!"))
    return question + listed + (" " if one_line else "\n") + constraint


def normalise_question(question: str) -> str:
    """Return `question` in the form in which it is asked twice: case, spaces, quotes and closing marks do not count."""
    folded = unicodedata.normalize("NFKC", question).casefold()
    return _APART.sub(" ", folded).strip()


def _constraint(record: Askable) -> str:
    constraint, unit = CONSTRAINTS[record.answer_type], _unit_to_tell(record)
    return f"{constraint.removesuffix('.')} in {unit}." if record.answer_type == "number" and unit else constraint


def _unit_to_tell(record: Askable) -> str | None:
    """Return the unit of measure, if there is one: not a currency, not what is counted, not what the question names."""
    unit = _ADJECTIVE.sub("", record.unit or "").strip()
    asked = record.question.casefold()
    if not unit or set(unit) & set(_CURRENCIES) or unit.casefold() in asked:
        return None
    counted = "how many" in asked and " per " not in unit
    return None if counted else unit


def _shows_choices(question: str, choices: tuple[str, ...]) -> bool:
    """Say whether all choices stand in `question`, in order, each behind its letter."""
    at = 0
    for index, choice in enumerate(choices):
        at = _end_of_choice(question, choice, _letter(index), at)
        if at < 0:
            return False
    return True


def _end_of_choice(question: str, choice: str, letter: str, start: int) -> int:
    """Return where `choice`, behind its letter, ends in `question`; -1 where it does not stand there."""
    found = question.find(choice, start)
    while found >= 0:
        mark = question[max(start, found - _MARK_CHARS) : found].rstrip()
        if mark.endswith((f"{letter})", f"{letter}.", f"{letter}:")) and not mark[: -len(letter) - 1][-1:].isalnum():
            return found + len(choice)
        found = question.find(choice, found + 1)
    return -1


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else str(index + 1)
