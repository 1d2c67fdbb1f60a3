"""The students by name; any other model is a student by its hub name (`org/model`, `org/model@revision`) or folder.

`tiny` and `smollm2` need no network. The others are those of the paper and their likes, as Hugging Face's transformers
loads them. InternVL2.5's own checkpoints are remote code, which is never run here: take its `-hf` conversion, or
`python -m mmat_dagster export --trainer ms-swift`.
"""

from collections.abc import Mapping
from pathlib import Path

from mmat_dagster.training.spec import BadRun, HyperParameters, Student

STUDENTS: Mapping[str, Student] = {
    "tiny": Student(name="tiny", kind="tiny"),
    "smollm2": Student(name="smollm2", kind="smollm2", modality="text"),
}

# How the two small ones are trained on a CPU in minutes; every other student as in the paper.
HYPER: Mapping[str, HyperParameters] = {
    "tiny": HyperParameters(
        method="full",
        learning_rate=3e-3,
        epochs=3.0,
        precision="fp32",
        gradient_checkpointing=False,
        liger=False,
    ),
    "smollm2": HyperParameters(
        method="full",
        learning_rate=3e-4,
        max_length=2048,
        batch_per_device=4,
        gradient_checkpointing=False,
        liger=False,
    ),
}


def default_hyper(student: Student) -> HyperParameters:
    """Return how `student` is trained where nothing else is asked for."""
    return HYPER.get(student.kind, HyperParameters())


def find_student(name: str) -> Student:
    """Return the student called `name`; raise BadRun where it is none of the table, no folder and no hub's name."""
    if name in STUDENTS:
        return STUDENTS[name]
    if Path(name).is_dir():
        return Student(name=Path(name).name, model=str(Path(name).absolute()))
    model, _, revision = name.partition("@")
    if model.count("/") != 1 or model.startswith((".", "/")):
        raise BadRun(
            f"{name!r} is no student: it may be {', '.join(STUDENTS)}, a folder, or a hub's org/model@revision"
        )
    return Student(name=model.partition("/")[2], model=model, revision=revision or None)
