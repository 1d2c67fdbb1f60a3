"""Observations are one line, pictures are upright RGB, pieces are read in order, annotations are told as they are."""

import json
from itertools import chain
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmat_dagster import wire
from mmat_dagster.operators.looking import looks_at, observe
from mmat_dagster.operators.observation import CUT, by_image, one_line
from mmat_dagster.operators.reading_order import Piece, as_text, in_lines
from mmat_dagster.operators.source_boxes import SourceBoxes
from mmat_dagster.operators.source_caption import SourceCaption
from mmat_dagster.pixels import read_rgb
from mmat_dagster.schema import Annotations, Box, ImageRef, Observation
from tests.builders import make_sample
from tests.looking import Folder

ORIENTATION = 0x0112

texts = st.text(st.characters(), max_size=60)
edges = st.floats(0, 400)
pieces = st.builds(
    lambda x, y, width, height, text, slope: Piece(x1=x, y1=y, x2=x + width, y2=y + height, text=text, slope=slope),
    edges,
    edges,
    edges,
    st.floats(0, 60),
    st.sampled_from(["7", "of", "three short words", "a line of prose that is long enough", "left | right"]),
    st.floats(-0.3, 0.3),
)


@given(texts)
def test_an_observation_is_one_line_that_any_file_can_hold(text: str) -> None:
    line = one_line(text)
    assert line.splitlines() in ([], [line])
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in line)
    assert line.encode("utf-8").decode("utf-8") == line
    assert one_line(line) == line


@given(st.text(max_size=300), st.integers(10, 200))
def test_an_observation_keeps_its_limit_and_says_where_it_was_cut(text: str, limit: int) -> None:
    line, whole = one_line(text, limit), one_line(text, 1000)
    assert len(line) <= limit
    assert line == whole if len(whole) <= limit else line.endswith(CUT)
    assert whole.startswith(line.removesuffix(CUT))


def test_every_image_of_a_sample_is_told_of_even_where_the_first_one_says_much() -> None:
    assert by_image(["a\nb"]) == "a b"
    assert by_image(["a", "b"]) == "image 1: a; image 2: b"
    told = by_image(["x" * 5000, "the second", "y" * 5000], max_chars=300)
    assert len(told) <= 300
    assert "; image 2: the second; image 3: yyy" in told
    assert told.count(CUT) == 2


def test_the_sources_operators_have_the_papers_names() -> None:
    assert (SourceCaption.name, SourceBoxes.name) == ("image_caption", "label_bbox")


@given(st.lists(pieces, max_size=25), st.randoms(use_true_random=False))
def test_reading_order_holds_every_piece_once_whatever_order_they_came_in(found: list[Piece], chance: Random) -> None:
    lines = in_lines(found)
    assert sorted(chain.from_iterable(lines)) == sorted(found)
    shuffled = list(found)
    chance.shuffle(shuffled)
    assert in_lines(shuffled) == lines
    assert all(line for line in lines)


def test_the_cells_of_a_table_are_read_row_by_row() -> None:
    cells = [_at(200, 42, "Temperature"), _at(10, 78, "Monday"), _at(10, 40, "Day"), _at(205, 80, "6")]
    assert as_text(in_lines(cells)) == "Day | Temperature; Monday | 6"


def test_the_rows_of_a_tilted_page_stay_rows() -> None:
    slope = 0.08
    rows = [("January", "12", "17"), ("February", "13", "18"), ("March", "14", "19")]
    cells = [
        Piece(
            x1=x,
            y1=20 * row + slope * x,
            x2=x + 90,
            y2=20 * row + slope * (x + 90) + 16,
            text=text,
            slope=slope,
        )
        for row, texts_of_row in enumerate(rows)
        for x, text in zip((0, 400, 800), texts_of_row, strict=True)
    ]
    assert as_text(in_lines(cells)) == "January | 12 | 17; February | 13 | 18; March | 14 | 19"


def test_text_that_runs_upwards_does_not_tie_the_lines_beside_it_together() -> None:
    axis = Piece(x1=0, y1=0, x2=18, y2=200, text="Visitors per day")
    labels = [_at(40, y, str(300 - y)) for y in (0, 50, 90, 150)]
    lines = in_lines([axis, *labels])
    assert sorted(map(len, lines)) == [1] * 5
    assert [line[0].text for line in lines if line[0] != axis] == ["300", "250", "210", "150"]


def test_a_large_price_does_not_tie_two_lines_together() -> None:
    price = Piece(x1=200, y1=5, x2=260, y2=65, text="9")
    lines = in_lines([_at(10, 25, "special offer", height=12), price, _at(10, 52, "today only", height=12)])
    assert as_text(lines) == "special offer | 9; today only"


def test_columns_of_prose_are_read_one_after_the_other_between_what_runs_across() -> None:
    left = ["The heron waits at the shore", "until a fish comes near and", "then strikes with great speed"]
    right = ["Its nest is built of dry sticks", "high above the ground in old", "trees that stand by the water"]
    prose = [
        Piece(x1=x, y1=40 + 22 * row, x2=x + 250, y2=56 + 22 * row, text=text)
        for x, column in ((0, left), (300, right))
        for row, text in enumerate(column)
    ]
    title = Piece(x1=120, y1=0, x2=430, y2=30, text="The grey heron and its young")
    foot = Piece(x1=200, y1=140, x2=340, y2=150, text="page 7")
    expected = [title.text, *left, *right, foot.text]
    assert [piece.text for line in in_lines([foot, *prose, title]) for piece in line] == expected


def test_a_table_with_long_cells_is_still_read_row_by_row() -> None:
    birds = [("Heron of the north shore", "waits"), ("Common house sparrow", "hops"), ("Little ringed plover", "runs")]
    cells = [
        Piece(x1=x, y1=30 * row, x2=x + 8 * len(text), y2=30 * row + 18, text=text)
        for row, texts_of_row in enumerate(birds)
        for x, text in zip((0, 300), texts_of_row, strict=True)
    ]
    expected = "Heron of the north shore | waits; Common house sparrow | hops; Little ringed plover | runs"
    assert as_text(in_lines(cells)) == expected


async def test_the_sources_boxes_are_told_by_phrase_as_shares_of_the_image() -> None:
    boxes = (
        Box(phrase="company", x1=70, y1=21, x2=124, y2=23),
        Box(phrase="name of\nthe “shop”", x1=190, y1=-5, x2=10, y2=400),
        Box(phrase="company", x1=0, y1=0, x2=200, y2=100),
    )
    sample = make_sample(annotations=Annotations(boxes=boxes))
    assert SourceBoxes().offers(looks_at(sample, Folder()))
    told = await observe(SourceBoxes(), sample, Folder())
    assert told == (
        '{"company": [[0.35, 0.21, 0.62, 0.23], [0.0, 0.0, 1.0, 1.0]], "name of the “shop”": [[0.05, 0.0, 0.95, 1.0]]}'
    )


async def test_the_boxes_of_several_images_are_told_by_image() -> None:
    images = (_image(100, 100), _image(200, 400))
    boxes = (Box(phrase="dog", image=1, x1=20, y1=40, x2=100, y2=200),)
    told = await observe(SourceBoxes(), make_sample(images=images, annotations=Annotations(boxes=boxes)), Folder())
    first, _, second = told.partition("; ")
    assert json.loads(first.removeprefix("image 1: ")) == {}
    assert json.loads(second.removeprefix("image 2: ")) == {"dog": [[0.1, 0.1, 0.5, 0.5]]}


async def test_a_box_on_an_image_that_is_not_there_is_a_broken_record() -> None:
    sample = make_sample(annotations=Annotations(boxes=(Box(phrase="dog", image=1, x1=0, y1=0, x2=9, y2=9),)))
    with pytest.raises(ValueError, match=r"a box lies on image 1 \(from 0\) of 1"):
        await observe(SourceBoxes(), sample, Folder())


async def test_the_sources_caption_is_told_in_one_line() -> None:
    sample = make_sample(annotations=Annotations(caption=" A heron\r\nat the\u2028shore \ud800 waits.\n"))
    assert SourceCaption().offers(looks_at(sample, Folder()))
    assert await observe(SourceCaption(), sample, Folder()) == "A heron at the shore waits."
    assert await observe(SourceCaption(max_chars=14), sample, Folder()) == f"A heron{CUT}"


def test_nothing_is_offered_where_the_source_says_nothing() -> None:
    for silent in (Annotations(), Annotations(caption=" \n"), Annotations(caption="")):
        assert not SourceCaption().offers(looks_at(make_sample(annotations=silent), Folder()))
        assert not SourceBoxes().offers(looks_at(make_sample(annotations=silent), Folder()))


async def test_what_the_operators_say_fits_into_the_wire_form() -> None:
    boxes = (Box(phrase="a\n\nb", x1=1, y1=2, x2=3, y2=4),)
    sample = make_sample(annotations=Annotations(caption="one\ntwo", boxes=boxes))
    told = [
        Observation(tool=operator.name, text=await observe(operator, sample, Folder()))
        for operator in (SourceCaption(), SourceBoxes())
    ]
    assert wire.render_results(told).count("\n") == 3


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("1", 1, "png", (255, 255, 255)),
        ("L", 200, "png", (200, 200, 200)),
        ("LA", (90, 0), "png", (255, 255, 255)),
        ("RGBA", (0, 0, 0, 0), "png", (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), "png", (255, 0, 0)),
        ("CMYK", (0, 255, 255, 0), "tif", (255, 0, 0)),
        ("I;16", 32768, "png", (128, 128, 128)),
        ("I;16", 65535, "png", (255, 255, 255)),
        ("I;16B", 32768, "tif", (128, 128, 128)),
        ("I", 200, "tif", (200, 200, 200)),
        ("I", 65535, "tif", (255, 255, 255)),
        ("F", 0.5, "tif", (128, 128, 128)),
    ],
)
def test_pixels_of_every_kind_become_rgb(
    tmp_path: Path, mode: str, colour: float | tuple[int, ...], suffix: str, expected: tuple[int, int, int]
) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.new(mode, (5, 4), colour).save(path)
    picture = read_rgb(path)
    assert (picture.mode, picture.size, picture.getpixel((2, 2))) == ("RGB", (5, 4), expected)


def test_a_transparent_palette_stands_on_white(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.putpixel((1, 1), 1)
    picture.save(tmp_path / "palette.png", transparency=0)
    found = read_rgb(tmp_path / "palette.png")
    assert (found.getpixel((0, 0)), found.getpixel((1, 1))) == ((255, 255, 255), (255, 0, 0))


def test_an_animation_is_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert read_rgb(tmp_path / "moving.gif").getpixel((3, 3)) == (255, 0, 0)


def test_a_photo_stands_upright_whatever_way_the_camera_was_held(tmp_path: Path) -> None:
    stored = Image.new("RGB", (20, 10), "white")
    stored.paste("black", (0, 0, 20, 5))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored.save(tmp_path / "turned.png", exif=exif)
    upright = read_rgb(tmp_path / "turned.png")
    assert upright.size == (10, 20)
    assert (upright.getpixel((8, 10)), upright.getpixel((1, 10))) == ((0, 0, 0), (255, 255, 255))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no picture",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00",
        b"P5 99999999 99999999 255\n",
        b"P5 1 1 0\n\x00",
    ],
)
def test_a_broken_file_is_an_os_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(OSError, match=r"."):
        read_rgb(tmp_path / "broken.png")


def _at(x: float, y: float, text: str, height: float = 16) -> Piece:
    return Piece(x1=x, y1=y, x2=x + 9 * len(text), y2=y + height, text=text)


def _image(width: int, height: int) -> ImageRef:
    return ImageRef(home="source", path="x.png", sha256="0" * 64, width=width, height=height)
