"""MathVista: questions to figures, charts, diagrams and photos that want mathematics.

    data/testmini.json   {"1": {"question": .., "image": "images/1.jpg", "choices": null, "unit": null, "precision": 1,
                          "answer": "1.2", "question_type": "free_form", "answer_type": "float", "metadata": {..}}}
    output_bard.json     the same, and query, response, extraction, prediction and true_false

The extraction becomes a prediction, which must be the gold answer's own text: the choice that it means by its letter or
is nearest to, a whole number, or a number rounded to the precision asked for. Two versions of that rule were published:
today's reads "3.4" for a whole number as 3, `mathvista-2023` as none.

Where nothing is extracted yet the publisher asks GPT-4 to do it, unless a response is an answer already. Here, what
follows the last "answer is" stands for that, and the last number in it.
"""

import math
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from mmat_dagster.decontamination.rows import Broken, Row, read_rows
from mmat_dagster.schema import AnswerType
from mmat_dagster.scoring.benchmark import Benchmark, Item, Output, ScoringError, Unreadable, Verdict
from mmat_dagster.scoring.edit_distance import nearest
from mmat_dagster.scoring.record_fields import RecordError, as_text, field, needed
from mmat_dagster.scoring.tsv_items import LETTERS, Files, as_list, choices_of, read_items, read_outputs

TODAY, FIRST = "mathvista", "mathvista-2023"

GROUPINGS = ("question_type", "answer_type", "language", "source", "category", "task", "context", "grade", "skills")
_ANSWER_TYPES: dict[str, AnswerType] = {"integer": "number", "float": "number", "text": "option_text"}

_LETTER = re.compile(r"\(([a-zA-Z])\)")
_QUOTE, _END_QUOTE = 'The answer is "', '".'
_STATED = re.compile(r"answer(?: is|:)\s*", re.IGNORECASE)
_NUMBER = re.compile(r"-?(?<![\d.])\d[\d,]*(?:\.\d+)?|-?(?<!\d)\.\d+", re.ASCII)
# VLMEvalKit's table asks with the publisher's prompt around the question.
_PROMPT = re.compile(r"\A(?:Hint: .*\n)?Question: (.*?)(?:\nChoices:\n.*)?\Z", re.DOTALL)


class MathVista(Benchmark):
    """MathVista's testmini: 1,000 questions from 31 sources."""

    name = "mathvista"
    title = "MathVista (testmini)"
    source = (
        "Get data/testmini.json from github.com/lupantech/MathVista and its images from the hub's AI4Math/MathVista, "
        "or VLMEvalKit's MathVista_MINI.tsv."
    )
    rules = (TODAY, FIRST)
    files = Files(
        patterns=("data/testmini.json", "testmini.json", "testmini-*.parquet", "MathVista_MINI.tsv", "*MathVista*.tsv"),
        title=title,
        source=source,
    )

    def has_table(self, name: str) -> bool:
        """Say whether VLMEvalKit's table of it is called `name`."""
        return self.files.has_table(name)

    def items(self, folder: Path) -> Iterator[Item | Unreadable]:
        """Yield the questions of testmini."""
        return read_items(self.files, folder, _item)

    def outputs(self, path: Path, gold: Path | None) -> Iterator[Output | Unreadable]:
        """Yield the records of an output file, by the gold's where they leave answer or categories out."""
        rows = list(read_rows(_output_file(path)))
        if not any(isinstance(row, Row) and row.fields.keys() & {"response", "extraction"} for row in rows):
            raise ScoringError(f"{path} is no output file of {self.title}: no record has a response or an extraction")
        known = {} if all(map(_is_whole, rows)) else self._known(path, gold)
        return read_outputs(rows, partial(_output, known=known))

    def judge(self, item: Item, response: str, extraction: str | None = None, rule: str | None = None) -> Verdict:
        """Judge an answer: the prediction made of it must be the gold answer, letter by letter."""
        taken = take_out(item, response) if extraction is None else extraction
        predicted = predict(item, taken, rule or self.rules[0])
        return Verdict(parsed=predicted, score=float(predicted is not None and predicted in item.gold))

    def find_rule(self, outputs: Sequence[Output]) -> str:
        """Return the version that made a published file: the first, where its verdicts do not speak for today's."""
        known = [output for output in outputs if output.verdict is not None]
        agreed = {rule: sum(self._agrees(output, rule) for output in known) for rule in self.rules}
        return TODAY if agreed[TODAY] > agreed[FIRST] else FIRST

    def _agrees(self, output: Output, rule: str) -> bool:
        return output.verdict == (self.judge(output.item, output.response, output.extraction, rule).score == 1.0)

    def _known(self, outputs: Path, gold: Path | None) -> dict[str, Row]:
        rows = chain.from_iterable(map(read_rows, self.files.find_gold(outputs, gold)))
        return {field(row, "pid") or row.name: row for row in rows if isinstance(row, Row)}


def predict(item: Item, extraction: str, rule: str) -> str | None:
    """Return the prediction that the publisher makes of an extraction; None where it makes none."""
    if item.facts.get("question_type") == "multi_choice":
        return _choose(extraction.strip(), item.choices) if item.choices else None
    answer_type = item.facts.get("answer_type")
    if answer_type not in {"integer", "float"}:
        return extraction
    try:
        if answer_type == "integer":
            return str(int(extraction) if rule == FIRST else int(float(extraction)))
        return str(round(float(extraction), int(item.facts["precision"])))
    except (ValueError, OverflowError, KeyError):
        return None


def take_out(item: Item, response: str) -> str:
    """Return the answer in a response: as the publisher does without GPT-4, else what it says last that it is."""
    plain = response.strip()
    if response in item.choices or not plain or _is_number(item, plain):
        return plain
    if (quoted := _quoted(response)) is not None:
        return quoted
    *_, stated = _STATED.split(plain)
    numbers = _NUMBER.findall(stated) or _NUMBER.findall(plain)
    if item.answer_type == "number" and numbers:
        return str(numbers[-1]).replace(",", "")
    return _bare(stated)


def _choose(extraction: str, choices: Sequence[str]) -> str:
    letters = _LETTER.findall(extraction)
    meant = letters[0].upper() if letters else extraction
    place = LETTERS.find(meant) if len(meant) == 1 else -1
    return choices[place] if 0 <= place < len(choices) else nearest(meant, choices)


def _quoted(response: str) -> str | None:
    """Return what stands in the first line with `The answer is "..".` between its first and its last quote."""
    for line in response.split("\n"):
        start, end = line.find(_QUOTE), line.rfind(_END_QUOTE)
        if start >= 0 and start + len(_QUOTE) <= end:
            return line[start + len(_QUOTE) : end]
    return None


def _is_number(item: Item, plain: str) -> bool:
    try:
        return item.answer_type == "number" and bool(str(float(plain)))
    except ValueError:
        return False


def _bare(stated: str) -> str:
    """Return an answer without the sentences behind it, its full stop, quotes and bold print."""
    first = stated.partition("\n")[0].partition(". ")[0].strip()
    return first.rstrip(".").strip("*\"'` ") or first


def _item(row: Row) -> Item:
    facts = {name: field(row, name) for name in ("question_type", "answer_type", "precision")}
    choices, answer = choices_of(row), field(row, "answer")
    facts["question_type"] = facts["question_type"] or ("multi_choice" if choices else "free_form")
    facts["precision"] = _places(facts["precision"], answer)
    return Item(
        id=field(row, "pid", "index") or row.name,
        question=_bare_question(needed(row, "question", "query")),
        gold=_gold(row, choices, answer),
        answer_type=_ANSWER_TYPES.get(facts["answer_type"], "free_text") if not choices else "option_text",
        choices=choices,
        unit=field(row, "unit") or None,
        groups={grouping: names for grouping in GROUPINGS if (names := _names(row, grouping))},
        facts=facts,
    )


def _gold(row: Row, choices: Sequence[str], answer: str) -> tuple[str, ...]:
    """Return the gold answer; that of a choice is its text, also where a table tells its letter."""
    letter = field(row, "answer_option") or answer
    if choices and answer not in choices and len(letter) == 1 and LETTERS.find(letter) < len(choices):
        return (choices[LETTERS.index(letter)],) if letter in LETTERS else (answer,)
    return (answer,) if answer else ()


def _places(precision: str, answer: str) -> str:
    """Return the decimal places asked for: what the record says, else those of the answer."""
    return precision.removesuffix(".0") or str(len(answer.partition(".")[2]))


def _bare_question(question: str) -> str:
    prompt = _PROMPT.match(question.strip())
    return (prompt[1] if prompt else question).strip()


def _names(row: Row, grouping: str) -> tuple[str, ...]:
    metadata = row.fields.get("metadata")
    value = metadata.get(grouping) if isinstance(metadata, dict) else None
    value = row.fields.get(grouping) if value is None else value
    names = as_list(value) or ((as_text(value),) if as_text(value) else ())
    return tuple(dict.fromkeys(names))


def _output_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(path.glob("output*.json"))
    if len(found) != 1:
        raise ScoringError(f"{path} is no output file, nor a folder with one of the name output_*.json")
    return found[0]


def _is_whole(row: Row | Broken) -> bool:
    return isinstance(row, Broken) or {"answer", "metadata", "question_type"} <= row.fields.keys()


def _output(row: Row, known: dict[str, Row]) -> Output:
    gold = known.get(field(row, "pid") or row.name)
    item = _item(Row(fields={**gold.fields, **row.fields}, name=row.name, number=row.number) if gold else row)
    if not item.gold:
        raise RecordError("there is no gold answer for the record")
    if not row.fields.keys() & {"response", "extraction"}:
        raise RecordError("the record has no response and no extraction")
    extraction = _extraction(item, row) if "extraction" in row.fields else None
    return Output(
        item=item, response=as_text(row.fields.get("response")), extraction=extraction, verdict=_verdict(item, row)
    )


def _extraction(item: Item, row: Row) -> str:
    """Return the extraction as text; a number that JSON holds is cut off to a whole one, as both rules do with it."""
    value = row.fields["extraction"]
    is_cut = item.facts["answer_type"] == "integer" and isinstance(value, float) and math.isfinite(value)
    return str(math.trunc(value)) if is_cut and isinstance(value, float) else str(value)


def _verdict(item: Item, row: Row) -> bool | None:
    recorded = row.fields.get("true_false")
    if isinstance(recorded, bool):
        return recorded
    return row.fields["prediction"] in item.gold if "prediction" in row.fields else None
