"""The bytes of images: read once while neighbours need them, verified against the hash that their dialogue knows."""

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from mmat_dagster.interfaces import Pictures
from mmat_dagster.schema import ImageRef, SourceName
from mmat_dagster.splits import short

KEPT_BYTES = 64 * 1024 * 1024
# What an image file begins with, WebP aside; the suffix is that of its content, whatever the publisher calls it.
_HEADS = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
)


class ImageLost(Exception):
    """An image is not there any more, or is another one than its dialogue was written over."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image as it is released: its name, and its bytes as they are."""

    name: str
    data: bytes

    @property
    def path(self) -> str:
        """Where it lies in the release."""
        return f"images/{self.name[:2]}/{self.name}"


@dataclass(kw_only=True)
class PictureReader:
    """Reads images; those that were read lately are kept, since neighbouring dialogues are often over the same one."""

    pictures: Pictures
    _kept: OrderedDict[str, Picture] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def read(self, source: SourceName, image: ImageRef) -> Picture:
        """Return an image; raise ImageLost where it is missing or changed."""
        kept = self._kept.get(image.sha256)
        if kept is not None:
            self._kept.move_to_end(image.sha256)
            return kept
        picture = self._read(source, image)
        self._keep(image.sha256, picture)
        return picture

    def locate(self, source: SourceName, image: ImageRef) -> Path:
        """Return where the image lies now."""
        return self.pictures.locate(source, image).absolute()

    def _read(self, source: SourceName, image: ImageRef) -> Picture:
        try:
            data = self.locate(source, image).read_bytes()
        except OSError as error:
            raise ImageLost(f"missing image: {image.path}") from error
        found = sha256(data).hexdigest()
        if found != image.sha256:
            raise ImageLost(f"image changed: {image.path} has the SHA-256 {found}, not {image.sha256}")
        return Picture(name=f"{found}.{_suffix(data)}", data=data)

    def _keep(self, key: str, picture: Picture) -> None:
        self._kept[key] = picture
        self._bytes += len(picture.data)
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= len(gone.data)


@dataclass(kw_only=True)
class ImageFolder:
    """The images of a release as files: a hard link where the file system allows one, a copy elsewhere."""

    root: Path
    link: Callable[[Path, Path], None] = os.link
    _placed: set[int] = field(default_factory=set)

    def holds(self, picture: Picture) -> bool:
        """Say whether the image lies in the folder already."""
        return short(picture.name) in self._placed

    def place(self, picture: Picture, original: Path) -> None:
        """Have the image lie in the folder."""
        self._placed.add(short(picture.name))
        path = self.root / picture.path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.link(original, path)
        except FileExistsError:
            return
        except OSError:  # another file system, or somebody else's file
            path.write_bytes(picture.data)


def _suffix(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((suffix for head, suffix in _HEADS if data.startswith(head)), "bin")
