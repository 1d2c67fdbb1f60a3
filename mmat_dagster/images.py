"""Images: are they sound, where do they lie, and the shelf for those that come as bytes.

`images/<aa>/<sha256>.<ext>` in the store, `aa` being the first two digits of the hash.
"""

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from mmat_dagster.interfaces import Pictures, Store
from mmat_dagster.roots import below
from mmat_dagster.schema import ImageRef, SourceName

# More pixels than any photo or scan of the sources has; a small file can unpack into a memory-eating "bomb".
PIXEL_LIMIT = 100_000_000

# The EXIF tag that tells how a photo is to be turned, and its values for photos that lie on their side.
ORIENTATION = 0x0112
LYING = (5, 6, 7, 8)

# What photos, scans and drawings come as. Pillow knows more: a file in PostScript is a program that it has run.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "PPM", "AVIF")
_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}
# What Pillow's decoders raise on damaged files, besides the OSError that they should.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What a sound image file is: the hash of its bytes, its size in upright pixels and the suffix of its format.

    `likeness` is what similar images have in common, where it was asked for.
    """

    sha256: str
    width: int
    height: int
    suffix: str
    likeness: bytes | None = None


class UnreadableImage(Exception):
    """The bytes are no image, or one that is damaged, empty or too large; the message says which."""


@dataclass(frozen=True, kw_only=True)
class Examination:
    """How closely images are looked at: to the last pixel or the header only, and whether for their likeness too."""

    is_decoded: bool = True
    liken: Callable[[Image.Image], bytes] | None = None


def examine(data: bytes, closely: Examination | None = None) -> Examined:
    """Decode an image from end to end and return what it is; raise UnreadableImage where it is not sound."""
    with quiet_decoders():
        return examine_among_others(data, closely or Examination())


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keep Pillow from warning of odd metadata and of images near its own size limit, which are judged here.

    Python keeps its warning filters for the whole process: where several threads examine, one alone may do this.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def examine_among_others(data: bytes, closely: Examination) -> Examined:
    """Do what `examine` does, inside `quiet_decoders`, in one of several threads."""
    return _examine(io.BytesIO(data), hashlib.sha256(data).hexdigest(), closely)


def examine_header(path: Path, sha256: str) -> Examined:
    """Return what the header of an image file says, whose hash is known; to be used like `examine_among_others`."""
    with path.open("rb") as file:
        return _examine(file, sha256, Examination(is_decoded=False))


def _examine(file: IO[bytes], sha256: str, closely: Examination) -> Examined:
    likeness = None
    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            _check_size(width, height)
            if closely.is_decoded:
                image.load()
            # Where no EXIF stands in a PNG's head, Pillow decodes all of it to look behind the pixels.
            if (closely.is_decoded or image.format != "PNG") and image.getexif().get(ORIENTATION) in LYING:
                width, height = height, width
            suffix = _SUFFIXES.get(image.format or "", (image.format or "bin").lower())
            if closely.liken is not None:
                likeness = closely.liken(image)
    except UnidentifiedImageError as error:
        # Pillow's own message holds an address in memory, another one in every run.
        raise UnreadableImage("not an image, or of a format that no source has") from error
    except DAMAGE as error:
        raise UnreadableImage(str(error).replace("\n", " ") or type(error).__name__) from error
    return Examined(sha256=sha256, width=width, height=height, suffix=suffix, likeness=likeness)


@dataclass(frozen=True)
class ImageShelf:
    """Keeps images in a store by their content: the same bytes lie there once."""

    store: Store

    @staticmethod
    def name(sha256: str, suffix: str) -> str:
        """Return where an image lies, relative to the root."""
        return f"images/{sha256[:2]}/{sha256}.{suffix}"

    def put(self, data: bytes, suffix: str) -> str:
        """Return the key at which `data` lies when the store is settled."""
        name = self.name(hashlib.sha256(data).hexdigest(), suffix)
        self.store.put_soon(name, data)
        return name


@dataclass(frozen=True, kw_only=True)
class PicturesOnDisk(Pictures):
    """Finds images below two folders: `source_root` holds one folder per source, `store_root` the shelf."""

    source_root: Path
    store_root: Path

    def locate(self, source: SourceName, image: ImageRef) -> Path:
        """Return the local file of `image`."""
        return below(self.source_root / source if image.home == "source" else self.store_root, image.path)


@dataclass(frozen=True, kw_only=True)
class StoredPictures(Pictures):
    """Finds images below `source_root`, which holds one folder per source, and on the shelf of `store`."""

    source_root: Path
    store: Store

    def locate(self, source: SourceName, image: ImageRef) -> Path:
        """Return the local file of `image`; one that the store has not got is where it would be."""
        if image.home == "source":
            return below(self.source_root / source, image.path)
        try:
            return self.store.fetch(image.path)
        except FileNotFoundError:
            return below(self.store.mirror, image.path)

    def bring(self, images: Iterable[ImageRef]) -> None:
        """Have the shelf's images here, several at once."""
        self.store.bring(image.path for image in images if image.home == "store")


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise UnreadableImage(f"{width}x{height} pixels")
    if width * height > PIXEL_LIMIT:
        raise UnreadableImage(f"{width}x{height} pixels are more than {PIXEL_LIMIT:,}")
