"""The students by name; any other model is a student by its hub name (`org/model`, `org/model@revision`) or folder.

`tiny` and `smollm2` need no network. The others are those of the paper and their likes, as Hugging Face's transformers
loads them. InternVL2.5's own checkpoints are remote code, which is never run here: take its `-hf` conversion, or
`python -m mmat_dagster export --trainer ms-swift`.
"""

from collections.abc import Mapping
from pathlib import Path

from mmat_dagster.training.spec import BadRun, Student

STUDENTS: Mapping[str, Student] = {
    "tiny": Student(name="tiny", kind="tiny"),
    "smollm2": Student(name="smollm2", kind="smollm2", modality="text"),
}


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
