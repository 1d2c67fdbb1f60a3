"""The likeness of pictures: what it survives, and what it keeps apart."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmat_dagster.decontamination.pictures import PictureSearch
from mmat_dagster.likeness import LIKENESS_BYTES, difference, has_contrast, hashes, likeness
from mmat_dagster.pixels import read_rgb
from tests.pictures import as_jpeg, bordered, photo, scaled, table, trimmed

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"

PRICES = ["Fares", "bus 2.50", "tram 3.75", "ferry 11.20", "taxi 48.00"]
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 90": lambda image: as_jpeg(image, 90),
    "JPEG of quality 50": lambda image: as_jpeg(image, 50),
    "half the size": lambda image: scaled(image, 0.5),
    "twice the size": lambda image: scaled(image, 2),
    "an odd size as JPEG": lambda image: as_jpeg(scaled(image, 0.77), 75),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "a little darker": lambda image: image.point(lambda level: level * 0.9),
}
EDGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "1 % cut off": lambda image: trimmed(image, 0.01),
    "2 % cut off": lambda image: trimmed(image, 0.02),
    "2 % cut off one side": lambda image: image.crop((0, 0, round(image.width * 0.98), image.height)),
    "1 % of border": lambda image: bordered(image, 0.01),
}


def finds(image: Image.Image, changed: Image.Image) -> bool:
    return bool(PictureSearch([likeness(image)]).find(likeness(changed)))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("image", [photo(1), table(PRICES)], ids=["photo", "table"])
def test_a_picture_is_found_again_after(image: Image.Image, change: str) -> None:
    assert finds(image, CHANGES[change](image))


@pytest.mark.parametrize("change", EDGES)
def test_a_photo_is_found_again_with(change: str) -> None:
    assert finds(photo(2), EDGES[change](photo(2)))


def test_a_table_with_one_other_digit_is_another_picture() -> None:
    other = [*PRICES[:-1], "taxi 43.00"]
    assert difference(likeness(table(PRICES)), likeness(table(other))) is None


def test_the_same_bytes_differ_by_nothing() -> None:
    one = likeness(photo(3))
    assert difference(one, one) == pytest.approx(0, abs=0.01)
    assert [score for _, score in PictureSearch([one]).find(one)] == pytest.approx([1.0], abs=0.001)


def test_pictures_of_one_colour_are_like_none() -> None:
    blank = likeness(Image.new("RGB", (100, 100), "white"))
    assert not has_contrast(blank)
    assert PictureSearch([blank]).find(blank) == []


def test_another_shape_is_another_picture() -> None:
    wide = photo(4).resize((640, 240))
    assert not finds(photo(4), wide)


def test_a_search_without_pictures_finds_none() -> None:
    assert PictureSearch([]).find(likeness(photo(5))) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (3, 2)])
def test_every_size_has_a_likeness_of_the_same_length(size: tuple[int, int]) -> None:
    assert len(likeness(Image.new("RGB", size, "red"))) == LIKENESS_BYTES


def test_other_modes_are_read_as_rgb() -> None:
    assert likeness(photo(6).convert("L")) == likeness(photo(6).convert("L").convert("RGB"))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    quality=st.integers(50, 95),
    factor=st.floats(0.5, 2.0),
)
def test_encoding_and_size_do_not_matter(seed: int, quality: int, factor: float) -> None:
    image = photo(seed)
    assert finds(image, as_jpeg(scaled(image, factor), quality))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(10_001, 20_000))
def test_different_photos_are_never_alike(one: int, other: int) -> None:
    assert not finds(photo(one), photo(other))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 500), min_size=1, max_size=8))
def test_a_hash_does_not_depend_on_its_neighbours(seeds: list[int]) -> None:
    likenesses = [likeness(photo(seed)) for seed in seeds]
    alone = [hashes([one]) for one in likenesses]
    together = hashes(likenesses)
    assert (together.bits == np.concatenate([one.bits for one in alone], axis=1)).all()
    assert (together.sure == np.concatenate([one.sure for one in alone], axis=1)).all()


def test_published_tables_are_told_apart_and_found_again() -> None:
    """200 of TabMWP's tables: thousands of them differ in a few digits only."""
    tables = sorted((DATA / "sources" / "tabmwp" / "tables").glob("*.png"))[:200]
    if not tables:
        pytest.skip("TabMWP's tables are not there")
    images = {path.read_bytes(): read_rgb(path) for path in tables}
    search = PictureSearch([likeness(image) for image in images.values()])
    found = [{number for number, _ in search.find(likeness(as_jpeg(image, 60)))} for image in images.values()]
    assert all(number in others for number, others in enumerate(found))
    # Of other bytes and yet the same: 36655 and 7941 are drawn from the same table.
    assert sum(len(others) - 1 for others in found) <= 2
