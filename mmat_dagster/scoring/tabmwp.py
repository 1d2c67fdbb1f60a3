r"""TabMWP: mathematical word problems to tables.

    problems_test.json   {"82": {"question": .., "choices": null, "answer": "3", "unit": "minutes per day",
                          "ques_type": "free_text", "ans_type": "integer_number", "grade": 8, "split": "test", ..}}
    tables/82.png        the table of problem 82
    results/*.json       {"acc": 63.5.., "results": {"82": {"answer": "3", "output": "... The answer is 3.",
                          "prediction": "3", "prediction_norm": "3", "true_false": true}}}

A prediction is taken out of the output by patterns, a choice by its letter or the words that it shares with the output;
prediction and gold are then compared as numbers to three places, or as texts without the unit. Prompted models and
fine-tuned ones are judged by patterns of their own: `tabmwp`, `tabmwp-finetuned`.

Published outputs bring the answers along, not choices and units: without the problems, the choice that a letter stands
for is the recorded prediction, and a unit is what the recorded normal form lacks. Where the publisher draws a choice by
lot, for a letter that none has, the recorded prediction tells what was drawn.
"""

import random
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from mmat_dagster.decontamination.rows import Broken, Row, read_rows
from mmat_dagster.schema import AnswerType
from mmat_dagster.scoring.benchmark import (
    Benchmark,
    Item,
    Judged,
    Output,
    Scores,
    ScoringError,
    Unreadable,
    Verdict,
    by_category,
    percent,
)
from mmat_dagster.scoring.record_fields import RecordError, as_text, field, needed
from mmat_dagster.scoring.tsv_items import Files, choices_of, read_items, read_outputs

PROMPTED, FINETUNED = "tabmwp", "tabmwp-finetuned"
LETTERS = "ABCDEF"
SEED = 123
# No unit is longer; so much of a recorded prediction is searched for one.
UNIT_CHARS = 60

# The publisher's names of what it prints, by the names in the problems.
PRINTED = {
    "free_text": "acc_free",
    "multi_choice": "acc_mc",
    "integer_number": "acc_integer",
    "decimal_number": "acc_decimal",
    "extractive_text": "acc_extractive",
    "boolean_text": "acc_boolean",
    "other_text": "acc_other",
    "grade_1_6": "acc_grade_1_6",
    "grade_7_8": "acc_grade_7_8",
}
_ANSWER_TYPES: dict[str, AnswerType] = {"integer_number": "number", "decimal_number": "number"}

_FRACTION = re.compile(r"\$?\\frac\{([\d.,\-]+)\}\{([\d.,]+)\}\$?")
_FULL_STOP = re.compile(r"(?<![AP]\.M)\.$")
_EQUALS = re.compile(r"(?<=\d)=(?=[-$\d])")
_CHOSEN = (
    *(re.compile(r"^\(([A-Za-z])\)$"), re.compile(r"^([A-Za-z])$"), re.compile(r"^([A-Za-z]). ")),
    *(re.compile(r"[Th]he answer is ([A-Z])"), re.compile(r"^\(([A-Za-z])\) [\s\S]+$")),
    re.compile(r"[Th]he answer is \(([A-Za-z])\) [\s\S]+$"),
)
_TIME = re.compile(r" ([\d$.,/:]+ [AP]\.M\.)")
# Runs of what numbers are made of: a number is one up to its last digit, so that no run is read twice.
_RUN = re.compile(r"([-\d$.,/:]+)")
_STATED = (
    re.compile(r"[Th]he answer is ([\s\S]+)$"),
    re.compile(r"[Th]he table shows that ([\d$.,/:]+) "),
    re.compile(r" = ([\d$.,/:]+)"),
)
_SAID = tuple(re.compile(rf"(?<={words}) ([-\d$.,/:]+)") for words in (" be| is", " are| was", " were"))

_NUMBER = re.compile(r"[-+]?[\d,./]+$")
_WHOLE = re.compile(r"[-+]?\d+$")
_QUOTES = str.maketrans(dict.fromkeys("\"'"))
_BUGGY = re.compile(r"[{}^\\`\u2047<]")


class TabMWP(Benchmark):
    """TabMWP's test: 7,686 problems, or those of them that are there."""

    name = "tabmwp"
    decimals = 3
    title = "TabMWP (test)"
    source = (
        "Get data/tabmwp/problems_test.json (or problems_test1k.json) and tables/ from github.com/lupantech/PromptPG."
    )
    rules = (PROMPTED, FINETUNED)
    files = Files(patterns=("problems_test.json", "problems_test*.json", "*TabMWP*.tsv"), title=title, source=source)

    def has_table(self, name: str) -> bool:
        """Say whether VLMEvalKit's table of it is called `name`."""
        return self.files.has_table(name)

    def items(self, folder: Path) -> Iterator[Item | Unreadable]:
        """Yield the problems, each with the picture of its table."""
        return read_items(self.files, folder, _item)

    def outputs(self, path: Path, gold: Path | None) -> Iterator[Output | Unreadable]:
        """Yield the results of a file; problems that `gold` does not hold are judged by what the file tells of them."""
        if not path.is_file():
            raise ScoringError(f"{path} is no file of results of {self.title}")
        rows = list(_results(path))
        if not any(isinstance(row, Row) and "output" in row.fields for row in rows):
            raise ScoringError(f"{path} is no file of results of {self.title}: no record has an output")
        known = {} if gold is None else self._known(gold)
        return read_outputs(rows, partial(_output, known=known))

    def judge(self, item: Item, response: str, extraction: str | None = None, rule: str | None = None) -> Verdict:
        """Judge an answer: prediction and gold must have the same normal form, whatever the case."""
        prediction = _predict(item, response, rule or self.rules[0]) if extraction is None else extraction
        found = normal_form(prediction, item.unit).lower()
        is_gold = any(found == normal_form(gold, item.unit).lower() for gold in item.gold)
        return Verdict(parsed=prediction or None, score=float(is_gold))

    def find_rule(self, outputs: Sequence[Output]) -> str:
        """Return the rule that agrees with most verdicts of a file; the one for prompted models where both do."""
        known = [output for output in outputs if output.verdict is not None]
        agreed = {rule: sum(self._agrees(output, rule) for output in known) for rule in self.rules}
        return max(self.rules, key=lambda rule: agreed[rule])

    def combine(self, judged: Sequence[Judged]) -> Scores:
        """Return the accuracy, and those that the publisher prints, by their names."""
        overall = percent(each.verdict.score for each in judged)
        categories = by_category(judged)
        printed = {PRINTED[name]: score for name, score in categories.items() if name in PRINTED}
        metrics = {self.metric: overall, "acc_average": overall, **printed}
        return Scores(overall=overall, n=len(judged), by_category=categories, metrics=metrics)

    def _agrees(self, output: Output, rule: str) -> bool:
        return output.verdict == (self.judge(output.item, output.response, output.extraction, rule).score == 1.0)

    def _known(self, gold: Path) -> dict[str, Item]:
        found = read_items(self.files, gold, _item, with_images=False)
        return {item.id: item for item in found if isinstance(item, Item)}


def normal_form(answer: str, unit: str | None) -> str:
    """Return a number rounded to three places, without commas; any other text without the unit."""
    answer = re.sub(r"^\$", "", answer)
    answer = re.sub(r"[,./]$", "", answer)
    if _NUMBER.match(answer):
        return _number(answer.replace(",", ""))
    return answer.replace(unit, "").strip() if unit else answer


def extract(output: str, choices: Sequence[str]) -> str | None:
    """Return the prediction in the output of a prompted model; None where its letter is that of no choice."""
    output = _FRACTION.sub(r"\1/\2", output)
    output = _EQUALS.sub(" = ", _FULL_STOP.sub("", output)).replace("\u2212", "-")
    if not choices:
        return _extract_free(output)
    for pattern in _CHOSEN:
        letter = match[1].upper() if (match := pattern.search(output)) else ""
        if letter and letter in LETTERS:
            place = LETTERS.index(letter)
            return choices[place] if place < len(choices) else None
    return max(choices, key=lambda choice: _likeness(choice, output))


def extract_finetuned(output: str, choices: Sequence[str]) -> str:
    """Return the prediction in the output of a fine-tuned model, which is hardly more than the answer."""
    if choices:
        return max(choices, key=lambda choice: _tidy_likeness(choice, output))
    found = _TIME.findall(output) or _numbers(_RUN, output)
    return found[-1].strip() if found else output


def _predict(item: Item, response: str, rule: str) -> str:
    if rule == FINETUNED:
        return extract_finetuned(response, item.choices)
    prediction = extract(response, item.choices)
    # The publisher draws from one sequence for all problems; a seed for each keeps their order out of the scores.
    return random.Random(f"{SEED} {item.id}").choice(item.choices) if prediction is None else prediction


def _extract_free(output: str) -> str:
    found = next((found for found in _free_answers(output) if found), None)
    if found is None:
        return output
    last = found[-1].strip()
    return last[:-1] if last.endswith(".") and ".M." not in last else last


def _free_answers(output: str) -> Iterator[list[str]]:
    yield from (pattern.findall(output) for pattern in _STATED)
    yield from (_numbers(pattern, output) for pattern in _SAID)
    yield _TIME.findall(output)
    yield _numbers(_RUN, output)


def _numbers(pattern: re.Pattern[str], output: str) -> list[str]:
    """Return the runs that a pattern finds, each up to its last digit; those without one are none."""
    runs = (run.rstrip("-$.,/:") for run in pattern.findall(output))
    return [run for run in runs if run]


def _number(answer: str) -> str:
    try:
        if _WHOLE.match(answer):
            return str(int(answer))
        above, stroke, below = answer.partition("/")
        value = float(above) / float(below.partition("/")[0]) if stroke else float(answer)
        return re.sub(r"\.0+$", "", str(round(value, 3)))
    except (ValueError, ArithmeticError):
        return answer


def _likeness(choice: str, output: str) -> float:
    if choice == output:
        return 2.0
    if " " not in choice and " " not in output:
        return 0.0
    some, others = choice.split(" "), output.split(" ")
    return len(set(some) & set(others)) / max(len(some), len(others))


def _tidy_likeness(choice: str, output: str) -> float:
    if choice == output:
        return 3.0
    return _likeness(*(_BUGGY.sub(" ", each.translate(_QUOTES)) for each in (choice, output)))


def _results(path: Path) -> Iterator[Row | Broken]:
    """Yield the records of a file of results: those under `results`, and others that look like one."""
    for row in read_rows(path):
        if isinstance(row, Row) and row.name == "results":
            for number, (pid, record) in enumerate(row.fields.items(), start=1):
                yield _record(pid, record, number)
        elif isinstance(row, Broken) or row.fields.keys() & {"output", "answer", "prediction"}:
            yield row


def _record(pid: str, record: object, number: int) -> Row | Broken:
    if isinstance(record, dict):
        return Row(fields=record, name=pid, number=number)
    return Broken(where=pid, problem="the record is no object")


def _output(row: Row, known: dict[str, Item]) -> Output:
    if "output" not in row.fields:
        raise RecordError("the record has no output")
    response = as_text(row.fields["output"])
    item = known.get(field(row, "pid") or row.name) or _recorded_item(row)
    verdict = row.fields.get("true_false")
    return Output(
        item=item,
        response=response,
        extraction=_recorded(row, item, response),
        verdict=verdict if isinstance(verdict, bool) else None,
    )


def _recorded(row: Row, item: Item, response: str) -> str | None:
    """Return the recorded prediction where nothing else can tell what a letter stands for, or what was drawn."""
    if item.answer_type == "number" and not item.choices:
        return None
    if item.choices and extract(response, item.choices) is not None:
        return None
    prediction = row.fields.get("prediction")
    if not item.choices and not isinstance(prediction, str):
        raise RecordError("the record has no prediction, and its choices are not known: the problems are needed")
    return prediction if isinstance(prediction, str) else None


def _recorded_item(row: Row) -> Item:
    """Return what a result tells of its problem; answers that are no number are choices, as they are in TabMWP."""
    answer = needed(row, "answer")
    is_number = _NUMBER.match(re.sub(r"[,./]$", "", answer.removeprefix("$"))) is not None
    return Item(
        id=field(row, "pid") or row.name,
        question="",
        gold=(answer,),
        answer_type="number" if is_number else "option_text",
        unit=_recorded_unit(as_text(row.fields.get("prediction")), as_text(row.fields.get("prediction_norm"))),
    )


def _recorded_unit(prediction: str, normal: str) -> str | None:
    """Return the unit whose loss makes the recorded normal form of a prediction, if one does."""
    bare = normal_form(prediction, None)
    if not normal or bare == normal:
        return None
    start = next((at for at, (one, other) in enumerate(zip(bare, normal, strict=False)) if one != other), len(normal))
    units = (bare[start : start + length] for length in range(1, UNIT_CHARS))
    return next((unit for unit in units if normal_form(prediction, unit) == normal), None)


def _item(row: Row) -> Item | None:
    if field(row, "split") not in {"", "test", "test1k"}:
        return None
    choices, answer = choices_of(row), field(row, "answer")
    answer_type = _ANSWER_TYPES.get(field(row, "ans_type"), "word_or_phrase")
    return Item(
        id=field(row, "pid", "index") or row.name,
        question=needed(row, "question"),
        gold=(answer,) if answer else (),
        answer_type="option_text" if choices else answer_type,
        choices=choices,
        unit=field(row, "unit") or None,
        groups=_groups(row),
    )


def _groups(row: Row) -> dict[str, tuple[str, ...]]:
    grade = field(row, "grade")
    names = {
        "ques_type": field(row, "ques_type"),
        "ans_type": field(row, "ans_type"),
        "grade": ("grade_7_8" if grade in {"7", "8"} else "grade_1_6") if grade else "",
    }
    return {grouping: (name,) for grouping, name in names.items() if name}
