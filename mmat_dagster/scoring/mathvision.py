r"""MATH-Vision: problems of mathematical competitions, with their figures.

    data/test.jsonl   {"id": "2", "question": "Which bike is most expensive?\n<image1>", "options": ["A", "B", ..],
                       "answer": "A", "solution": null, "level": 2, "subject": "arithmetic", "image": "images/2.jpg"}
    outputs/*.jsonl   {"id": "2", "model": .., "response": "(A)", "model_answer": "a", "correct": true}

An answer is right where it is the gold letter or the option behind it, as a text or by its value to two decimals.
That is the publisher's code. The verdicts that came with it differ in one thing, whatever the cause: an answer that is
left with a stroke, as "The answer is 4/3." is, has no value and is not \frac{4}{3}. `mathvision-2024` is the rule that
they follow.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from mmat_dagster.decontamination.rows import Row, read_rows
from mmat_dagster.scoring.benchmark import Benchmark, Item, Output, ScoringError, Unreadable, Verdict
from mmat_dagster.scoring.latex_numbers import Number, read_number
from mmat_dagster.scoring.record_fields import RecordError, as_text, field, needed
from mmat_dagster.scoring.tsv_items import LETTERS, Files, choices_of, read_items, read_outputs, without_marks
from mmat_dagster.sources.wording import guess_answer_type

_ANSWER_IS = ("the final answer is", "the answer is", "the correct answer is", "the answer should be")
_BOX = "oxed{"
# What is dropped or rewritten in an answer, in this order; spaces are gone before.
_NOTATION = (
    *((r"\,", ""), ("∞", r"\infty"), (r"+\infty", r"\infty"), (r"\\", "\\"), ("\n", "")),
    *((r"\text", ""), (r"\mbox", ""), ("bmatrix", "pmatrix"), (r"\left", ""), (r"\right", "")),
    *((r"^{\circ}", ""), (r"^\circ", ""), ("{m}^3", ""), ("m^3", ""), ("{units}", ""), ("units", "")),
    *(("{km}", ""), ("km", "")),
)
_TIDYING = (
    *(("\n", ""), (r"\!", ""), (r"\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), (r"\left", ""), (r"\right", "")),
    *((r"^{\circ}", ""), (r"^\circ", ""), (r"\$", ""), ("$", "")),
)
_LETTERS = tuple((mark.format(letter), letter) for mark in ("({})", "{{{}}}") for letter in "abcde")
CODE, VERDICTS = "mathvision", "mathvision-2024"

_STROKE = re.compile(r"(0|-?[1-9]\d*)/(0|-?[1-9]\d*)", re.ASCII)
# Of a pair, these are compared as they are.
_UNVALUED = frozenset({"a", "-a"})


class MathVision(Benchmark):
    """MATH-Vision's test, or its testmini where that alone is there."""

    name = "mathvision"
    title = "MATH-Vision (test)"
    source = (
        "Get data/test.jsonl or data/testmini.jsonl and images/ from github.com/mathllm/MATH-V, the hub's "
        "MathLLMs/MathVision, or VLMEvalKit's MathVision.tsv or MathVision_MINI.tsv."
    )
    rules = (CODE, VERDICTS)
    files = Files(
        patterns=(
            *("data/test.jsonl", "test.jsonl", "data/testmini*.jsonl", "testmini*.jsonl", "test-*.parquet"),
            *("testmini-*.parquet", "MathVision.tsv", "MathVision_MINI.tsv", "*MathVision*.tsv"),
        ),
        title=title,
        source=source,
    )

    def has_table(self, name: str) -> bool:
        """Say whether VLMEvalKit's table of it is called `name`."""
        return self.files.has_table(name)

    def items(self, folder: Path) -> Iterator[Item | Unreadable]:
        """Yield the problems of the test; a file of testmini may stand in the place of the folder."""
        return read_items(self.files, folder, _item)

    def outputs(self, path: Path, gold: Path | None) -> Iterator[Output | Unreadable]:
        """Yield the records of an output file; gold answers come from test.jsonl, given or near the file."""
        if not path.is_file():
            raise ScoringError(f"{path} is no file of outputs of {self.title}")
        rows = list(read_rows(path))
        if not any(isinstance(row, Row) and "id" in row.fields for row in rows):
            raise ScoringError(f"{path} is no file of outputs of {self.title}: no record has an id")
        known = {item.id: item for item in self._gold(path, gold) if isinstance(item, Item)}
        return read_outputs(rows, partial(_output, known=known))

    def judge(self, item: Item, response: str, extraction: str | None = None, rule: str | None = None) -> Verdict:
        """Judge an answer by its text and its value, beside the gold answer and the option that it names."""
        answer = take_out(response) if extraction is None else extraction
        golds = [accepted for gold in item.gold for accepted in (gold, _option(item, gold))]
        is_text = rule == VERDICTS and _STROKE.fullmatch(answer) is not None
        are_same = _are_same_text if is_text else are_equal
        return Verdict(parsed=answer or None, score=float(any(are_same(gold, answer) for gold in golds)))

    def find_rule(self, outputs: Sequence[Output]) -> str:
        """Return the version that made a published file: the code, where its verdicts speak for it."""
        known = [output for output in outputs if output.verdict is not None]
        agreed = {rule: sum(self._agrees(output, rule) for output in known) for rule in self.rules}
        return CODE if agreed[CODE] > agreed[VERDICTS] else VERDICTS

    def _agrees(self, output: Output, rule: str) -> bool:
        return output.verdict == (self.judge(output.item, output.response, output.extraction, rule).score == 1.0)

    def _gold(self, outputs: Path, gold: Path | None) -> Iterator[Item | Unreadable]:
        found = self.files.find_gold(outputs, gold)
        return chain.from_iterable(read_items(self.files, file, _item, with_images=False) for file in found)


def are_equal(gold: str, answer: str) -> bool:
    """Say whether two answers are the same: their text, that of the pairs that they are, or their value."""
    gold, answer = gold.lower(), answer.lower()
    if not gold.strip(" ") or not answer.strip(" "):
        return False
    if _are_same_text(gold, answer) or _valued(gold) == _valued(answer):
        return True
    one = _rounded(read_number(gold))
    return one is not None and one == _rounded(read_number(answer))


def _are_same_text(gold: str, answer: str) -> bool:
    return gold.lower().strip() == answer.lower().strip()


def take_out(response: str) -> str:
    """Return the answer in a response, in the notation in which it is compared."""
    answer = response.strip()
    for letter in "ABCDE":
        answer = letter if _is_letter(answer, letter) else answer
    last = answer.rpartition("is ")[2].rstrip(".")
    answer = _stated(last if _is_float(last) else answer)
    return _replaced(_normal(answer), _LETTERS).rstrip(".").lstrip(":").strip()


def _is_letter(answer: str, letter: str) -> bool:
    ends = (f" {letter}.", f" ({letter}).")
    return answer.endswith(ends) or answer.startswith((f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n"))


def _stated(answer: str) -> str:
    """Return what the answer is said to be: the last box, or what follows the last words for it."""
    if _BOX in answer:
        return "\\" + "b" + _BOX + answer.rpartition(_BOX)[2] if answer.count(_BOX) > 1 else answer
    for words in _ANSWER_IS:
        for flag in (words, words.replace("the", "The")):
            if flag in answer:
                answer = answer.rpartition(flag)[2].strip().partition("\n")[0].partition(". ")[0]
            answer = answer.strip()
    return answer


def _normal(answer: str) -> str:
    boxed = _unboxed(answer.lower().replace("{}", ""))
    closing, opening = boxed.find("}"), boxed.find("{")
    if closing != -1 and (opening == -1 or closing < opening):
        boxed = boxed[:closing]
    last = boxed.rpartition("=")[2].rpartition(r"\approx")[2]
    return _tidy(_replaced(last.replace(" ", ""), _NOTATION))


def _unboxed(answer: str) -> str:
    """Return what stands in the first box and all behind it, up to the last brace."""
    start, end = answer.find(_BOX) + len(_BOX), answer.rfind("}")
    return answer[start:end] if _BOX in answer and start <= end else answer


def _tidy(answer: str) -> str:
    answer = _replaced(answer, _TIDYING).partition(r"\text{ ")[0]
    answer = answer.replace(r"\%", "").replace("{.", "{0.")
    answer = "0" + answer if answer.startswith(".") else answer
    for sign in ("=", r"\approx"):
        answer = answer.partition(sign)[2] if answer.count(sign) == 1 else answer
    if "sqrt" in answer:
        answer = _braced_fractions(_braced_roots(answer))
    return _fraction(answer)


def _braced_roots(answer: str) -> str:
    first, *others = answer.split(r"\sqrt")
    braced = (rest if rest[:1] in {"{", ""} else "{" + rest[0] + "}" + rest[1:] for rest in others)
    return first + "".join(r"\sqrt" + rest for rest in braced)


def _braced_fractions(answer: str) -> str:
    first, *others = answer.split(r"\frac")
    if any(len(rest) < 2 and not rest.startswith("{") for rest in others):
        return answer
    return first + "".join(r"\frac" + _braced_fraction(rest) for rest in others)


def _braced_fraction(rest: str) -> str:
    if rest.startswith("{"):
        return rest
    below = rest[1] if rest[1] == "{" else "{" + rest[1] + "}"
    return "{" + rest[0] + "}" + below + rest[2:]


def _fraction(answer: str) -> str:
    if answer == "0.5":
        return r"\frac{1}{2}"
    stroke = _STROKE.fullmatch(answer)
    return rf"\frac{{{stroke[1]}}}{{{stroke[2]}}}" if stroke else answer


def _valued(answer: str) -> str:
    """Return a pair or list in brackets with the values of its members; any other answer as it is."""
    members = answer[1:-1].split(",")
    if len(members) < 2 or (answer[0], answer[-1]) not in {("(", ")"), ("[", "]")}:
        return answer
    values = [_member(member) for member in members]
    return answer if None in values else answer[0] + ",".join(map(str, values)) + answer[-1]


def _member(member: str) -> str | None:
    if "infty" in member or member in _UNVALUED:
        return member
    value = _rounded(read_number(member))
    return None if value is None else str(value)


def _rounded(value: Number | None) -> Number | None:
    return None if value is None else round(value, 2)


def _is_float(answer: str) -> bool:
    try:
        float(answer)
    except ValueError:
        return False
    return True


def _replaced(answer: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        answer = answer.replace(old, new)
    return answer


def _option(item: Item, gold: str) -> str:
    place = LETTERS.find(gold) if len(gold) == 1 else -1
    return item.choices[place] if 0 <= place < len(item.choices) else ""


def _item(row: Row) -> Item:
    choices, answer = choices_of(row), field(row, "answer")
    subject, level = field(row, "subject", "category"), field(row, "level").removesuffix(".0")
    return Item(
        id=field(row, "id", "index") or row.name,
        question=without_marks(needed(row, "question")),
        gold=(answer,) if answer else (),
        answer_type="option_letter" if choices else guess_answer_type(answer),
        choices=choices,
        groups=_groups(subject, level),
    )


def _groups(subject: str, level: str) -> dict[str, tuple[str, ...]]:
    """Return the categories of the publisher's result files, without the minus sign before those of a level."""
    groups: dict[str, tuple[str, ...]] = {"level": (f"level{level}",) if level else ()}
    groups["subject"] = (subject,) if subject else ()
    if level and subject:
        groups["subject by level"] = (f"{subject}_level{level}", f"level{level}_{subject}")
    return {grouping: names for grouping, names in groups.items() if names}


def _output(row: Row, known: dict[str, Item]) -> Output:
    item = known.get(needed(row, "id"))
    if item is None or not item.gold:
        raise RecordError(f"there is no gold answer for {field(row, 'id')!r}")
    answer, correct = row.fields.get("model_answer"), row.fields.get("correct")
    if answer is None and row.fields.get("response") is None:
        raise RecordError("the record has no response and no model_answer")
    return Output(
        item=item,
        response=as_text(row.fields.get("response")),
        extraction=None if answer is None else as_text(answer),
        verdict=correct if isinstance(correct, bool) else None,
    )
