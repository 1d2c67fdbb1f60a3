"""TabMWP (test): word problems over a table, scored as their publisher scores them (PromptPG, arXiv 2209.14610).

    problems_test.json   {"54": {"question": .., "choices": [..] | null, "answer": .., "unit": .., "ques_type": ..}, ..}
    tables/54.png        the table of problem 54
    outputs              {"results": {"54": {"answer": .., "output": .., "prediction": ..}, ..}} as PromptPG writes
                         them, {"54": "what a model said", ..}, or records with an id and a response

The rule takes the answer out of what was said: of a problem with choices, the choice whose letter stands where letters
stand, else the one that shares most words; of an open problem, what follows "The answer is", else the last number that
reads like a result. Numbers are equal to three decimals, `$` and thousands' commas do not count, texts are equal
without case and unit. Where a letter names no choice the publisher draws one at random: here none is taken.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import ClassVar

from mmat_dagster.decontamination.rows import Broken, read_rows
from mmat_dagster.schema import AnswerType
from mmat_dagster.scoring.benchmark import Benchmark, Item, Output, ScoringError, Unreadable, Verdict

PROBLEMS = "problems_test*.json"
LETTERS = "ABCDEF"
IDS = ("pid", "id", "index")
RESPONSES = ("output", "response", "prediction")
# An item that only an output tells of: whether it has choices is not known.
UNKNOWN = "unknown"

_FRACTION = re.compile(r"\$?\\frac\{([\d.,\-]+)\}\{([\d.,]+)\}\$?")
_LAST_POINT = re.compile(r"(?<![AP]\.M)\.$")
_TIGHT_EQUALS = re.compile(r"(?<=\d)=(?=[\-$\d])")
_LETTERS = tuple(
    re.compile(pattern)
    for pattern in (
        r"^\(([A-Za-z])\)$",
        r"^([A-Za-z])$",
        r"^([A-Za-z]). ",
        r"[Th]he answer is ([A-Z])",
        r"^\(([A-Za-z])\) [\s\S]+$",
        r"[Th]he answer is \(([A-Za-z])\) [\s\S]+$",
    )
)
_STATED = re.compile(r"[Th]he answer is ([\s\S]+)$")
_SHOWN = re.compile(r"[Th]he table shows that ([\d$.,/:]+) ")
_RESULT = re.compile(r" = ([\d$.,/:]+)")
_TIME = re.compile(r" ([\d$.,/:]+ [AP]\.M\.)")
# A run of what numbers consist of, by what stands before it; it counts up to its last digit.
_RUNS = tuple(re.compile(lead + r"([\-\d$.,/:]+)") for lead in (r"(?<= be| is) ", r"(?<= are| was) ", r"(?<= were) "))
_ANY_RUN = re.compile(r"([\-\d$.,/:]+)")
_TO_LAST_DIGIT = re.compile(r".*\d", re.DOTALL)
_NUMBER = re.compile(r"[-+]?[\d,./]+")
_WHOLE = re.compile(r"[-+]?\d+")


class TabMwp(Benchmark):
    """TabMWP's test problems."""

    name: ClassVar[str] = "tabmwp"
    title: ClassVar[str] = "TabMWP (test)"
    source: ClassVar[str] = (
        "Get problems_test.json and the folder tables from the PromptPG repository "
        "(https://github.com/lupantech/PromptPG, data/tabmwp)."
    )
    rules: ClassVar[tuple[str, ...]] = ("promptpg",)
    decimals: ClassVar[int] = 3

    def items(self, folder: Path) -> Iterator[Item | Unreadable]:
        """Yield the problems of the largest file of test problems."""
        file = _problem_file(folder)
        if file is None:
            raise ScoringError(f"{folder} holds no {PROBLEMS} of {self.title}. {self.source}")
        images = {path.stem: path for path in (file.parent / "tables").glob("*.png")}
        return (_with_image(each, images, file.name) for each in _read_problems(file))

    def outputs(self, path: Path, gold: Path | None) -> Iterator[Output | Unreadable]:
        """Yield what a model said; without the problems, those of an outputs' file that tells the answers."""
        if not path.is_file():
            raise ScoringError(f"{path} is no file of outputs of {self.title}")
        problems = _gold(gold)
        said = list(_read_outputs(path))
        known = [each for each in said if isinstance(each, Output)]
        if known and not problems and not any(each.item.gold for each in known):
            raise ScoringError(f"{path} tells no answers: name the problems by --gold. {self.source}")
        return (_known(each, problems) for each in said)

    def judge(
        self,
        item: Item,
        response: str,
        extraction: str | None = None,
        rule: str | None = None,  # noqa: ARG002
    ) -> Verdict:
        """Take the answer out of `response` and compare it.

        `extraction` counts where nothing else can be: the choices are not known, or the letter is that of none.
        """
        is_known = UNKNOWN not in item.facts or extraction is None
        parsed = extract(response, item.choices) if is_known else None
        answer = extraction if parsed is None else parsed
        return Verdict(parsed=answer, score=_score(item, answer))


def extract(response: str, choices: Sequence[str]) -> str | None:
    """Return the answer that `response` gives; None where it names a choice that there is not."""
    said = _FRACTION.sub(r"\1/\2", response)
    said = _LAST_POINT.sub("", said)
    said = _TIGHT_EQUALS.sub(" = ", said).replace("\u2212", "-")
    return _choice(said, choices) if choices else _open_answer(said)


def normalise(text: str, unit: str | None) -> str:
    """Return an answer in the form in which equal ones are equal, but for case."""
    bare = re.sub(r"[,./]$", "", text.removeprefix("$"))
    if _NUMBER.fullmatch(bare):
        try:
            return _number(bare.replace(",", ""))
        except (ValueError, ZeroDivisionError, OverflowError):  # 1.2.3, 1/0, more digits than a number has
            return bare
    return bare.replace(unit, "").strip() if unit else bare


def _number(text: str) -> str:
    if _WHOLE.fullmatch(text):
        return str(int(text))
    if "/" in text:
        above, below = text.split("/")[:2]
        value = float(above) / float(below)
    else:
        value = float(text)
    return re.sub(r"\.0+$", "", str(round(value, 3)))


def _choice(said: str, choices: Sequence[str]) -> str | None:
    for pattern in _LETTERS:
        found = pattern.search(said)
        if found is not None and found[1].upper() in LETTERS:
            place = LETTERS.index(found[1].upper())
            return choices[place] if place < len(choices) else None
    likeness = [_likeness(choice, said) for choice in choices]
    return choices[likeness.index(max(likeness))]


def _likeness(choice: str, said: str) -> float:
    """Return 2 for the same, else the share of common words, which one word alone never has."""
    if choice == said:
        return 2.0
    if " " not in choice and " " not in said:
        return 0.0
    words, others = choice.split(" "), said.split(" ")
    return len({*words} & {*others}) / max(len(words), len(others))


def _open_answer(said: str) -> str:
    for found in _findings(said):
        if found:
            answer = found[-1].strip()
            return answer[:-1] if answer.endswith(".") and ".M." not in answer else answer
    return said


def _findings(said: str) -> Iterator[list[str]]:
    """Yield what reads like the answer, the surest first."""
    yield _STATED.findall(said)
    yield _SHOWN.findall(said)
    yield _RESULT.findall(said)
    for pattern in _RUNS:
        yield _to_last_digit(pattern.findall(said))
    yield _TIME.findall(said)
    yield _to_last_digit(_ANY_RUN.findall(said))


def _to_last_digit(runs: Sequence[str]) -> list[str]:
    found = (_TO_LAST_DIGIT.match(run) for run in runs)
    return [match[0] for match in found if match is not None]


def _score(item: Item, answer: str | None) -> float:
    if answer is None:
        return 0.0
    said = normalise(answer, item.unit).lower()
    return float(any(normalise(gold, item.unit).lower() == said for gold in item.gold))


def _problem_file(folder: Path) -> Path | None:
    files = sorted(folder.glob(PROBLEMS), key=lambda path: (path.stat().st_size, path.name))
    return files[-1] if files else None


def _gold(gold: Path | None) -> Mapping[str, Item]:
    if gold is None:
        return {}
    file = _problem_file(gold) if gold.is_dir() else gold
    if file is None or not file.is_file():
        raise ScoringError(f"{gold} holds no {PROBLEMS}")
    return {each.id: each for each in _read_problems(file) if isinstance(each, Item)}


def _read_problems(file: Path) -> Iterator[Item | Unreadable]:
    for key, fields in _entries(file):
        if not isinstance(fields, dict) or not isinstance(fields.get("question"), str) or fields.get("answer") is None:
            yield Unreadable(where=f"{file.name}: {key}", problem="no question with an answer")
        else:
            yield _problem(key, fields)


def _problem(key: str, fields: Mapping[str, object]) -> Item:
    choices, unit, grade = fields.get("choices"), fields.get("unit"), fields.get("grade")
    kind, answer = str(fields.get("ques_type", "")), str(fields.get("ans_type", ""))
    groups = {"question type": kind, "answer type": answer, "grade": _grades(grade)}
    return Item(
        id=key,
        question=str(fields["question"]).strip(),
        gold=(str(fields["answer"]),),
        answer_type=_answer_type(kind, answer),
        choices=tuple(map(str, choices)) if isinstance(choices, list) else (),
        unit=str(unit) if unit else None,
        groups={grouping: (name,) for grouping, name in groups.items() if name},
    )


def _answer_type(kind: str, answer: str) -> AnswerType:
    """Return the type that a problem of the source has too (sources/tabmwp.py)."""
    if kind == "multi_choice":
        return "option_text"
    return "number" if answer in {"integer_number", "decimal_number"} else "word_or_phrase"


def _grades(grade: object) -> str:
    """Return the group of grades that the paper tells scores by."""
    return ("grades 1-6" if grade <= 6 else "grades 7-8") if isinstance(grade, int) else ""


def _with_image(each: Item | Unreadable, images: Mapping[str, Path], file: str) -> Item | Unreadable:
    if isinstance(each, Unreadable):
        return each
    if each.id not in images:
        return Unreadable(where=f"{file}: {each.id}", problem=f"no image tables/{each.id}.png")
    return Item(**{**vars(each), "images": (images[each.id],)})


def _read_outputs(path: Path) -> Iterator[Output | Unreadable]:
    if path.suffix.lower() != ".json":
        return chain.from_iterable(map(_row_output, read_rows(path)))
    content = _load(path)
    if isinstance(content, list):
        return (_output(str(_first(each, IDS) or number), each) for number, each in enumerate(content, start=1))
    told = content.get("results", content) if isinstance(content, dict) else {}
    return (_output(str(key), each) for key, each in (told.items() if isinstance(told, dict) else ()))


def _row_output(row: object) -> Iterator[Output | Unreadable]:
    if isinstance(row, Broken):
        yield Unreadable(where=row.where, problem=row.problem)
        return
    fields = getattr(row, "fields", {})
    yield _output(str(_first(fields, IDS) or getattr(row, "name", "")), fields)


def _output(key: str, told: object) -> Output | Unreadable:
    if isinstance(told, str):
        return Output(item=_told_item(key, None), response=told)
    said = _first(told, RESPONSES)
    if said is None:
        return Unreadable(where=key, problem=f"none of {', '.join(RESPONSES)}")
    has_both = isinstance(told, dict) and isinstance(told.get("output"), str) and "prediction" in told
    return Output(
        item=_told_item(key, _first(told, ("answer",)), _told_unit(told)),
        response=str(said),
        extraction=str(told["prediction"]) if has_both and isinstance(told, dict) else None,
        verdict=bool(told["true_false"]) if isinstance(told, dict) and "true_false" in told else None,
    )


def _told_item(key: str, answer: object, unit: str | None = None) -> Item:
    gold = () if answer is None else (str(answer),)
    return Item(id=key, question="", gold=gold, answer_type="free_text", unit=unit, facts={UNKNOWN: "choices"})


def _told_unit(told: object) -> str | None:
    """Return the unit, where an output shows it: what its own normalisation has taken from the prediction."""
    before, after = _first(told, ("prediction",)), _first(told, ("prediction_norm",))
    if not isinstance(before, str) or not isinstance(after, str) or normalise(before, None) == after:
        return None
    return before.replace(after, "", 1).strip() or None


def _known(each: Output | Unreadable, problems: Mapping[str, Item]) -> Output | Unreadable:
    """Return an output with the problem that it answers, where the problems are known."""
    if isinstance(each, Unreadable) or (not problems and each.item.gold):
        return each
    item = problems.get(each.item.id)
    if item is None and not each.item.gold:
        return Unreadable(where=each.item.id, problem="no such problem among the gold answers")
    return Output(item=item or each.item, response=each.response, extraction=each.extraction, verdict=each.verdict)


def _first(fields: object, names: Sequence[str]) -> object:
    if not isinstance(fields, Mapping):
        return None
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _entries(file: Path) -> Iterator[tuple[str, object]]:
    content = _load(file)
    if not isinstance(content, dict):
        raise ScoringError(f"{file} is no object of problems by their ids")
    yield from content.items()


def _load(path: Path) -> object:
    try:
        found: object = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ScoringError(f"{path} is no JSON: {error}") from error
    return found
