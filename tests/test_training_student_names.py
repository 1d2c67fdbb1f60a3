"""The table of students, and what else is one by its name."""

from pathlib import Path

import pytest

from mmat_dagster.training.spec import BadRun, HyperParameters, Student
from mmat_dagster.training.students import STUDENTS, defaults_of, find_student


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_is_found_by_the_name_that_it_has(name: str) -> None:
    student = find_student(name)
    assert student.name == name
    assert (student.model is None) == (student.kind != "pretrained")


def test_any_model_of_a_hub_is_a_student() -> None:
    assert find_student("org/model@abc") == Student(name="model", model="org/model", revision="abc")
    assert find_student("text:org/model") == Student(name="model", model="org/model", modality="text")


@pytest.mark.parametrize("name", ["nobody", "a/b/c", "./absent", "/absent"])
def test_a_name_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(BadRun, match="is no student"):
        find_student(name)


def test_all_but_the_small_students_are_trained_as_in_the_paper() -> None:
    assert {name for name in STUDENTS if defaults_of(STUDENTS[name]) != HyperParameters()} == {"tiny", "smollm2"}


def test_a_folder_is_a_student(tmp_path: Path) -> None:
    assert find_student(str(tmp_path)) == Student(name=tmp_path.name, model=str(tmp_path))
    assert find_student(f"text:{tmp_path}").modality == "text"
