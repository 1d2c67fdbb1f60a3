"""TabMWP: word problems over a table that is drawn as an image, with the worked solution.

    problems_train.json, one entry; its image is tables/117.png:

    {"117": {"question": "How much do 3 kilograms of gravel cost?", "choices": null, "answer": "7.50", "unit": "$",
             "table_title": "Building yard", "table": "sand | $2/kg\\ngravel | $2.50/kg",
             "solution": "Multiply the price by the weight.\\n$2.50 × 3 = $7.50\\nThey cost $7.50.",
             "ques_type": "free_text", "ans_type": "decimal_number", "grade": 6, "split": "train"}, ..}

The test problems score students: their file is never opened, and a problem that its own record or splits.json counts
among them is told and left out.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from mmat_dagster.schema import Annotations, AnswerType, Rejection, SourceRecord
from mmat_dagster.sources.json_files import Broken, RawRecord, decoder, parse, read_entries
from mmat_dagster.sources.layout import Reader, licence_name, reject, settle, unreadable

SPLITS = ("train", "dev")
SPLITS_FILE = "splits.json"

_FILE = re.compile(r"problems_(train|dev)\d*k?\.json")


class _Problem(RawRecord, frozen=True, kw_only=True):
    question: str
    choices: tuple[str, ...] | None
    answer: str
    unit: str | None
    table_title: str | None = None
    table: str | None = None
    solution: str | None = None
    ques_type: str
    ans_type: str
    split: str


class _Splits(RawRecord, frozen=True, kw_only=True):
    test: frozenset[int | str] = frozenset()


def annotation_files(folder: Path) -> list[Path]:
    """Return the files of problems and, where some are there, the file that says which are held out."""
    problems, splits = _problem_files(folder), folder / SPLITS_FILE
    return [*problems, *[splits] * (bool(problems) and splits.is_file())]


def read(folder: Path) -> Iterator[SourceRecord | Rejection]:
    """Yield every problem of the training and development files, a Rejection for each that is held out for testing."""
    splits = _read_splits(folder / SPLITS_FILE)
    if isinstance(splits, Broken):
        yield unreadable("tabmwp", f"tabmwp/{SPLITS_FILE}", splits)
        splits = _Splits()
    held_out = frozenset(map(str, splits.test))
    for path in _problem_files(folder):
        yield from _read_file(path, held_out)


def _problem_files(folder: Path) -> list[Path]:
    """Return the largest file of each split: `problems_dev1k.json` is a selection from `problems_dev.json`."""
    named = [(match[1], path) for path in folder.glob("problems_*.json") if (match := _FILE.fullmatch(path.name))]
    splits = [[path for split, path in named if split == wanted] for wanted in SPLITS]
    return sorted(max(paths, key=lambda path: (path.lstat().st_size, path.name)) for paths in splits if paths)


def _read_splits(path: Path) -> _Splits | Broken:
    return parse(path.read_bytes(), decoder(_Splits), path.name) if path.is_file() else _Splits()


def _read_file(path: Path, held_out: frozenset[str]) -> Iterator[SourceRecord | Rejection]:
    file = f"{path.name}: entry "
    for number, key, found in read_entries(path, _Problem):
        record_id = f"tabmwp/{key}" if key else f"tabmwp/{path.name}/{number}"
        if isinstance(found, Broken):
            yield unreadable("tabmwp", record_id, found)
        elif key in held_out or found.split == "test":
            counted = SPLITS_FILE if key in held_out else "its own record"
            yield reject("tabmwp", record_id, "held out for testing", f"{file}{number}: so says {counted}")
        else:
            yield settle(_record(record_id, key, found), file, number)


def _record(record_id: str, key: str, found: _Problem) -> SourceRecord:
    return SourceRecord(
        id=record_id,
        source="tabmwp",
        part=found.split,
        question=found.question.strip(),
        answers=(found.answer,),
        answer_type=_answer_type(found),
        images=(f"tables/{key}.png",),
        choices=found.choices or (),
        unit=found.unit or None,
        annotations=Annotations(reasoning=found.solution, table=found.table, table_title=found.table_title),
        licence=licence_name("tabmwp", found.split),
    )


def _answer_type(problem: _Problem) -> AnswerType:
    if problem.ques_type == "multi_choice":
        return "option_text"
    return "number" if problem.ans_type in {"integer_number", "decimal_number"} else "word_or_phrase"


READER = Reader(
    name="tabmwp",
    publisher="the PromptPG repository, https://github.com/lupantech/PromptPG, folder data/tabmwp",
    expects=("problems_train.json", "problems_dev*.json"),
    read=read,
    annotation_files=annotation_files,
)
