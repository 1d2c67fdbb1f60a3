"""Grounding DINO: a tiny random model is loaded and asked; what an answer means is told without any model."""

import json
import os
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from PIL import Image

from mmat_dagster import wire
from mmat_dagster.operators.findings import NO_THINGS
from mmat_dagster.operators.looking import observe
from mmat_dagster.operators.phrases import PhrasedBoxes
from mmat_dagster.schema import Annotations, Box, Observation
from mmat_dagster.tools import Sight
from resources.grounding_dino_model import Answer, GroundingDinoModel, asked_as, in_groups, things_in
from resources.label_bbox import GroundingDino
from resources.vision_worker import Glance
from tests.looking import Folder, sample_of
from tests.tiny_dino import save_tiny_dino

# Four pictures of three shapes.
SHAPES = ((120, 80), (64, 64), (50, 150), (300, 200))
PHRASES = (
    ("A dog", "the cat."),
    ("St. Bernard",),
    ("ball", "man", "ball"),
    ("fire truck", "fire hydrant", "ball", "man", "a person"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where a tiny model is saved."""
    is_wanted = os.environ.get("MMAT_REQUIRE_VISION") == "1"
    if not is_wanted and not (find_spec("torch") and find_spec("transformers")):
        pytest.skip("torch and transformers are not installed")
    return save_tiny_dino(tmp_path_factory.mktemp("dino"))


@pytest.fixture(scope="module")
def dino(folder: Path) -> GroundingDinoModel:
    """Return the tiny model, which answers whatever it is asked."""
    return load(folder)


def load(folder: Path, **settings: Any) -> GroundingDinoModel:
    arguments = {"box_threshold": 0.0, "text_threshold": 0.0, "max_boxes": 4} | settings
    return GroundingDinoModel(model=str(folder), revision=None, device="cpu", **arguments)


def glances() -> list[Glance]:
    return [
        Glance(image=noise(size, seed), phrases=phrases)
        for seed, (size, phrases) in enumerate(zip(SHAPES, PHRASES, strict=True))
    ]


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))


def boxes_of(sight: Sight) -> list[dict[str, Any]]:
    assert isinstance(sight.details, dict)
    boxes: Any = sight.details["boxes"]
    return list(boxes)


def test_boxes_are_told_by_phrase_in_the_order_asked_and_best_first(dino: GroundingDinoModel) -> None:
    for glance, sight in zip(glances(), dino.look(glances()), strict=True):
        told = json.loads(sight.text)
        assert list(told) == [phrase for phrase in dict.fromkeys(glance.phrases) if phrase in told]
        assert told
        for phrase, boxes in told.items():
            ours = [box for box in boxes_of(sight) if box["phrase"] == phrase]
            assert [box["score"] for box in ours] == sorted((box["score"] for box in ours), reverse=True)
            assert boxes[0] == pytest.approx(ours[0]["box"], abs=0.0051)
            assert 0 < len(boxes) <= len(ours) <= 4
            assert all(is_wire_box(box) for box in boxes)


def is_wire_box(box: Sequence[float]) -> bool:
    x1, y1, x2, y2 = box
    return 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1 and all(edge == round(edge, 2) for edge in box)


def test_images_find_the_same_in_company_and_alone(dino: GroundingDinoModel) -> None:
    together = dino.look(glances())
    for glance, sight in zip(glances(), together, strict=True):
        (alone,) = dino.look([glance])
        assert alone.text == sight.text
        for one, other in zip(boxes_of(alone), boxes_of(sight), strict=True):
            assert one["phrase"] == other["phrase"]
            assert one["box"] == pytest.approx(other["box"], abs=2e-4)
            assert one["score"] == pytest.approx(other["score"], abs=2e-4)


def test_images_of_like_shape_are_asked_in_one_pass(dino: GroundingDinoModel) -> None:
    passes: list[int] = []

    def counted(_: Any, __: Any, inputs: dict[str, Any]) -> None:
        passes.append(len(inputs["pixel_values"]))

    hook = dino._network.register_forward_pre_hook(counted, with_kwargs=True)
    try:
        dino.look([glance for glance in glances() for _ in range(2)])
    finally:
        hook.remove()
    assert sorted(passes) == [2, 2, 4]


def test_nobody_asked_means_no_pass_and_no_boxes(dino: GroundingDinoModel) -> None:
    none = Glance(image=noise((60, 60), 1))
    hook = dino._network.register_forward_pre_hook(lambda *_: pytest.fail("the model was asked"))
    try:
        assert dino.look([none]) == [Sight(text="{}", details={"boxes": []})]
        # Nothing is left of these for the model to read.
        assert dino.look([replace(none, phrases=(" . ?", "\ud800"))]) == [Sight(text=NO_THINGS, details={"boxes": []})]
        assert dino.look([]) == []
    finally:
        hook.remove()


def test_answers_that_are_no_numbers_are_dropped(dino: GroundingDinoModel) -> None:
    def spoil(_: Any, __: Any, outputs: Any) -> None:
        outputs.logits[:, 0::2] = float("nan")
        outputs.logits[:, 1::2, 1] = float("inf")
        outputs.pred_boxes[:, 1:10] = float("nan")

    hook = dino._network.register_forward_hook(spoil)
    try:
        sights = dino.look(glances())
    finally:
        hook.remove()
    assert all(len(boxes_of(sight)) <= 5 for sight in sights)
    assert all(0 < box["score"] < 1 and is_inside(box["box"]) for sight in sights for box in boxes_of(sight))
    assert any(boxes_of(sight) for sight in sights)


def is_inside(box: Sequence[float]) -> bool:
    return all(0 <= edge <= 1 for edge in box)


def test_nothing_above_the_threshold_is_told_in_words(folder: Path) -> None:
    strict = load(folder, box_threshold=1.0)
    assert [sight.text for sight in strict.look(glances())] == [NO_THINGS] * 4


def test_odd_phrases_are_told_as_they_were_asked(dino: GroundingDinoModel) -> None:
    phrases = ("St. Bernard?", "ball 大", 'the "red" truck', "man\nperson", "[SEP] dog", "man\nperson")
    (sight,) = dino.look([Glance(image=noise((120, 80), 3), phrases=phrases)])
    assert set(json.loads(sight.text)) <= {phrase.replace("\n", " ") for phrase in phrases}
    assert {box["phrase"] for box in boxes_of(sight)} <= set(phrases)
    assert "大" in sight.text or "ball 大" not in {box["phrase"] for box in boxes_of(sight)}


def test_more_phrases_than_one_text_holds_are_asked_in_several(folder: Path) -> None:
    dino = load(folder, max_boxes=1)
    # The tiny model reads letter by letter what it has no word for: 62 tokens are soon full.
    phrases = tuple(f"{word} {other}" for word in ("quartz", "jumpy", "vexing") for other in ("wolf", "flock", "black"))
    (sight,) = dino.look([Glance(image=noise((120, 80), 4), phrases=phrases)])
    groups = dino._groups(Glance(image=noise((1, 1), 0), phrases=phrases))
    assert len(groups) > 1
    assert [phrase for group in groups for phrase in group] == list(phrases)
    found = {box["phrase"] for box in boxes_of(sight)}
    assert all(found & set(group) for group in groups)


def test_a_phrase_longer_than_the_limit_is_cut_and_harms_no_other(dino: GroundingDinoModel) -> None:
    long = "dog " * 200
    (sight,) = dino.look([Glance(image=noise((120, 80), 5), phrases=(long.strip(), "ball"))])
    assert "ball" in json.loads(sight.text)


def test_weights_that_are_not_safetensors_are_refused(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load(tmp_path)


def test_two_spellings_of_one_phrase_both_find_it(dino: GroundingDinoModel) -> None:
    (sight,) = dino.look([Glance(image=noise((120, 80), 6), phrases=("Dog", "dog."))])
    told = json.loads(sight.text)
    assert told["Dog"] == told["dog."]


SPANS = {"fire truck": [1, 2], "fire hydrant": [4, 5], "ball": [7]}
BOX = [0.5, 0.5, 0.2, 0.4]


def find(scores: Sequence[float], box: Sequence[float] = BOX) -> Iterator[tuple[str, float | None]]:
    for thing in things_in(Answer(spans=SPANS, scores=[scores], boxes=[box]), 0.35, 0.25):
        yield thing.phrase, thing.score


def test_a_part_of_a_phrase_stands_for_it() -> None:
    assert list(find([0, 0.1, 0.6, 0, 0, 0.1, 0, 0.2])) == [("fire truck", 0.6)]


def test_a_box_that_spans_phrases_belongs_to_the_one_it_answers_best() -> None:
    assert list(find([0, 0.62, 0.2, 0, 0.55, 0.5, 0, 0])) == [("fire hydrant", 0.62)]


def test_tokens_that_end_a_phrase_name_nothing() -> None:
    assert list(find([0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.9, 0.1, 0.9])) == []


def test_a_box_below_the_threshold_is_dropped() -> None:
    assert list(find([0, 0.3, 0.34, 0, 0, 0, 0, 0])) == []
    assert list(find([0, 0.3, 0.36, 0, 0, 0, 0, 0])) == [("fire truck", 0.36)]


@pytest.mark.parametrize(
    "box",
    [
        [float("nan"), 0.5, 0.2, 0.2],
        [0.5, 0.5, float("inf"), 0.2],
        [0.5, 0.5, 0.0, 0.2],
        [0.5, 0.5, 0.2, -0.1],
        [1.4, 0.5, 0.2, 0.2],
    ],
    ids=["nan", "inf", "no width", "negative height", "outside"],
)
def test_what_is_no_box_inside_the_image_is_dropped(box: Sequence[float]) -> None:
    assert list(find([0, 0.9, 0.9, 0, 0, 0, 0, 0], box)) == []


def test_a_box_that_reaches_beyond_the_edge_is_clipped() -> None:
    (thing,) = things_in(Answer(spans=SPANS, scores=[[0.9] * 8], boxes=[[0.05, 0.95, 0.2, 0.2]]), 0.35, 0.25)
    assert thing.box == pytest.approx((0.0, 0.85, 0.15, 1.0))


def test_texts_are_grouped_in_their_order_as_far_as_they_fit() -> None:
    assert in_groups([("a", 2), ("b", 3), ("c", 4), ("d", 9), ("e", 1)], 5) == [["a", "b"], ["c"], ["d"], ["e"]]
    assert in_groups([], 5) == []


def test_a_phrase_is_asked_without_what_would_end_it() -> None:
    assert asked_as("  St. Bernard?\n(a Dog) ") == "st bernard (a dog)"
    assert asked_as(" .?\x00\ud800") == ""


async def test_the_whole_path_tells_boxes_of_a_sample_from_a_worker_process(folder: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "box_threshold": 0.0,
        "text_threshold": 0.0,
        "max_boxes": 2,
        "device": "cpu",
        "batch_size": 4,
    }
    detector = GroundingDino(repository=str(folder), **settings)
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        noise(SHAPES[number], number).save(path)
    named = [(number, phrase) for number in range(4) for phrase in ("dog", "ball")]
    marked = tuple(Box(phrase=phrase, image=number, x1=0, y1=0, x2=9, y2=9) for number, phrase in named)
    sample = sample_of(*paths, annotations=Annotations(boxes=marked))
    try:
        told = await observe(PhrasedBoxes(detector), sample, Folder())
    finally:
        detector.teardown_after_execution(dg.build_init_resource_context())
    texts = re.split(r"(?:^|; )image \d: ", told)[1:]
    assert len(texts) == 4
    for text in texts:
        boxes = [box for found in json.loads(text).values() for box in found]
        assert boxes
        assert all(0 <= edge <= 1 and round(edge, 2) == edge for box in boxes for edge in box)
    assert wire.render_results([Observation(tool="label_bbox", text=told)])


def test_other_weights_in_the_same_folder_are_another_version(tmp_path: Path) -> None:
    if not (find_spec("torch") and find_spec("transformers")):
        pytest.skip("torch and transformers are not installed")
    (tmp_path / "model.safetensors").write_bytes(b"old")
    before = GroundingDino(repository=str(tmp_path)).version
    assert GroundingDino(repository=str(tmp_path)).version == before
    (tmp_path / "model.safetensors").write_bytes(b"newer")
    assert GroundingDino(repository=str(tmp_path)).version != before
