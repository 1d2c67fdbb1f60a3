"""The command `operator` shows what an operator sees, one line an image, and says what is wrong in one sentence."""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import dagster as dg
import pytest
from PIL import Image

from mmat_dagster.cli import run
from mmat_dagster.tools import Failed, Look, Operator, Sight
from resources.operators import OPERATORS
from tests.portrait import draw_face, with_faces

ASKED: list[Look] = []


class Teller(dg.ConfigurableResource[Operator], Operator):
    """Tells what it was asked, and fails at large images."""

    name: ClassVar[str] = "teller"
    purpose: ClassVar[str] = "tells"

    max_chars: int = 40

    @property
    def version(self) -> str:
        return "teller 1"

    def parameters(self, look: Look) -> str:
        return f"{look.question} {look.phrases}"

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        ASKED.extend(looks)
        return [self._tell(look) for look in looks]

    def _tell(self, look: Look) -> Sight | Failed:
        assert isinstance(look.image, Path)
        if look.image.name == "bad.png":
            return Failed(detail="too bad")
        return Sight(text=f"{look.image.name}\n{look.question} {', '.join(look.phrases)}", details={"seen": True})


@pytest.fixture(autouse=True)
def _deployment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ASKED.clear()
    monkeypatch.setenv("MMAT_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("MMAT_WORKERS", "1")
    monkeypatch.setitem(OPERATORS, "teller", {"teller": lambda _: Teller()})
    for number, name in enumerate(("good", "better", "bad"), 1):
        Image.new("RGB", (number, 9)).save(tmp_path / f"{name}.png")


def test_a_real_operator_tells_what_it_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_faces((300, 300), draw_face(), ((90, 70),)).save(tmp_path / "face.png")
    assert run(["operator", "face_detection", str(tmp_path / "face.png")]) == 0
    told = capsys.readouterr().out
    assert told.startswith("1 face: [")
    assert told.count("\n") == 1


def test_several_images_are_told_in_their_order_with_what_was_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [str(tmp_path / f"{name}.png") for name in ("good", "better")]
    assert run(["operator", "teller", *images, "--question", "Why?", "--phrase", "dog", "--phrase", "cat"]) == 0
    assert capsys.readouterr().out == f"{images[0]}: good.png Why? dog, cat\n{images[1]}: better.png Why? dog, cat\n"


def test_scripts_get_one_object_a_line_and_failures_beside_good_neighbours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("bad.png", "absent.png", "good.png")
    assert run(["operator", "teller", *(str(tmp_path / name) for name in names), "--json"]) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each.get("error") for each in told] == ["too bad", "No such file or directory", None]
    assert told[2] == {
        "image": str(tmp_path / "good.png"),
        "operator": "teller",
        "version": "teller 1",
        "observation": "good.png",
        "details": {"seen": True},
    }


def test_a_failure_goes_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["operator", "teller", str(tmp_path / "bad.png")]) == 1
    assert capsys.readouterr() == ("", f"{tmp_path / 'bad.png'}: teller failed: too bad\n")


def test_a_long_observation_is_cut_as_in_a_dialogue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["operator", "teller", str(tmp_path / "good.png"), "--question", "why " * 20]) == 0
    told = capsys.readouterr().out.rstrip("\n")
    assert (len(told) <= 40, told.endswith(" [cut]")) == (True, True)


def test_what_was_seen_is_kept_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["operator", "teller", str(tmp_path / "good.png")]
    for arguments, looks in ((["--no-cache"], 1), ([], 2), ([], 2), (["--no-cache"], 3), (["--phrase", "dog"], 4)):
        assert run([*command, *arguments]) == 0
        assert len(ASKED) == looks
    connection = sqlite3.connect(tmp_path / "store" / "operators.sqlite")
    assert connection.execute("SELECT operator, version FROM sightings").fetchall() == [("teller", "teller 1")] * 2
    connection.close()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["plates", "x.png"],
            "there is no operator 'plates': there are image_caption, ",
        ),
        (["label_bbox", "x.png"], "this backend of label_bbox tells what a source has annotated"),
        (["image_caption", "x.png"], "this backend of image_caption tells what a source has annotated"),
        (
            ["label_bbox", "x.png", "--backend", "grounding_dino"],
            "label_bbox has nothing to look for: name things",
        ),
        (["ocr", "x.png", "--backend", "magic"], "MMAT_OPERATORS: ocr has no backend 'magic'"),
        (["ocr", "x.png", "--backend", "http"], "MMAT_OPERATORS: ocr=http needs MMAT_OPERATOR_URL"),
        (["ocr", "x.png", "--backend", "off"], "there is no operator 'ocr': it is off"),
        (["ocr", "x.png", "--backend", "paddleocr"], "PaddleOCR needs the package paddleocr"),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["operator", *arguments]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"error: {told}")
    assert error.count("\n") == 1
