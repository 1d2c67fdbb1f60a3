"""The pictures of a dialogue, as the operators saw them: upright, in RGB, and checked."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmat_dagster.images import DAMAGE, FORMATS, quiet_decoders
from mmat_dagster.pixels import check_size, to_rgb
from mmat_dagster.roots import below
from mmat_dagster.schema import ImageRef, SourceName
from mmat_dagster.training.spec import DropReason, Ingredient


class Unusable(Exception):
    """A dialogue cannot be learned from; `reason` is what is counted."""

    def __init__(self, reason: DropReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Album:
    """Finds and opens pictures: below their source's folder, or on the store's shelf."""

    def __init__(self, data: Sequence[Ingredient], store_images: str) -> None:
        self._roots = {item.source: Path(item.images) for item in data}
        self._store = Path(store_images)

    def open(self, source: SourceName, image: ImageRef) -> Image.Image:
        """Return a picture's pixels; raise Unusable where it is not there, not readable, or no longer the same."""
        try:
            data = below(self._roots[source] if image.home == "source" else self._store, image.path).read_bytes()
        except OSError as error:
            raise Unusable("missing image", f"{image.path}: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise Unusable("image changed", f"{image.path} is not the picture that the dialogue was written about")
        return _decode(data, image.path)


def _decode(data: bytes, name: str) -> Image.Image:
    try:
        with quiet_decoders(), Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            check_size(opened)
            opened.load()
            # Floating-point pixels can be no numbers, which a conversion to RGB would turn into some colour.
            if opened.mode == "F" and not np.isfinite(np.asarray(opened)).all():
                raise Unusable("pixels are not finite", f"{name} holds pixels that are NaN or infinite")
            return to_rgb(opened)
    except DAMAGE as error:
        raise Unusable("unreadable image", f"{name}: {error}") from error
