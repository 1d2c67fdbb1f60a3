"""What sources write around a question and its answer: answer styles, instructions to the model, lettered choices."""

import re
from functools import lru_cache
from itertools import takewhile

import msgspec

from mmat_dagster.schema import AnswerType

# An answer of more words than this is a sentence of its own.
PHRASE_WORDS = 8

_AMOUNT = re.compile(
    r"[-+]?(?:[$€£¥]|RM|USD)?\s?[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)\s?%?", re.IGNORECASE
)
_ADDRESS = (
    r"(?:please )?(?:answer|respond|reply|give|write|keep|make|be|offer|provide|ensure|your|short|quick|concise)\b"
)
_BREVITY = r"(?:brief|briefly|brevity|short|succinct|concise|concisely|terse|compact|snappy|quick response)"
_BRIEFLY = re.compile(rf"(?={_ADDRESS})(?=.*\b{_BREVITY}\b){_ADDRESS}[^?\n]*", re.IGNORECASE)
_IN_FORM = re.compile(
    r"(?:please )?(?:answer|respond|reply)\b[^?\n]*\b(?:letter|yes or no|single word|word or phrase)\b[^?\n]*",
    re.IGNORECASE,
)
_TO_ALL = re.compile(rf"(?=for each of|{_ADDRESS})(?=.*\b{_BREVITY}\b)(?:for each of|{_ADDRESS})[^?\n]*", re.IGNORECASE)
# Every instruction has one of these in it: most questions have none.
_TELLING = (
    *("brief", "brevity", "short", "succinct", "concise", "terse", "compact", "snappy", "quick response"),
    *("letter", "yes or no", "single word", "word or phrase"),
)
_SENTENCE_END = re.compile(r"(?<=[.?!:])\s+")
_CHOICE_LINE = re.compile(r"\s*\(?([A-Z])[.:)]\s*")
_CHOICE_MARK = re.compile(r"(?:^|(?<=\s))\(?([A-Z])[.:)]\s+")
_CHOICES_TITLE = re.compile(r"\s*(?:choices|options)\s*:?\s*", re.IGNORECASE)
_LETTER = re.compile(r"(?:(?:the )?(?:correct )?answer(?: is|:)\s*)?\(?([A-Z])\)?(?:[.:)]\s*(.*?))?", re.IGNORECASE)
_ABBREVIATION = re.compile(r"(?:\b[^\W\d_]\.){2,}$")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question, its choices and its answer as the foundation stage wants them."""

    question: str
    choices: tuple[str, ...] = ()
    answer: str
    answer_type: AnswerType


def guess_answer_type(answer: str) -> AnswerType:
    """Return how a gold answer without choices reads."""
    plain = answer.strip().rstrip(".")
    if len(plain) <= 3 and plain.casefold() in {"yes", "no"}:
        return "yes_no"
    if not plain[-1:].isalpha() and _AMOUNT.fullmatch(plain):
        return "number"
    return "free_text" if len(plain.split()) > PHRASE_WORDS else "word_or_phrase"


def strip_instructions(text: str) -> str:
    """Return `text` without the sentences before and after the question that say how to answer."""
    text = text.strip()
    lowered = text.lower()
    for telling in _TELLING:
        if telling in lowered:
            return _strip_around(text)
    return text


def split_choices(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the question and its lettered choices without their letters; none where `text` shows none."""
    text = text.strip()
    # Choices are two at least.
    if "B." not in text and "B)" not in text and "B:" not in text:
        return text, ()
    lines = text.split("\n")
    last = _CHOICE_LINE.match(lines[-1])
    start = len(lines) - _place(last) if last else 0
    if last and _place(last) > 1 and start > 0:
        marks = [_CHOICE_LINE.match(line) for line in lines[start:]]
        if all(mark and _place(mark) == place for place, mark in enumerate(marks, start=1)):
            return _without_title(lines[:start]), tuple(mark.string[mark.end() :].rstrip() for mark in marks if mark)
    return _split_inline(text)


def read_letter(answer: str, choices: tuple[str, ...]) -> str | None:
    """Return the letter of an answer such as `B`, `(B)`, `Answer: B` or, with choice B's own text behind it, `B. 7`."""
    if len(answer) == 1 and "A" <= answer <= "Z":
        return answer
    match = _LETTER.fullmatch(answer.strip())
    if match is None:
        return None
    letter, text = match[1].upper(), (match[2] or "").strip(" .")
    index = ord(letter) - ord("A")
    if text and (index >= len(choices) or text.casefold() != choices[index].strip(" .").casefold()):
        return None
    return letter


def strip_full_stop(answer: str) -> str:
    """Return a short answer without the full stop that closes it as a sentence; `U.S.` keeps its own."""
    plain = answer.strip()
    if len(plain.split()) > PHRASE_WORDS or not plain.endswith(".") or _ABBREVIATION.search(plain):
        return plain
    return plain[:-1].rstrip() or plain


def _place(mark: re.Match[str]) -> int:
    return ord(mark[1]) - ord("A") + 1


def _strip_around(text: str) -> str:
    first, _, below = text.partition("\n")
    if below.strip() and _TO_ALL.fullmatch(first.strip()):
        text = below.strip()
    return _strip_last(text)


def _strip_last(text: str) -> str:
    above, _, last = text.rpartition("\n")
    sentences = _SENTENCE_END.split(last.strip())
    if _is_instruction(last.strip()):
        return above.rstrip() or text
    if len(sentences) > 1 and _is_instruction(sentences[-1]):
        return text[: text.rindex(sentences[-1])].rstrip()
    return text


# The same few instructions follow many questions.
@lru_cache(maxsize=256)
def _is_instruction(sentence: str) -> bool:
    return bool(_BRIEFLY.fullmatch(sentence) or _IN_FORM.fullmatch(sentence))


def _split_inline(text: str) -> tuple[str, tuple[str, ...]]:
    """Take `... A. x B. y C. z` apart: the last mark A that a mark B follows, and the marks in order after it."""
    marks = list(_CHOICE_MARK.finditer(text))
    for start in range(len(marks) - 2, -1, -1):
        later = marks[start:]
        if [mark[1] for mark in later[:2]] == ["A", "B"]:
            chosen = [mark for _, mark in takewhile(lambda pair: pair[0] == pair[1][1], _lettered(later))]
            ends = [mark.start() for mark in chosen[1:]] + [len(text)]
            question = _without_title(text[: chosen[0].start()].rstrip().split("\n"))
            if question:
                return question, tuple(text[mark.end() : end].strip() for mark, end in zip(chosen, ends, strict=True))
    return text, ()


def _lettered(marks: list[re.Match[str]]) -> list[tuple[str, re.Match[str]]]:
    return [(chr(ord("A") + index), mark) for index, mark in enumerate(marks)]


def _without_title(lines: list[str]) -> str:
    if lines and _CHOICES_TITLE.fullmatch(lines[-1]):
        return "\n".join(lines[:-1]).rstrip()
    return re.sub(r"\s*\b(?:choices|options):\s*$", "", "\n".join(lines), flags=re.IGNORECASE).rstrip()
