"""BLINK: 14 tasks that people solve within a blink, options as letters in brackets.

    eval/val_answers.json              {"val_Art_Style_1": "(A)", ..}
    saved_val_predictions/GPT4o.json   {"val_Art_Style_1": "(B)", ..}
    saved_outputs/GPT4o/Counting.json  {"val": [{"idx": "val_Counting_1", "answer": "(A)", "full_prediction": "..",
                                        "prediction": "(A)"}, ..], "test": [.. "answer": "hidden" ..]}
    <task>/val-*.parquet               idx  sub_task  question  prompt  choices  answer  image_1 .. image_4
    */request.json                     {"query": "<img src='..'> Is ..?\\n(A) yes\\n(B) no", "images": [..],
                                        "answer": "(A)"}

The score is the mean of the tasks' accuracies. An answer that was taken out must be the gold one, letter by letter; out
of a response the publisher takes the option in brackets, that of the last paragraph first, and asks GPT-3.5 where there
is none or are several. What GPT-3.5 decided, VLMEvalKit's option inference decides here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import ClassVar

from mmat_dagster.decontamination.rows import Row
from mmat_dagster.scoring import option_letters
from mmat_dagster.scoring.benchmark import (
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
from mmat_dagster.scoring.option_letters import LETTERS
from mmat_dagster.scoring.record_fields import RecordError, as_text, field
from mmat_dagster.scoring.vlmevalkit import ChoiceBenchmark, choice_item, download
from mmat_dagster.sources import json_files

OFFICIAL = "blink"
GOLD = "val_answers.json"
# The most options that a question has.
MOST = 5
# Choices of which the letters are known only.
UNKNOWN = ("",) * MOST

_ID = re.compile(r"(val|test)_(.+)_\d+")
_IMAGE = re.compile(r"<img\s[^<>]*>\s*")
_SELECT = re.compile(r"Select from the following (?:choices|options)\.?\s*$")


class Blink(ChoiceBenchmark):
    """BLINK's validation set; the gold answers of its test set are hidden, its items and outputs left out."""

    name = "blink"
    title = "BLINK (val)"
    source = (
        f"{download('BLINK', 'the folders of BLINK-Benchmark/BLINK on the hub, <task>/val-*.parquet')} "
        f"The gold answers of published predictions are eval/{GOLD} of github.com/zeyofu/BLINK_Benchmark."
    )
    rules: ClassVar[tuple[str, ...]] = (OFFICIAL, *option_letters.RULES)
    patterns = ("*/val-*.parquet", "*/*blink.tsv", "*/*blink*.tsv", "*/request.json", "*/*.parquet")
    responses = ("full_prediction", *ChoiceBenchmark.responses)

    def item_of(self, row: Row) -> Item | None:
        """Return the item of a record of questions, or of an output that brings its gold along."""
        given = _id(row)
        told = _ID.fullmatch(given)
        answer = field(row, "answer")
        if (told is not None and told[1] == "test") or answer == "hidden":
            return None
        task = told[2] if told else field(row, "sub_task", "task", "category")
        if not field(row, "question", "query"):
            return _bare(given, task, answer)
        return _item(given, task, row)

    def outputs(self, path: Path, gold: Path | None) -> Iterator[Output | Unreadable]:
        """Yield what a model said, from a file of final predictions, or a file or folder of outputs by task."""
        if path.is_file() and path.suffix.lower() == ".json" and _is_final(path):
            return _final(path, _read_gold(path, gold), self.source)
        return super().outputs(path, gold)

    def extraction_of(self, row: Row) -> str | None:
        """Return the publisher's own extraction, empty where it failed; or what VLMEvalKit's log says."""
        if "full_prediction" in row.fields and "prediction" in row.fields:
            return as_text(row.fields["prediction"])
        return super().extraction_of(row)

    def judge(self, item: Item, response: str, extraction: str | None = None, rule: str | None = None) -> Verdict:
        """Judge by the option in brackets, or by the option that the response means."""
        if (rule or OFFICIAL) != OFFICIAL:
            gold = tuple(answer.strip("()") for answer in item.gold)
            asked = replace(item, gold=gold, choices=item.choices or UNKNOWN)
            return super().judge(asked, response, extraction, rule)
        said = take_option(response, item.choices) if extraction is None else extraction
        return Verdict(parsed=said or None, score=float(said in item.gold))

    def combine(self, judged: Sequence[Judged]) -> Scores:
        """Return the mean over the tasks, each counting the same; VLMEvalKit's is over the questions."""
        tasks = by_category(judged)
        overall = sum(tasks.values()) / len(tasks) if tasks else 0.0
        metrics = {self.metric: overall, "accuracy per question": percent(each.verdict.score for each in judged)}
        return Scores(overall=overall, n=len(judged), by_category=tasks, metrics=metrics)


def take_option(response: str, choices: Sequence[str] = ()) -> str | None:
    """Return the option that a response means, in brackets; None where it shows none."""
    letters = LETTERS[: len(choices) or MOST]
    if len(response) == 1 and response in LETTERS[:MOST]:
        return f"({response})"
    options = [f"({letter})" for letter in letters]
    for text in (response.rsplit("\n\n", maxsplit=1)[-1], response):
        words = set(text.split())
        found = [option for option in options if option in words]
        if len(found) == 1:
            return found[0]
    letter = option_letters.infer_letter(response.removeprefix("<s> "), choices or UNKNOWN)
    return f"({letter})" if letter and letter != option_letters.REFUSED else None


def _id(row: Row) -> str:
    """Return what the item is called; VisualSketchpad calls its folder so."""
    return field(row, "idx", "index", "id") or row.name.split("/")[0]


def _bare(given: str, task: str, answer: str) -> Item:
    if not task:
        raise RecordError(f"the record has no question, and {given[:80]!r} names no task")
    gold = (answer,) if answer else ()
    return Item(id=given, question="", gold=gold, answer_type="option_letter", groups={"task": (task,)})


def _item(given: str, task: str, row: Row) -> Item:
    question = _IMAGE.sub("", field(row, "question", "query")).strip()
    asked = Row(fields={**row.fields, "question": question}, name=row.name, number=row.number)
    item = choice_item(asked, {"task": task})
    gold = tuple(f"({letter})" for letter in item.gold)
    return Item(
        id=given,
        question=_SELECT.sub("", item.question).rstrip(),
        gold=gold,
        answer_type=item.answer_type,
        choices=item.choices,
        groups=item.groups,
    )


def _is_final(path: Path) -> bool:
    """Say whether a file's first entry is a prediction under its item's name."""
    first = next(iter(json_files.read_entries(path, object)), None)
    return first is not None and _ID.fullmatch(first[1]) is not None and not isinstance(first[2], dict)


def _final(path: Path, gold: Mapping[str, str], source: str) -> Iterator[Output | Unreadable]:
    """Yield an output for each gold answer: what a file leaves out is wrong, as the script has it."""
    if not gold:
        raise ScoringError(f"{path} tells no gold answers, and {GOLD} is not beside it. {source}")
    said: dict[str, str] = {}
    broken: list[Unreadable] = []
    for number, key, value in json_files.read_entries(path, object):
        if isinstance(value, json_files.Broken):
            broken.append(Unreadable(where=value.where, problem=value.complaint))
        elif key in gold:
            said[key] = as_text(value)
        elif not key.startswith("test_"):
            broken.append(Unreadable(where=f"{path.name}:{number}", problem=f"the gold has no {key[:80]!r}"))
    return chain(broken, (_output(name, answer, said.get(name, "")) for name, answer in gold.items()))


def _output(name: str, answer: str, said: str) -> Output:
    told = _ID.fullmatch(name)
    return Output(item=_bare(name, told[2] if told else "", answer), response=said, extraction=said)


def _read_gold(outputs: Path, gold: Path | None) -> dict[str, str]:
    """Return the gold answers: those that are given, or the nearest above the outputs."""
    if gold is not None and not gold.exists():
        raise ScoringError(f"no file or folder {gold} with the gold answers")
    above = outputs.absolute().parents[:3]
    given = [gold / GOLD, gold / "eval" / GOLD] if gold is not None and gold.is_dir() else [gold] if gold else []
    tried = given or [folder / name for folder in above for name in (GOLD, f"eval/{GOLD}")]
    file = next((file for file in tried if file.is_file()), None)
    entries = json_files.read_entries(file, object) if file else ()
    return {key: value for _, key, value in entries if isinstance(value, str) and value != "hidden"}
