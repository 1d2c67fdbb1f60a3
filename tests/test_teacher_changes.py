"""What a change costs: only what the change decides is asked again, everything else comes from the ledger."""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmat_dagster import prompts
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.schema import DatasetName
from mmat_dagster.teachers.prompted import PromptedTeacher
from tests.teacher_server import TeacherServer
from tests.teacher_server_brain import root_of
from tests.teacher_server_ledger import Received
from tests.teaching import (
    LOOK,
    Job,
    build,
    count_numbers,
    count_tasks,
    make_pipeline,
    read_files,
    read_outcome,
    write_problems,
)

ROWS = range(1, 91)
REFLECTING = {"pretence", "rewrite", "calculation"}


class NewerTeacher(PromptedTeacher):
    """The same teacher, of another version of its code."""

    def version(self, dataset: DatasetName) -> str:
        return f"{super().version(dataset)} newer"


@dataclass(frozen=True, kw_only=True)
class School:
    """A source, its store and its ledger below `root`; `first` is what the first build asked."""

    root: Path
    server: TeacherServer
    first: tuple[Received, ...] = ()

    @property
    def job(self) -> Job:
        return Job(
            sources=str(self.root / "sources"),
            store=str(self.root / "store"),
            url=self.server.url,
            ledger=str(self.root / "ledger.sqlite"),
            part_rows=30,
            fields={"timeout_s": 120.0},  # nothing stalls here, but on a busy machine a reply may take its time
        )

    @property
    def chains(self) -> Counter[int]:
        """How many requests each row takes."""
        return count_numbers(self.first)

    def write(self, numbers: Iterable[int], edited: Mapping[int, str] | None = None) -> None:
        write_problems(self.root / "sources", numbers, edited, calculates=False)

    def build(self, job: Job | None = None, pipeline: Pipeline | None = None) -> list[Received]:
        """Build; return what was asked meanwhile."""
        before = len(self.server.received)
        build(job or self.job, pipeline)
        return self.server.received[before:]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[School]:
    """Build the source once for all tests of this file."""
    with TeacherServer() as server:
        school = School(root=tmp_path_factory.mktemp("built"), server=server)
        school.write(ROWS)
        yield School(root=school.root, server=server, first=tuple(school.build()))


@pytest.fixture
def school(built: School, tmp_path: Path) -> School:
    """Give a test its own copy of all that the first build has left."""
    shutil.copytree(built.root, tmp_path / "school")
    return School(root=tmp_path / "school", server=built.server, first=built.first)


def change_prompt(monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    """Add a sentence to a prompt, as an edit of its file does."""
    read = prompts._read
    monkeypatch.setattr(prompts, "_read", lambda name: read(name) + (b" Be exact." if name == changed else b""))


def test_a_build_asks_for_every_row_and_nothing_twice(school: School) -> None:
    assert school.chains.keys() == set(ROWS)
    assert set(school.server.paid.values()) == {1}
    assert set(count_tasks(school.first)) == {"step", "pretence", "rewrite"}


def test_nothing_changed_asks_nothing(school: School) -> None:
    before = read_files(school.job)
    assert school.build() == []
    assert read_files(school.job) == before


def test_an_edited_row_asks_its_own_chain(school: School) -> None:
    asks = LOOK.format("77 and in the garden")
    school.write(ROWS, {77: asks})
    asked = school.build()
    assert count_numbers(asked).keys() == {77}
    assert all(asks in root_of(each.body) for each in asked)
    assert count_tasks(asked)["pretence"] == 1
    assert school.build() == []
    assert read_outcome(school.job).ends == Counter(f"tabmwp/{number}" for number in ROWS)


def test_an_appended_row_asks_its_own_chain(school: School) -> None:
    school.write([*ROWS, 91])
    asked = school.build()
    assert count_numbers(asked).keys() == {91}
    assert count_tasks(asked)["pretence"] == 1
    assert read_outcome(school.job).ends.total() == 91


def test_a_row_that_was_left_out_asks_nothing_when_it_comes_back(school: School) -> None:
    before = read_files(school.job)
    school.write(ROWS[:-1])
    assert school.build() == []
    assert read_outcome(school.job).ends.total() == 89
    school.write(ROWS)
    assert school.build() == []
    assert read_files(school.job) == before


def test_another_order_of_the_rows_asks_nothing(school: School) -> None:
    before = read_files(school.job)
    school.write(reversed(ROWS))
    assert school.build() == []
    assert read_files(school.job).keys() != before.keys()
    assert read_outcome(school.job).ends == Counter(f"tabmwp/{number}" for number in ROWS)


def test_another_place_for_source_and_store_asks_nothing(school: School, tmp_path: Path) -> None:
    before = read_files(school.job)
    moved = School(root=school.root.rename(tmp_path / "moved"), server=school.server)
    assert moved.build() == []
    shutil.rmtree(moved.job.store)
    assert moved.build() == []
    assert read_files(moved.job) == before


def test_another_size_of_parts_asks_nothing(school: School) -> None:
    shutil.rmtree(school.job.store)
    job = Job(**{**vars(school.job), "part_rows": 7, "concurrency": 3})
    assert school.build(job) == []
    assert read_outcome(job).ends.total() == len(ROWS)


def test_another_temperature_asks_all_again(school: School) -> None:
    asked = school.build(school.job.but(temperature=0.7))
    assert count_numbers(asked) == school.chains
    assert {each.body["temperature"] for each in asked} == {0.7}
    # The replies for the old one are still there.
    assert school.build() == []


def test_newer_code_asks_nothing(school: School) -> None:
    before = read_files(school.job)
    newer = make_pipeline(school.job, lambda model, pictures: NewerTeacher(model=model, pictures=pictures, max_turns=4))
    assert school.build(pipeline=newer) == []
    assert read_files(school.job).keys() != before.keys()


def test_another_reflection_prompt_asks_the_reflections_again(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    change_prompt(monkeypatch, "reflection_system")
    first = count_tasks(school.first)
    assert count_tasks(school.build()) == Counter({task: first[task] for task in REFLECTING if first[task]})


def test_another_rationale_prompt_asks_the_steps_again(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    change_prompt(monkeypatch, "rationale_system")
    # This teacher says the same as before, so that there is nothing new to reflect on.
    assert count_tasks(school.build()) == Counter({"step": count_tasks(school.first)["step"]})


def test_another_rationale_with_other_replies_asks_all_again(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    change_prompt(monkeypatch, "rationale_question")
    asked = school.build()
    assert count_numbers(asked).keys() == set(ROWS)
    # A few replies are what they were by chance, and so is what there is to reflect on.
    told = count_tasks(asked)
    assert told["step"] >= 2 * len(ROWS)
    assert told["pretence"] > len(ROWS) / 2
