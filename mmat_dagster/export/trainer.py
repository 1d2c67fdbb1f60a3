"""What an exporter says of its trainer: the students that it knows, and the files beside the rows.

The rows are the same for both: one JSON object a line,
{"id": ..., "messages": [{"role": "system" | "user" | "assistant", "content": ...}, ...], "images": [path, ...]}
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmat_dagster.training.spec import BadRun, HyperParameters, TrainingFormat
from mmat_dagster.training.students import STUDENTS as HERE
from mmat_dagster.training.students import find_student

TRAIN, VALIDATION = "train.jsonl", "val.jsonl"


@dataclass(frozen=True, kw_only=True)
class Student:
    """A student in the trainer's terms: its hub name or folder, and the chat template where the trainer must be told.

    `note` says what a person should know before taking it.
    """

    model: str
    template: str | None = None
    revision: str | None = None
    runs_remote_code: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained on the export, and how."""

    name: str
    student: Student
    form: TrainingFormat
    hyper: HyperParameters = field(default_factory=HyperParameters)
    has_validation: bool = False


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A trainer: its students by name, the first one being the default, and what `render` writes beside the rows.

    `needs_template` tells that it does not find out the template of a model that it is only named. `launch` is the
    command that trains, in the export's folder; `notes` is what its README says of the trainer's ways.
    """

    name: str
    version: str
    home: str
    students: Mapping[str, Student]
    needs_template: bool
    render: Callable[[Recipe], Mapping[str, str]]
    launch: str
    notes: str


def choose_student(trainer: Trainer, name: str | None, template: str | None) -> Student:
    """Return the student called `name` in the trainer's terms; raise BadRun where the trainer has none such."""
    name = name or next(iter(trainer.students))
    known = trainer.students.get(name.casefold())
    if known is not None:
        return Student(**{**vars(known), "template": template or known.template})
    student = _named(trainer, name, template)
    if trainer.needs_template and template is None:
        raise BadRun(f"{trainer.name} must be told the chat template of {student.model}: add --template NAME")
    return student


def _named(trainer: Trainer, name: str, template: str | None) -> Student:
    offered = f"{name!r} is no student that {trainer.name} can train: it may be {', '.join(trainer.students)}, a folder"
    if name in HERE and HERE[name].kind != "pretrained":
        raise BadRun(f"{offered}, or a hub's org/model@revision. {name} is trained by this project itself only")
    if Path(name).is_dir():
        return Student(model=str(Path(name).absolute()), template=template)
    try:
        found = find_student(name)
    except BadRun as unknown:
        raise BadRun(f"{offered}, or a hub's org/model@revision") from unknown
    return Student(model=found.model or name, template=template, revision=found.revision)
