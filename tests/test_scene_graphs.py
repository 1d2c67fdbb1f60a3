"""Captions by scene graph: two calls, the graph validated, its objects the phrases that boxes are looked for."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmat_dagster.interfaces import ChatReply, ChatTurn, ReplyPending, ReplySchema, RowError
from mmat_dagster.operators.looking import FAILED, looks_at, observe
from mmat_dagster.operators.observation import MAX_CHARS
from mmat_dagster.operators.phrases import PhrasedBoxes
from mmat_dagster.operators.scene_graph import MOST_OBJECTS, SceneGraph, parse
from mmat_dagster.operators.scene_graph_caption import SceneGraphCaption
from mmat_dagster.schema import Annotations, Box
from mmat_dagster.tools import Failed, Look, Operator, Sight
from tests.builders import make_sample
from tests.fakes import ScriptedChatModel
from tests.looking import Folder, hash_of, sample_of

GRAPH = {
    "objects": ["dog", "ball", "dog", " "],
    "attributes": [{"name": "dog", "value": "brown"}],
    "relationships": [{"dog": {"chases": ["ball"], "stands on": "grass"}}],
}
CAPTION = "A brown dog\nchases a ball."


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40), "green").save(tmp_path / "photo.png", exif=exif)
    return tmp_path / "photo.png"


class Detector(Operator):
    """Finds every phrase in the middle, and keeps what it was asked for."""

    name: ClassVar[str] = "label_bbox"
    purpose: ClassVar[str] = "finds"

    def __init__(self) -> None:
        self.max_chars = MAX_CHARS
        self.asked: list[tuple[str, ...]] = []

    @property
    def version(self) -> str:
        return "detector 1"

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        self.asked += [look.phrases for look in looks]
        return [Sight(text=json.dumps({phrase: [[0.4, 0.4, 0.6, 0.6]] for phrase in look.phrases})) for look in looks]


def look_at(photo: Path, **changes: object) -> Look:
    return Look(image=photo, sha256=hash_of(photo), **{"question": "What is the dog doing?", **changes})  # type: ignore[arg-type]


async def test_a_caption_is_asked_for_with_the_scene_graph_as_context(photo: Path) -> None:
    model = ScriptedChatModel(json.dumps(GRAPH), json.dumps({"caption": CAPTION}))
    (sight,) = await SceneGraphCaption(model, MAX_CHARS).look([look_at(photo)])
    assert isinstance(sight, Sight)
    assert sight.text == "A brown dog chases a ball."
    assert isinstance(sight.details, dict)
    assert sight.details["scene_graph"] == SceneGraph.model_validate(GRAPH).model_dump(mode="json")
    first, second = model.received
    assert second[: len(first)] == first
    assert "What is the dog doing?" in first[1].text
    (image,) = first[1].images
    assert (image.width, image.height, image.sha256) == (40, 60, hash_of(photo))
    assert [turn.role for turn in second[len(first) :]] == ["assistant", "user"]
    assert json.loads(second[2].text)["relationships"] == [{"dog": {"chases": ["ball"], "stands on": ["grass"]}}]
    assert [schema and schema.name for schema in model.schemas] == [None, "caption"]


@pytest.mark.parametrize("bad", ['{"objects": "dog"}', '{"objects": ["  "]}', "{}", "no JSON", "[]"])
async def test_a_malformed_graph_is_told_so_and_asked_for_once_more(photo: Path, bad: str) -> None:
    model = ScriptedChatModel(bad, json.dumps(GRAPH), json.dumps({"caption": CAPTION}))
    (sight,) = await SceneGraphCaption(model, MAX_CHARS).look([look_at(photo)])
    assert isinstance(sight, Sight)
    assert "cannot be used" in model.received[1][-1].text


async def test_a_caption_that_stays_malformed_fails_and_the_teacher_goes_on(photo: Path) -> None:
    model = ScriptedChatModel(json.dumps(GRAPH), '{"caption": " "}', '{"caption": " "}')
    told = await observe(SceneGraphCaption(model, MAX_CHARS), sample_of(photo), Folder())
    assert told == FAILED


async def test_what_the_model_refuses_fails_this_image_alone(photo: Path) -> None:
    refused = RowError(reason="teacher refused", detail="content filter")
    model = ScriptedChatModel(refused, json.dumps(GRAPH), ChatReply(text="", prompt_tokens=1, completion_tokens=0))
    model.replies.append(json.dumps({"caption": CAPTION}))
    failed, seen = await SceneGraphCaption(model, MAX_CHARS).look([look_at(photo), look_at(photo, question="Why?")])
    assert failed == Failed(detail="teacher refused: content filter")
    assert isinstance(seen, Sight)


async def test_an_image_that_cannot_be_sent_fails_before_anything_is_paid(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    model = ScriptedChatModel()
    caption = SceneGraphCaption(model, MAX_CHARS)
    for image in (tmp_path / "broken.png", tmp_path / "absent.png", b"bytes"):
        (failed,) = await caption.look([Look(image=image, sha256="0" * 64)])
        assert isinstance(failed, Failed)
    assert model.received == []


class Batching(ScriptedChatModel):
    """Has every reply come with a batch."""

    async def complete(
        self, messages: Sequence[ChatTurn], schema: ReplySchema | None = None, sample_number: int = 0
    ) -> ChatReply | RowError:
        self.received.append(tuple(messages))
        raise ReplyPending


async def test_in_batches_all_images_of_a_sample_are_asked_about_at_once(photo: Path) -> None:
    model = Batching()
    looks = [look_at(photo, question=question) for question in ("Who?", "Why?", "Where?")]
    for operator in (SceneGraphCaption(model, MAX_CHARS), PhrasedBoxes(Detector(), model)):
        with pytest.raises(ReplyPending):
            await operator.look(looks)
    assert len(model.received) == 6


async def test_an_empty_scene_is_a_scene(photo: Path) -> None:
    model = ScriptedChatModel('{"objects": []}', '{"caption": "An empty green field."}')
    (sight,) = await SceneGraphCaption(model, MAX_CHARS).look([look_at(photo, question="")])
    assert isinstance(sight, Sight)
    assert "What does the image show?" in model.received[0][1].text


def test_the_question_and_the_model_decide_a_caption(photo: Path) -> None:
    caption = SceneGraphCaption(ScriptedChatModel(), MAX_CHARS)
    assert caption.parameters(look_at(photo)) != caption.parameters(look_at(photo, question="Why?"))
    assert "scripted-4o temperature=0" in caption.version


@given(
    st.text(max_size=200)
    | st.lists(st.text(max_size=100), max_size=60).map(lambda names: json.dumps({"objects": names}))
)
def test_any_reply_is_a_graph_with_phrases_that_a_detector_takes_or_a_fault(text: str) -> None:
    graph = parse(text)
    if isinstance(graph, SceneGraph):
        assert len(graph.phrases) <= MOST_OBJECTS
        assert len(set(graph.phrases)) == len(graph.phrases)
        assert all(phrase and "\n" not in phrase for phrase in graph.phrases)


async def test_the_objects_of_the_graph_are_looked_for(photo: Path) -> None:
    model, detector = ScriptedChatModel(json.dumps(GRAPH)), Detector()
    told = await observe(PhrasedBoxes(detector, model), sample_of(photo), Folder())
    assert json.loads(told) == {"dog": [[0.4, 0.4, 0.6, 0.6]], "ball": [[0.4, 0.4, 0.6, 0.6]]}
    assert detector.asked == [("dog", "ball")]


async def test_phrases_that_are_named_need_no_graph(photo: Path) -> None:
    model, detector = ScriptedChatModel(), Detector()
    boxes = PhrasedBoxes(detector, model)
    await boxes.look([look_at(photo, phrases=("red car",))])
    assert (detector.asked, model.received) == ([("red car",)], [])
    keys = {boxes.parameters(look_at(photo, phrases=phrases)) for phrases in ((), ("car",), ("car", "dog"))}
    assert len(keys) == 3


async def test_a_graph_that_cannot_be_had_fails_its_image_alone(photo: Path) -> None:
    refused = RowError(reason="teacher refused", detail="no")
    model, detector = ScriptedChatModel(refused, json.dumps(GRAPH)), Detector()
    failed, seen = await PhrasedBoxes(detector, model).look([look_at(photo), look_at(photo, question="Why?")])
    assert failed == Failed(detail="teacher refused: no")
    assert isinstance(seen, Sight)


async def test_without_a_chat_model_the_sources_phrases_are_looked_for(photo: Path) -> None:
    detector = Detector()
    boxes = PhrasedBoxes(detector)
    marked = Annotations(boxes=tuple(Box(phrase=name, x1=0, y1=0, x2=9, y2=9) for name in ("sign", "door", "sign")))
    assert not boxes.offers(looks_at(make_sample(), Folder()))
    assert boxes.offers(looks_at(make_sample(annotations=marked), Folder()))
    await observe(boxes, sample_of(photo, annotations=marked), Folder())
    assert detector.asked == [("sign", "door")]
    assert "of the source" in boxes.version
