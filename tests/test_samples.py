"""The records that Dagster's UI shows tell something, and do no harm to the page."""

from dataclasses import replace
from pathlib import Path

import pytest

from assets.samples import SAMPLES, choose
from mmat_dagster.parts import Manifest
from mmat_dagster.reading import Shown
from mmat_dagster.schema import DatasetName, Dialogue, Observation, OrrDialogue, ReflectionKind, Step, Transcript, Turn
from mmat_dagster.stages.integration import integrate
from resources.store import LocalStore
from tests.builders import make_sample, render_dialogue
from tests.written_parts import write_part


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(root=str(tmp_path))


def dialogue(number: int, *tools: str, reflection: ReflectionKind = "none", thought: str = "Two.") -> Dialogue:
    sample = make_sample(id=f"tabmwp/{number}")
    called = Turn(
        step=Step(thought="I look.", operators=tools, signal="continue"),
        observations=tuple(Observation(tool=tool, text="$2") for tool in tools),
    )
    reflected = [Turn(step=Step(thought="Wait.", signal="reflection"))] if reflection != "none" else []
    turns = (called, *reflected, Turn(step=Step(thought=thought, signal="end")))
    transcript = Transcript(question=sample.question, image_count=1, turns=turns, answer="2")
    return render_dialogue(sample, transcript, reflection=reflection)


PLAIN = dialogue(1)
LONG = dialogue(2, "ocr", thought="Two. " * 500)
CALLING = dialogue(3, "ocr", "face_detection")
REFLECTED = dialogue(4, "ocr", reflection="math")


def written(store: LocalStore, dataset: DatasetName, *groups: list[Shown]) -> Manifest:
    """Return the manifest of a dataset with one part for each group of records, reflections counted."""
    made = []
    for index, group in enumerate(groups):
        kinds = [record.reflection for record in group if isinstance(record, Dialogue | OrrDialogue)]
        census = {f"{kind} reflection": kinds.count(kind) for kind in kinds if kind != "none"}
        key = f"{dataset}/tabmwp/part-{index:05d}"
        made.append(write_part(store, key, group, type(group[0]) if group else Dialogue, census))
    return Manifest(dataset=dataset, source="tabmwp", key="key", parts=tuple(made))


def ids(records: list[Shown]) -> list[str]:
    return [record.id if isinstance(record, Dialogue | OrrDialogue) else "" for record in records]


def test_a_reflected_dialogue_comes_first_then_one_that_calls_most(store: LocalStore) -> None:
    assert choose(store, written(store, "rr_dialogues", [PLAIN, LONG, CALLING, REFLECTED])) == [REFLECTED, CALLING]


def test_the_part_that_holds_a_reflection_is_looked_at(store: LocalStore) -> None:
    manifest = written(store, "rr_dialogues", [PLAIN], [LONG, CALLING, REFLECTED])
    assert ids(choose(store, manifest)) == ["tabmwp/4", "tabmwp/3"]


def test_without_reflections_those_that_call_most_are_shown_the_pleasant_one_first(store: LocalStore) -> None:
    short = dialogue(5, "ocr")
    assert ids(choose(store, written(store, "rr_dialogues", [PLAIN, LONG, short]))) == ["tabmwp/5", "tabmwp/2"]


def test_orr_dialogues_are_chosen_alike(store: LocalStore) -> None:
    integrated = [integrate(each, "system") for each in (PLAIN, CALLING, REFLECTED)]
    records: list[Shown] = [each for each in integrated if isinstance(each, OrrDialogue)]
    assert ids(choose(store, written(store, "orr_dialogues", records))) == ["tabmwp/4", "tabmwp/3"]


def test_few_records_are_all_shown_and_none_where_there_are_none(store: LocalStore) -> None:
    assert choose(store, written(store, "rr_dialogues", [REFLECTED])) == [REFLECTED]
    assert choose(store, written(store, "rr_dialogues", [])) == []
    many: list[Shown] = [replace(PLAIN, id=f"tabmwp/{number}") for number in range(9)]
    assert len(choose(store, written(store, "rr_dialogues", many))) == SAMPLES
