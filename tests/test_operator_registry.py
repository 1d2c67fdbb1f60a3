"""Each operator's backend is chosen by name; one of your own is a file and a line, and everybody hears of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pytest
from PIL import Image

from mmat_dagster import parts
from mmat_dagster.environment import BadEnvironment, read_environment
from mmat_dagster.interfaces import OperatorMaker
from mmat_dagster.operators.looking import looks_at
from mmat_dagster.operators.phrases import PhrasedBoxes
from mmat_dagster.operators.scene_graph_caption import SceneGraphCaption
from mmat_dagster.operators.source_boxes import SourceBoxes
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.reasoning import Toolbox
from mmat_dagster.schema import Dialogue, Observation, Step
from mmat_dagster.stages.rationale import write_rationale
from mmat_dagster.teachers.requests import render_system
from mmat_dagster.tools import Failed, Look, Operator, OperatorUnavailable, Sight
from resources.deployments import DEPLOYMENTS
from resources.open_operators import open_operators
from resources.operators import OPERATORS
from tests.builders import make_sample
from tests.fakes import ScriptedTeacher, ToldRetriever
from tests.layouts import write_tabmwp
from tests.looking import Folder, sample_of


class PlateReader(dg.ConfigurableResource[Operator], Operator):
    """An operator as a user writes it."""

    name: ClassVar[str] = "plate_reader"
    purpose: ClassVar[str] = "reads the number plates of vehicles"

    max_chars: int = 100
    country: str = "NL"

    @property
    def version(self) -> str:
        return f"plates 1 {self.country}"

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        return [Sight(text=f"{self.country} 12-ABC-3") for _ in looks]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, "plate_reader", {"plates": lambda _: PlateReader()})


def resources_of(**variables: str) -> dict[str, Any]:
    return DEPLOYMENTS["local"](read_environment(variables))


def names_of(**variables: str) -> list[str]:
    return [name for name in resources_of(**variables) if name in {*OPERATORS}]


def test_the_papers_operators_are_there_without_a_word() -> None:
    assert names_of() == ["image_caption", "label_bbox", "ocr", "face_detection"]


def test_every_operator_can_be_had_from_a_server() -> None:
    assert all("http" in backends and len(backends) >= 3 for backends in OPERATORS.values())


def test_a_backend_is_chosen_by_name_and_an_operator_left_out() -> None:
    chosen = resources_of(MMAT_OPERATORS="label_bbox=grounding_dino, face_detection=off", MMAT_TEACHER="gpt4o")
    assert type(chosen["label_bbox"]).__name__ == "SceneGraphPhrasesResource"
    assert "face_detection" not in chosen
    assert type(resources_of(MMAT_OPERATORS="ocr=paddleocr")["ocr"]).__name__ == "PaddleOCR"


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("plates=x", "names 'plates'; the operators are image_caption, label_bbox, ocr, face_detection"),
        ("ocr=tesseract", "ocr has no backend 'tesseract', but rapidocr, "),
        ("ocr", "MMAT_OPERATORS holds 'ocr'; it may hold name=backend"),
        ("ocr=http", "ocr=http needs MMAT_OPERATOR_URL, the server of operators"),
        ("image_caption=gpt4o", "image_caption=gpt4o asks the teacher's model: it needs MMAT_TEACHER=gpt4o"),
    ],
)
def test_a_choice_that_cannot_be_is_told_at_once(choice: str, told: str) -> None:
    with pytest.raises(BadEnvironment, match=told):
        resources_of(MMAT_OPERATORS=choice)


@pytest.mark.parametrize(
    ("told", "repository", "revision"),
    [
        ("", "IDEA-Research/grounding-dino-base", None),
        ("/models/dino", "/models/dino", None),
        ("me/dino@4f2a", "me/dino", "4f2a"),
    ],
)
def test_the_detector_is_named_by_folder_or_commit(told: str, repository: str, revision: str | None) -> None:
    chosen = resources_of(MMAT_OPERATORS="label_bbox=grounding_dino", MMAT_GROUNDING_DINO=told)["label_bbox"]
    detector = chosen.nested_resources["detector"]
    assert (detector.repository, detector.revision) == (repository, revision)


def test_the_server_of_operators_is_named_once_and_its_token_never_told() -> None:
    choice = {"MMAT_OPERATORS": "ocr=http,label_bbox=http", "MMAT_OPERATOR_TOKEN": "t0ken-never-told"}
    chosen = resources_of(**choice, MMAT_OPERATOR_URL="http://gpu-1:8100", MMAT_OPERATOR_HOSTS="gpu-1 gpu-2")
    ocr = chosen["ocr"]
    assert (ocr.url, ocr.allowed_hosts) == ("http://gpu-1:8100", ["gpu-1", "gpu-2"])
    assert type(chosen["label_bbox"]).__name__ == "SourcePhrasesResource"
    assert "t0ken-never-told" not in repr(chosen) + str(ocr._config_schema.default_value)


def test_settings_for_all_reach_each_operator() -> None:
    chosen = resources_of(MMAT_WORKERS="3", MMAT_OBSERVATION_CHARS="500")
    assert [(chosen[name].workers, chosen[name].max_chars) for name in ("ocr", "face_detection")] == [(3, 500)] * 2


def pipeline_of(tmp_path: Path, **variables: str) -> Pipeline:
    environment = {"MMAT_STORE": str(tmp_path / "store"), "MMAT_SOURCES": str(tmp_path), "MMAT_OPERATOR_CACHE": "off"}
    with dg.build_resources(resources_of(**environment, **variables)) as resources:
        found = resources.pipeline
    assert isinstance(found, Pipeline)
    return found


def test_operators_that_ask_a_chat_model_share_the_teachers(tmp_path: Path) -> None:
    choice = "image_caption=gpt4o,label_bbox=grounding_dino"
    pipeline = pipeline_of(tmp_path, MMAT_OPERATORS=choice, MMAT_TEACHER="gpt4o")
    caption, boxes = pipeline.operators["image_caption"], pipeline.operators["label_bbox"]
    assert isinstance(caption, SceneGraphCaption)
    assert isinstance(boxes, PhrasedBoxes)
    assert caption._model is boxes._model is pipeline.teacher.model
    assert pipeline.teacher.model is not None


def test_a_missing_package_is_told_with_what_to_do() -> None:
    ocr = resources_of(MMAT_OPERATORS="ocr=paddleocr")["ocr"]
    with pytest.raises(OperatorUnavailable, match=r"PaddleOCR needs the package paddleocr: see docs/operators\.md"):
        _ = ocr.version


@pytest.mark.usefixtures("registered")
def test_an_operator_of_ones_own_is_listed_for_teacher_and_student(tmp_path: Path) -> None:
    pipeline = pipeline_of(tmp_path)
    assert [*pipeline.operators] == [*OPERATORS]
    offered = [
        operator for operator in pipeline.operators.values() if operator.offers(looks_at(make_sample(), Folder()))
    ]
    assert "- plate_reader: reads the number plates of vehicles" in render_system(offered, 4)
    write_tabmwp(tmp_path, 1)
    *_, built = pipeline.build("rr_dialogues", "tabmwp", lambda _: None)
    (dialogue,) = parts.read_records(pipeline.store, built.manifest, Dialogue)
    assert "plate_reader: reads the number plates of vehicles" in dialogue.messages[0].content


@pytest.mark.usefixtures("registered")
def test_an_operator_that_was_off_while_the_data_was_made_can_be_offered_later(tmp_path: Path) -> None:
    trained = pipeline_of(tmp_path, MMAT_OPERATORS="plate_reader=off")
    assert "plate_reader" not in trained.operators
    assert "plate_reader" in pipeline_of(tmp_path).operators


@pytest.mark.usefixtures("registered")
async def test_an_unseen_operator_is_called_where_the_question_names_it(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "car.png")
    pipeline = pipeline_of(tmp_path)
    tools = Toolbox(operators=pipeline.operators, retriever=ToldRetriever())
    student = ScriptedTeacher(
        Step(thought="The question asks for the plate.", operators=("plate_reader",), signal="continue"),
        Step(thought="It is 12-ABC-3.", signal="end"),
    )
    written = await write_rationale(sample_of(tmp_path / "car.png"), student, tools, Folder())
    assert not hasattr(written, "reason")
    assert written.turns[0].observations == (Observation(tool="plate_reader", text="NL 12-ABC-3"),)


@pytest.mark.usefixtures("registered")
def test_another_purpose_or_version_makes_other_rationales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tabmwp(tmp_path, 1)
    pipeline = pipeline_of(tmp_path)
    list(pipeline.build("rationales", "tabmwp", lambda _: None))
    assert pipeline_of(tmp_path).current("rationales", "tabmwp") is not None
    monkeypatch.setattr(PlateReader, "purpose", "reads plates")
    assert pipeline_of(tmp_path).current("rationales", "tabmwp") is None


def test_operators_are_opened_by_hand_as_configured(tmp_path: Path) -> None:
    environment = read_environment({"MMAT_STORE": str(tmp_path), "MMAT_OPERATORS": "face_detection=off"})
    with open_operators(environment, ["label_bbox"]) as opened:
        assert isinstance(opened.operators["label_bbox"], SourceBoxes)
    for name, told in (("face_detection", "it is off"), ("plates", "there are image_caption, label_bbox")):
        with pytest.raises(BadEnvironment, match=told), open_operators(environment, [name]):
            pass


def test_a_maker_is_no_operator_yet() -> None:
    made = resources_of(MMAT_OPERATORS="image_caption=gpt4o", MMAT_TEACHER="gpt4o")["image_caption"]
    assert isinstance(made, OperatorMaker)
