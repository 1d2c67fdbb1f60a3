"""Images are sent as they are where they fit, and else as a copy that is made once."""

import hashlib
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin

from mmat_dagster.chat.models import tiles as tokens_of
from mmat_dagster.chat.scaling import (
    TOLERANCE,
    UNREADABLE,
    ImageChanged,
    PreparedImage,
    ShelfUnusable,
    fitted_size,
    prepare,
)
from mmat_dagster.pixels import read_rgb

sides = st.integers(1, 12_000)
limits = st.integers(1, 4096)
rules = st.booleans()


# Sizes


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((520, 520), (512, 512)),
        ((514, 520), (506, 512)),
        ((640, 480), (640, 480)),
        ((600, 600), (600, 600)),
        ((1024, 768), (1024, 768)),
        ((1920, 1080), (1365, 768)),
        ((4000, 3000), (1024, 768)),
        ((1100, 700), (1024, 652)),
        ((1, 9000), (1, 2048)),
    ],
)
def test_a_picture_is_scaled_to_what_gpt4o_looks_at(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fitted_size(*size, max_side=2048, tiles=True) == fitted


@pytest.mark.parametrize(
    ("size", "fitted"), [((520, 520), (520, 520)), ((4000, 3000), (2048, 1536)), ((30, 3000), (20, 2048))]
)
def test_without_tiles_only_the_longest_side_counts(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fitted_size(*size, max_side=2048, tiles=False) == fitted


@given(sides, sides, limits, rules)
@example(565, 1150, 2048, True)
@example(1130, 628, 1129, True)
def test_a_fitted_size_fits(width: int, height: int, max_side: int, tiles: bool) -> None:
    fitted = fitted_size(width, height, max_side=max_side, tiles=tiles)
    assert fitted_size(*fitted, max_side=max_side, tiles=tiles) == fitted


@given(sides, sides, limits, rules)
def test_no_picture_is_enlarged_and_none_exceeds_its_limit(width: int, height: int, max_side: int, tiles: bool) -> None:
    across, down = fitted_size(width, height, max_side=max_side, tiles=tiles)
    assert 1 <= across <= width
    assert 1 <= down <= height
    assert max(across, down) <= max_side
    assert not tiles or (max(across, down) <= 2048 and min(across, down) <= 768)


@given(sides, sides, limits, rules)
def test_tokens_never_rise(width: int, height: int, max_side: int, tiles: bool) -> None:
    fitted = fitted_size(width, height, max_side=max_side, tiles=tiles)
    assert tokens_of(*fitted, "high") <= tokens_of(width, height, "high")


@given(sides, sides)
def test_no_row_and_no_column_of_tiles_that_is_left_could_be_saved_by_little(width: int, height: int) -> None:
    fitted = fitted_size(width, height, max_side=2048, tiles=True)
    for side in fitted:
        border = side // 512 * 512
        assert side == border or border < side * (1 - TOLERANCE)


@given(sides, sides, limits)
def test_a_border_costs_at_most_the_tolerance_once_for_either_side(width: int, height: int, max_side: int) -> None:
    plain = min(Fraction(1), Fraction(max_side, max(width, height)), Fraction(2048, max(width, height)))
    plain = min(plain, Fraction(768, min(width, height)))
    across, down = fitted_size(width, height, max_side=max_side, tiles=True)
    least = plain * (1 - TOLERANCE) ** 2
    assert across + Fraction(1, 2) >= width * least
    assert down + Fraction(1, 2) >= height * least


@given(sides, sides, limits, rules)
def test_the_shape_is_kept_to_the_pixel(width: int, height: int, max_side: int, tiles: bool) -> None:
    across, down = fitted_size(width, height, max_side=max_side, tiles=tiles)
    assume(min(across, down) > 1)
    assert abs(across * height - down * width) <= Fraction(width + height, 2)


@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 12), limits, rules)
def test_a_larger_copy_of_a_picture_is_never_sent_smaller(
    width: int, height: int, times: int, max_side: int, tiles: bool
) -> None:
    small = fitted_size(width * times, height * times, max_side=max_side, tiles=tiles)
    large = fitted_size(width * (times + 1), height * (times + 1), max_side=max_side, tiles=tiles)
    assert small[0] <= large[0]
    assert small[1] <= large[1]


@given(sides, sides, limits, limits, rules)
def test_a_wider_limit_never_makes_a_picture_smaller(width: int, height: int, one: int, two: int, tiles: bool) -> None:
    tight = fitted_size(width, height, max_side=min(one, two), tiles=tiles)
    wide = fitted_size(width, height, max_side=max(one, two), tiles=tiles)
    assert tight[0] <= wide[0]
    assert tight[1] <= wide[1]


# Bytes


def sha_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def prepared(path: Path, max_side: int = 64, shelf: Path | None = None, *, tiles: bool = False) -> PreparedImage:
    return prepare(path, sha_of(path), max_side=max_side, tiles=tiles, shelf=shelf)


def opened(image: PreparedImage) -> Image.Image:
    picture = Image.open(BytesIO(image.content))
    picture.load()
    return picture


def is_near(one: object, other: tuple[int, ...], by: int = 8) -> bool:
    assert isinstance(one, tuple)
    return len(one) == len(other) and all(abs(a - b) <= by for a, b in zip(one, other, strict=True))


def halves(mode: str, left: object, right: object, size: tuple[int, int] = (96, 48)) -> Image.Image:
    """Return a picture whose left half has one colour and whose right half has another."""
    picture = Image.new(mode, size, left)  # type: ignore[arg-type]
    picture.paste(right, (size[0] // 2, 0, *size))  # type: ignore[arg-type]
    return picture


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


@pytest.mark.parametrize(
    ("name", "media_type"), [("a.jpg", "image/jpeg"), ("a.png", "image/png"), ("a.webp", "image/webp")]
)
def test_a_picture_that_fits_is_sent_as_it_is(tmp_path: Path, name: str, media_type: str) -> None:
    path = tmp_path / name
    halves("RGB", "red", "blue").save(path, exif=turned(1))
    shelf = tmp_path / "shelf"
    expected = PreparedImage(media_type=media_type, content=path.read_bytes(), width=96, height=48)
    assert prepared(path, 96, shelf) == expected
    assert not shelf.exists()


def test_the_bytes_tell_the_type_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    halves("RGB", "red", "blue").save(path, "PNG")
    assert prepared(path, 96).media_type == "image/png"


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.bmp", "a.gif", "a.tif"])
def test_a_large_picture_of_any_type_becomes_a_smaller_jpeg(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    halves("RGB", (200, 30, 30), (30, 30, 200)).save(path)
    image = prepared(path)
    picture = opened(image)
    assert (image.media_type, image.width, image.height) == ("image/jpeg", 64, 32)
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (64, 32))
    assert is_near(picture.getpixel((10, 16)), (200, 30, 30))
    assert is_near(picture.getpixel((54, 16)), (30, 30, 200))


@pytest.mark.parametrize("name", ["a.bmp", "a.gif", "a.tif"])
def test_a_rare_type_becomes_a_jpeg_of_its_own_size(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    halves("RGB", "red", "blue").save(path)
    assert (prepared(path, 96).media_type, opened(prepared(path, 96)).size) == ("image/jpeg", (96, 48))


def test_colours_keep_their_edges(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    halves("RGB", "red", "blue", (98, 48)).save(path)  # the edge at 49 lies between two pixels that would share one
    picture = opened(prepared(path, 98))
    assert is_near(picture.getpixel((48, 20)), (255, 0, 0), by=24)
    assert is_near(picture.getpixel((49, 20)), (0, 0, 255), by=24)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    halves("RGBA", (0, 0, 0, 0), (0, 0, 0, 255)).convert(mode).save(path)
    picture = opened(prepared(path))
    assert is_near(picture.getpixel((10, 16)), (255, 255, 255))
    assert is_near(picture.getpixel((54, 16)), (0, 0, 0))


def test_a_palette_with_one_transparent_colour_is_laid_on_white(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture = halves("P", 0, 1)
    picture.putpalette([10, 20, 30, 0, 128, 0])
    picture.save(path, transparency=0)
    drawn = opened(prepared(path))
    assert is_near(drawn.getpixel((10, 16)), (255, 255, 255))
    assert is_near(drawn.getpixel((54, 16)), (0, 128, 0))


def test_sixteen_bits_keep_their_shades(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    halves("I", 0x4000, 0xC000).convert("I;16").save(path)
    picture = opened(prepared(path))
    assert is_near(picture.getpixel((10, 16)), (64, 64, 64))
    assert is_near(picture.getpixel((54, 16)), (192, 192, 192))


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGB"])
def test_a_jpeg_of_any_mode_is_drawn_as_the_operators_see_it(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.jpg"
    halves("RGB", (200, 180, 40), (40, 60, 160), (960, 480)).convert(mode).save(path, quality=95)
    seen, sent = read_rgb(path), opened(prepared(path))
    for across in (10, 54):
        pixel = seen.getpixel((across * 15, 240))
        assert isinstance(pixel, tuple)
        assert is_near(sent.getpixel((across, 16)), pixel)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.png"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_picture_is_sent_upright(tmp_path: Path, name: str, orientation: int) -> None:
    path = tmp_path / name
    halves("RGB", "red", "blue").save(path, exif=turned(orientation))
    image, seen = prepared(path, 96), read_rgb(path)
    assert (image.media_type, (image.width, image.height)) == ("image/jpeg", seen.size)
    sent = opened(image)
    assert sent.size == seen.size
    assert ExifTags.Base.Orientation not in sent.getexif()
    assert is_near(sent.getpixel((5, 5)), (255, 0, 0) if is_near(seen.getpixel((5, 5)), (255, 0, 0)) else (0, 0, 255))


def test_a_large_turned_photo_is_measured_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    halves("RGB", "red", "blue", (1600, 1200)).save(path, exif=turned(6))
    image = prepared(path, 2048, tiles=True)
    assert (image.width, image.height) == opened(image).size == (768, 1024)


def test_a_png_that_tells_its_turn_in_xmp_is_sent_upright(tmp_path: Path) -> None:
    path, notes = tmp_path / "a.png", PngImagePlugin.PngInfo()
    notes.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="6"/>', zip=True)
    halves("RGB", "red", "blue").save(path, pnginfo=notes)
    assert opened(prepared(path, 96)).size == read_rgb(path).size == (48, 96)


def test_an_orientation_that_means_nothing_turns_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    halves("RGB", "red", "blue").save(path, exif=turned(0))
    assert prepared(path, 96).content == path.read_bytes()


def test_of_a_picture_that_holds_several_the_first_is_sent(tmp_path: Path) -> None:
    for name in ("a.mpo", "a.gif", "a.tif"):
        path = tmp_path / name
        first, second = halves("RGB", "red", "red"), halves("RGB", "blue", "blue")
        first.save(path, save_all=True, append_images=[second])
        image = prepared(path)
        assert image.media_type == "image/jpeg"
        assert is_near(opened(image).getpixel((30, 10)), (255, 0, 0))


# The shelf


def large(path: Path, colour: str = "red") -> Path:
    halves("RGB", colour, "blue").save(path)
    return path


def copies(shelf: Path) -> list[Path]:
    return sorted(path for path in shelf.rglob("*") if path.is_file())


def test_a_copy_lies_under_the_hash_of_the_original_and_its_own_size(tmp_path: Path) -> None:
    path, shelf = large(tmp_path / "a.png"), tmp_path / "shelf"
    sha, image = sha_of(path), prepared(path, shelf=shelf)
    place = shelf / sha[:2] / f"{sha}-64x32.jpg"
    assert copies(shelf) == [place]
    assert place.read_bytes() == image.content
    assert place.stat().st_mode & 0o777 == 0o644


def test_a_copy_is_made_once(tmp_path: Path) -> None:
    path, shelf = large(tmp_path / "a.png"), tmp_path / "shelf"
    prepared(path, shelf=shelf)
    other = BytesIO()
    Image.new("RGB", (64, 32), "green").save(other, "JPEG")
    copies(shelf)[0].write_bytes(other.getvalue())
    assert prepared(path, shelf=shelf).content == other.getvalue()


def test_the_same_picture_elsewhere_shares_its_copy_and_another_size_has_its_own(tmp_path: Path) -> None:
    path, shelf = large(tmp_path / "a.png"), tmp_path / "shelf"
    twin = tmp_path / "b.png"
    twin.write_bytes(path.read_bytes())
    assert prepared(path, shelf=shelf) == prepared(twin, shelf=shelf)
    prepared(path, 32, shelf)
    assert len(copies(shelf)) == 2


@pytest.mark.parametrize("kept", [0, 1, 2, 300])
def test_a_copy_that_a_power_cut_left_short_is_made_anew(tmp_path: Path, kept: int) -> None:
    path, shelf = large(tmp_path / "a.png"), tmp_path / "shelf"
    image = prepared(path, shelf=shelf)
    place = copies(shelf)[0]
    place.write_bytes(image.content[:kept])
    assert prepared(path, shelf=shelf) == image
    assert place.read_bytes() == image.content


def test_what_a_crash_left_beside_the_copies_is_never_sent(tmp_path: Path) -> None:
    path, shelf = large(tmp_path / "a.png"), tmp_path / "shelf"
    folder = shelf / sha_of(path)[:2]
    folder.mkdir(parents=True)
    (folder / ".left.part").write_bytes(b"half a pic")
    image = prepared(path, shelf=shelf)
    assert opened(image).size == (64, 32)
    assert len(copies(shelf)) == 2


def test_without_a_hash_nothing_is_kept_and_without_a_shelf_neither(tmp_path: Path) -> None:
    path, shelf = large(tmp_path / "a.png"), tmp_path / "shelf"
    unnamed = prepare(path, None, max_side=64, tiles=False, shelf=shelf)
    assert unnamed == prepared(path, shelf=None) == prepared(path, shelf=tmp_path / "other")
    assert not shelf.exists()


def test_a_shelf_that_cannot_be_used_is_not_the_images_fault(tmp_path: Path) -> None:
    path, shelf = large(tmp_path / "a.png"), tmp_path / "shelf"
    shelf.write_text("a file where a folder should be")
    with pytest.raises(ShelfUnusable, match="shelf") as told:
        prepared(path, shelf=shelf)
    assert not isinstance(told.value, UNREADABLE)


# Files that are not what they should be


@pytest.mark.parametrize("max_side", [96, 64])
def test_a_file_that_was_replaced_is_not_sent_for_the_old_one(tmp_path: Path, max_side: int) -> None:
    path, shelf = large(tmp_path / "a.png"), tmp_path / "shelf"
    sha = sha_of(path)
    prepared(path, shelf=shelf)
    large(path, "green")
    with pytest.raises(ImageChanged, match=r"a\.png") as told:
        prepare(path, sha, max_side=max_side, tiles=False, shelf=shelf)
    assert told.value.path == path
    assert not isinstance(told.value, UNREADABLE)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as told:
        prepare(tmp_path / "gone.png", None, max_side=64, tiles=False, shelf=None)
    assert told.value.filename == str(tmp_path / "gone.png")


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a"])
def test_a_file_that_is_no_picture_is_unreadable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(UNREADABLE):
        prepared(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.bmp", "a.gif", "a.tif"])
def test_half_a_picture_that_must_be_scaled_is_unreadable_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    path, shelf = tmp_path / name, tmp_path / "shelf"
    Image.effect_noise((96, 48), 90).convert("RGB").save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UNREADABLE):
        prepared(path, shelf=shelf)
    assert not shelf.exists()
