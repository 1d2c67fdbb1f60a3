"""MMMU: college exam questions of thirty subjects, with figures; most are multiple choice, some are open.

    answer_dict_val.json        {"validation_Accounting_1": {"question_type": "multiple-choice", "ground_truth": "B"}}
    <model>/Accounting/output.json   [{"id": .., "question_type": .., "answer": "B", "all_choices": ["A", ..],
                                  "index2ans": {"A": "$6", ..}, "response": "(B) $7"}]
    <model>/total_val_output.json    {"validation_Accounting_1": "D"}: answers that are parsed already
    questions, VLMEvalKit's table or the hub's Parquet files: id, question, options, image_1, .., answer, question_type

Where a response shows no letter and no option, the publisher draws one: `random.choice`, seeded with 42 once, so that a
draw depends on all before it. Published outputs are drawn for in the publisher's order, whatever theirs is here. For
other responses each question has a seed of its own, so that no score depends on an order.
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from mmat_dagster.decontamination.rows import Broken, Row, read_rows
from mmat_dagster.scoring.benchmark import Benchmark, Item, Output, ScoringError, Unreadable, Verdict
from mmat_dagster.scoring.record_fields import RecordError, as_text, field, needed
from mmat_dagster.scoring.tsv_items import LETTERS, Files, as_list, choices_of, read_items, without_marks
from mmat_dagster.sources import json_files
from mmat_dagster.sources.wording import guess_answer_type

SUBJECTS_OF = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        *("Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine"),
        *("Pharmacy", "Public_Health"),
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        *("Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics"),
        *("Energy_and_Power", "Materials", "Mechanical_Engineering"),
    ),
}
DOMAINS = {subject: domain for domain, subjects in SUBJECTS_OF.items() for subject in subjects}
SEED = 42

_ID = re.compile(r"(?:dev|validation|test)_(.+)_(\d+)")
_MARKS = ",.!?;:'"
# Fewer words than this are not looked through for the text of an option.
_WORDS = 6
_INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = frozenset({":", ",", ".", "!", "?", ";", "'"})
# The publisher's expressions; that a number begins where no digit stands before it spares them quadratic time.
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?(?<!\d)\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:(?<!\d)\d+\.\d+|\.\d+|(?<!\d)\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)


class MMMU(Benchmark):
    """MMMU's validation split: 900 questions, thirty of each subject."""

    name = "mmmu"
    decimals = 1
    title = "MMMU (val)"
    source = (
        "Get the validation split of the hub's MMMU/MMMU (validation-*.parquet of each subject), or VLMEvalKit's "
        "MMMU_DEV_VAL.tsv; gold answers alone are in answer_dict_val.json of github.com/MMMU-Benchmark/MMMU."
    )
    rules = ("mmmu",)
    files = Files(
        patterns=("validation-*.parquet", "MMMU_DEV_VAL.tsv", "*MMMU*.tsv", "*.parquet", "*.jsonl"),
        title=title,
        source=source,
    )
    gold_files = Files(patterns=("answer_dict_val.json", *files.patterns[:3]), title=title, source=source)

    def has_table(self, name: str) -> bool:
        """Say whether VLMEvalKit's table of it is called `name`."""
        return self.files.has_table(name)

    def items(self, folder: Path) -> Iterator[Item | Unreadable]:
        """Yield the questions of the validation split."""
        return read_items(self.files, folder, _item)

    def outputs(self, path: Path, gold: Path | None) -> Iterator[Output | Unreadable]:
        """Yield what a model said: a folder of subjects, the output.json of one, or a file of parsed answers."""
        files = sorted(path.glob("*/output.json")) if path.is_dir() else [path]
        alone = path / "total_val_output.json" if path.is_dir() else path
        found = [_output(row) for file in files for row in _records(file)]
        if not any(isinstance(output, Output) for output in found) and alone.is_file():
            found = list(self._parsed(alone, gold))
        if not any(isinstance(output, Output) for output in found):
            raise ScoringError(f"{path} holds no outputs of {self.title}: <subject>/output.json or answers by id")
        return iter(_drawn(found))

    def judge(self, item: Item, response: str, extraction: str | None = None, rule: str | None = None) -> Verdict:  # noqa: ARG002
        """Judge a letter, or whether an open answer states the gold one."""
        if item.facts.get("question_type") != "multiple-choice":
            said = parse_open(response if extraction is None else extraction)
            return Verdict(parsed=_told(said), score=float(_states(said, item.gold)))
        letter = parse_choice(response, item.choices) if extraction is None else extraction
        drawn = _draw(random.Random(f"{SEED} {item.id}"), item) if letter is None else letter
        return Verdict(parsed=letter, score=float(drawn in item.gold))

    def _parsed(self, file: Path, gold: Path | None) -> Iterator[Output | Unreadable]:
        known: dict[str, Item] | None = None
        for _, key, value in json_files.read_entries(file, object):
            if isinstance(value, json_files.Broken):
                yield Unreadable(where=value.where, problem=value.complaint)
            elif _ID.fullmatch(key):
                known = self._gold(file, gold) if known is None else known
                yield _parsed_output(key, as_text(value), known)

    def _gold(self, outputs: Path, gold: Path | None) -> dict[str, Item]:
        files = self.gold_files.find_gold(outputs, gold)
        found = chain.from_iterable(read_items(self.files, file, _gold_item, with_images=False) for file in files)
        return {item.id: item for item in found if isinstance(item, Item)}


def parse_choice(response: str, choices: Sequence[str]) -> str | None:
    """Return the letter of the option that a response means; None where it shows none.

    Of several it is the last, looked for in brackets first, then between spaces, then by the options' texts.
    """
    for mark in _MARKS:
        response = response.strip(mark)
    response = f" {response} "
    letters = {letter: letter for letter, _ in zip(LETTERS, choices, strict=False)}
    texts = {letter: choice.lower() for letter, choice in zip(LETTERS, choices, strict=False)}
    found = _last(response, letters, "({})") or _last(response, letters, " {} ")
    return found or (_last(response.lower(), texts, "{}") if len(response.split()) >= _WORDS else None)


def parse_open(response: str) -> list[str | float]:
    """Return all that an open response may mean: its key phrases, and the numbers in them."""
    phrases = _key_phrases(response)
    numbers = (number for phrase in phrases for found in _NUMBERS for number in found.findall(phrase))
    return list(dict.fromkeys(chain.from_iterable(map(_normal, [*phrases, *numbers]))))


def _last(response: str, wanted: dict[str, str], form: str) -> str | None:
    places = {letter: response.rfind(form.format(what)) for letter, what in wanted.items()}
    there = [letter for letter, place in places.items() if place >= 0]
    return max(there, key=lambda letter: places[letter]) if there else None


def _key_phrases(response: str) -> list[str]:
    *lines, last = response.strip().strip(".").lower().split("\n")
    found = [*(_key_phrase(line, _INDICATORS) for line in lines), _key_phrase(last, (*_INDICATORS, "="))]
    return [phrase for phrase in found if phrase and phrase not in _TRIVIAL] or [response]


def _key_phrase(line: str, indicators: Iterable[str]) -> str:
    """Return the shortest of what follows the last of each indicator; as there, nothing counts as longer than any."""
    shortest = ""
    for indicator in indicators:
        if indicator in line:
            rest = line.rpartition(indicator)[2].strip()
            shortest = rest if not shortest or len(rest) < len(shortest) else shortest
    return shortest


def _normal(phrase: str) -> tuple[str | float, ...]:
    """Return a number rounded to two places, or a text in small letters; one letter must have a space beside it."""
    phrase = phrase.strip()
    try:
        return (round(float(phrase.replace(",", "")), 2),)
    except ValueError:
        lowered = phrase.lower()
        return (f" {lowered}", f"{lowered} ") if len(lowered) == 1 else (lowered,)


def _states(said: Sequence[str | float], golds: Sequence[str]) -> bool:
    wanted = [one for gold in golds for one in _normal(gold)]
    texts = [one for one in wanted if isinstance(one, str)]
    return any(any(one in phrase for one in texts) if isinstance(phrase, str) else phrase in wanted for phrase in said)


def _told(said: Sequence[str | float]) -> str | None:
    return "; ".join(map(str, said)) or None


def _draw(dice: random.Random, item: Item) -> str:
    return dice.choice(LETTERS[: len(item.choices)] or "A")


def _drawn(found: Sequence[Output | Unreadable]) -> list[Output | Unreadable]:
    """Return the outputs with a drawn letter where nothing shows one, drawn in the publisher's order."""
    dice = random.Random(SEED)
    drawn: dict[str, str] = {}
    for output in sorted((each for each in found if isinstance(each, Output)), key=_place):
        if _must_be_drawn(output):
            drawn[output.item.id] = _draw(dice, output.item)
    return [
        replace(each, extraction=drawn.get(each.item.id, each.extraction)) if isinstance(each, Output) else each
        for each in found
    ]


def _must_be_drawn(output: Output) -> bool:
    is_choice = output.item.facts["question_type"] == "multiple-choice"
    return is_choice and output.extraction is None and parse_choice(output.response, output.item.choices) is None


def _place(output: Output) -> tuple[str, int, str]:
    """Return an output's place: subjects stand in the order of their names, questions in that of their numbers."""
    found = _ID.fullmatch(output.item.id)
    return (found[1], int(found[2]), "") if found else ("", 0, output.item.id)


def _records(file: Path) -> Iterator[Row | Broken]:
    """Yield the records of a subject; the oldest outputs number them, and tell the subject by their folder alone."""
    for row in read_rows(file):
        if isinstance(row, Broken):
            yield row
        elif "response" in row.fields:
            number = field(row, "no") or str(row.number)
            fields = {"id": f"validation_{file.parent.name}_{number}", **row.fields}
            yield Row(fields=fields, name=row.name, number=row.number)


def _output(row: Row | Broken) -> Output | Unreadable:
    if isinstance(row, Broken):
        return Unreadable(where=row.where, problem=row.problem)
    try:
        listed = row.fields.get("index2ans")
        choices = tuple(map(as_text, listed.values())) if isinstance(listed, dict) else choices_of(row)
        item = _item(Row(fields={"question": "?", **row.fields, "choices": list(choices)}, name=row.name, number=0))
        if not item or not item.gold:
            raise RecordError("the record has no answer")
        if isinstance(listed, dict) and not choices:
            raise RecordError("the record has no options")
        return Output(item=replace(item, question=field(row, "question")), response=as_text(row.fields["response"]))
    except RecordError as error:
        return Unreadable(where=row.name, problem=str(error))


def _parsed_output(id_: str, answer: str, known: dict[str, Item]) -> Output | Unreadable:
    if id_ not in known:
        return Unreadable(where=id_, problem="there is no gold answer for the record")
    return Output(item=known[id_], response=answer, extraction=answer)


def _gold_item(row: Row) -> Item | None:
    """Return the item of a gold answer alone, or of a question."""
    if "ground_truth" not in row.fields:
        return _item(row)
    fields = {"id": row.name, "question": "?", "answer": row.fields["ground_truth"], **row.fields}
    item = _item(Row(fields=fields, name=row.name, number=row.number))
    return item and replace(item, question="")


def _item(row: Row) -> Item | None:
    if field(row, "split") not in {"", "validation"}:
        return None
    choices, gold = choices_of(row), _golds(row)
    id_ = _id(row)
    is_choice = field(row, "question_type") == "multiple-choice" or (not field(row, "question_type") and bool(choices))
    return Item(
        id=id_,
        question=without_marks(needed(row, "question")),
        gold=gold,
        answer_type="option_letter" if is_choice else guess_answer_type(gold[0] if gold else ""),
        choices=choices if is_choice else (),
        groups=_groups(id_, field(row, "category")),
        facts={"question_type": "multiple-choice" if is_choice else "short-answer"},
    )


def _golds(row: Row) -> tuple[str, ...]:
    answer = field(row, "answer")
    return as_list(row.fields.get("answer")) or ((answer,) if answer and answer != "?" else ())


def _id(row: Row) -> str:
    ids = [id_ for name in ("id", "index") if (id_ := field(row, name))]
    return next((id_ for id_ in ids if _ID.fullmatch(id_)), next(iter(ids), row.name))


def _groups(id_: str, category: str) -> dict[str, tuple[str, ...]]:
    """Return the domain as the publisher prints it, and the subject."""
    found = _ID.fullmatch(id_)
    subject = found[1] if found else category
    if subject not in DOMAINS:
        return {}
    return {"domain": (f"Overall-{DOMAINS[subject]}",), "subject": (subject,)}
