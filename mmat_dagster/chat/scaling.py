"""Which bytes of an image a chat model is sent: its own where they fit, else a copy that is made once.

Copies lie on a shelf at `<aa>/<sha256>-<width>x<height>.jpg`, under the hash of the original's bytes, `aa` being its
first two digits.
"""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image

from mmat_dagster.chat.models import TILE_PX, tile_scale
from mmat_dagster.images import DAMAGE, FORMATS
from mmat_dagster.pixels import read_rgb

# By how much a picture may shrink to save one row or one column of tiles.
TOLERANCE = Fraction(1, 10)

JPEG_QUALITY = 90
WHOLE_COLOUR = 0  # Pillow's name for no chroma subsampling, which blurs coloured lines and letters
# A JPEG decodes quickly to a half, a quarter, an eighth of its size: down to this many times the size that is wanted.
# It takes a photo of 12 megapixels, sent at 1024 x 768, from 170 ms to 75 and leaves it the same to 45 dB.
DRAFT_GAP = 1.5
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"

SENT_AS_THEY_ARE = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}

UPRIGHT = 1
TURNED = range(2, 9)  # EXIF's Orientation; servers may or may not heed it
LYING = range(5, 9)
# Where a PNG may say that it is turned. Pillow decodes all of it to look behind the pixels too.
PNG_TURNS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")

# FileNotFoundError is one of them.
UNREADABLE = DAMAGE


class ImageChanged(Exception):
    """The file is not the one that was read before: its bytes have another hash."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} has changed since it was read: build the samples again")
        self.path = path


class ShelfUnusable(Exception):
    """The shelf cannot be read or written: a fault of the disk, not of the image."""


@dataclass(frozen=True, kw_only=True)
class PreparedImage:
    """The bytes to send, and the size in upright pixels that they have."""

    media_type: str
    content: bytes
    width: int
    height: int


# Many images have the same size, and each request asks anew.
@lru_cache(maxsize=4096)
def fitted_size(width: int, height: int, *, max_side: int, tiles: bool) -> tuple[int, int]:
    """Return the size in pixels, never a larger one, at which a server gets all that it would look at.

    With `tiles`, GPT-4o's rule, no more than it keeps itself, and down to a tile's border where that is near.
    """
    scale = min(Fraction(1), Fraction(max_side, max(width, height)))
    if tiles:
        scale = _to_borders(min(scale, tile_scale(width, height)), (width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def prepare(path: Path, sha256: str | None, *, max_side: int, tiles: bool, shelf: Path | None) -> PreparedImage:
    """Return the image's own bytes, or a JPEG of it where it is too large, turned or of a rare type.

    Without a `sha256` nothing is compared and nothing is kept on the shelf.

    Raises:
        ImageChanged: the file's bytes do not have the hash `sha256`.
        ShelfUnusable: a copy cannot be kept.
        UNREADABLE: any of these, as Pillow or the file system raised it.
    """
    content = path.read_bytes()
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ImageChanged(path)
    media_type, upright = _header(content)
    width, height = size = fitted_size(*upright, max_side=max_side, tiles=tiles)
    if media_type is not None and size == upright:
        return PreparedImage(media_type=media_type, content=content, width=width, height=height)
    if shelf is None or sha256 is None:
        drawn = _draw(path, content, size)
    else:
        place = shelf / sha256[:2] / f"{sha256}-{width}x{height}.jpg"
        drawn = _kept(place) or _keep(place, _draw(path, content, size))
    return PreparedImage(media_type="image/jpeg", content=drawn, width=width, height=height)


def _to_borders(scale: Fraction, sides: tuple[int, int]) -> Fraction:
    """Scale to the borders of tiles that are near; at the border of one side, that of the other may have come near.

    There are two sides, so two rounds: borders of one side lie further apart than two tolerances.
    """
    for _ in sides:
        scale = min(_to_border(scale, side) for side in sides)
    return scale


def _to_border(scale: Fraction, side: int) -> Fraction:
    border = Fraction(side * scale // TILE_PX * TILE_PX, side)
    return border if border >= scale * (1 - TOLERANCE) else scale


def _header(content: bytes) -> tuple[str | None, tuple[int, int]]:
    """Return the media type if a server shows these bytes as they are, and the size in upright pixels."""
    with Image.open(BytesIO(content), formats=FORMATS) as image:
        orientation = _orientation(image, content)
        media_type = None if orientation in TURNED else SENT_AS_THEY_ARE.get(image.format or "")
        return media_type, image.size[::-1] if orientation in LYING else image.size


def _orientation(image: Image.Image, content: bytes) -> int:
    if image.format == "PNG" and not any(turn in content for turn in PNG_TURNS):
        return UPRIGHT
    return int(image.getexif().get(ExifTags.Base.Orientation, UPRIGHT))


def _draw(path: Path, content: bytes, size: tuple[int, int]) -> bytes:
    picture = _draft(content, size)
    if picture is None:
        picture = read_rgb(path)
        if path.read_bytes() != content:
            raise ImageChanged(path)
    drawn = BytesIO()
    scaled = picture.resize(size, Image.Resampling.LANCZOS).convert("RGB")
    scaled.save(drawn, "JPEG", quality=JPEG_QUALITY, subsampling=WHOLE_COLOUR)
    return drawn.getvalue()


def _draft(content: bytes, size: tuple[int, int]) -> Image.Image | None:
    """Decode an upright JPEG no larger than scaling it to `size` needs; None where it is anything else."""
    with Image.open(BytesIO(content), formats=FORMATS) as image:
        is_plain = image.format == "JPEG" and image.mode in ("RGB", "L")
        if not is_plain or _orientation(image, content) in TURNED:
            return None
        image.draft(None, (int(size[0] * DRAFT_GAP), int(size[1] * DRAFT_GAP)))
        image.load()
        return image


def _kept(place: Path) -> bytes | None:
    """Return the copy at `place`; None where there is none, or where a power cut left a part of it."""
    try:
        copy = place.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ShelfUnusable(f"{place}: {error.strerror}") from error
    return copy if copy.startswith(JPEG_START) and copy.endswith(JPEG_END) else None


def _keep(place: Path, copy: bytes) -> bytes:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _write_atomically(place, copy)
    except OSError as error:
        raise ShelfUnusable(f"{place}: {error.strerror}") from error
    return copy


def _write_atomically(place: Path, copy: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(copy)
        Path(name).chmod(0o644)  # a temporary file is for its owner only
        Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
