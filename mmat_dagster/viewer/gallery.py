"""Images by SHA-256, as a browser gets them: upright, on white, scaled down, and always made anew from pixels.

Only what the data names is served, and only where the file still has the hash that the data names; a file in a format
that a browser would run, or would not know, never reaches one.
"""

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from PIL import Image

from mmat_dagster.images import quiet_decoders
from mmat_dagster.interfaces import Pictures
from mmat_dagster.pixels import read_rgb
from mmat_dagster.schema import ImageRef, SourceName

SizeName = Literal["thumb", "view"]
SIDES: dict[SizeName, int] = {"thumb": 240, "view": 1600}
# Drawings, tables and scans of this many pixels are kept to the pixel; larger images are mostly photos.
LOSSLESS_PIXELS = 400_000
CACHE_BYTES = 64_000_000

Find = Callable[[str], tuple[SourceName, ImageRef] | None]


class Gallery:
    """Makes images small and keeps them in at most CACHE_BYTES; `find` looks a SHA-256 up in the data."""

    def __init__(self, pictures: Pictures, find: Find) -> None:
        self._pictures = pictures
        self._find = find
        self._kept: OrderedDict[tuple[str, SizeName], tuple[str, bytes]] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()
        # One at a time: decoded images take memory, and `quiet_decoders` is for one thread.
        self._decoding = threading.Lock()

    def show(self, sha256: str, size: SizeName) -> tuple[str, bytes] | None:
        """Return media type and bytes of an image; None where the data names none, or it cannot be shown."""
        kept = self._recall(sha256, size)
        if kept is not None:
            return kept
        found = self._find(sha256)
        if found is None:
            return None
        with self._decoding:
            made = self._make(*found, size)
        if made is not None:
            self._keep((sha256, size), made)
        return made

    def _recall(self, sha256: str, size: SizeName) -> tuple[str, bytes] | None:
        with self._lock:
            kept = self._kept.get((sha256, size))
            if kept is not None:
                self._kept.move_to_end((sha256, size))
            return kept

    def _keep(self, key: tuple[str, SizeName], made: tuple[str, bytes]) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._kept_bytes += len(made[1])
            while self._kept_bytes > CACHE_BYTES:
                _, (_, oldest) = self._kept.popitem(last=False)
                self._kept_bytes -= len(oldest)

    def _make(self, source: SourceName, image: ImageRef, size: SizeName) -> tuple[str, bytes] | None:
        try:
            data = self._pictures.locate(source, image).read_bytes()
            if hashlib.sha256(data).hexdigest() != image.sha256:
                return None
            with quiet_decoders():
                return _encode(_scaled(read_rgb(data), SIDES[size]))
        except OSError:
            return None


def _scaled(image: Image.Image, side: int) -> Image.Image:
    if max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image


def _encode(image: Image.Image) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    if image.width * image.height <= LOSSLESS_PIXELS:
        image.save(buffer, "PNG", compress_level=4)
        return "image/png", buffer.getvalue()
    image.save(buffer, "JPEG", quality=88)
    return "image/jpeg", buffer.getvalue()
