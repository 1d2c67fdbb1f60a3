"""Which images the pages of late have named: they are found before the index has them."""

import threading
from collections import OrderedDict
from collections.abc import Iterable

from mmat_dagster.schema import ImageRef, SourceName
from mmat_dagster.viewer.gallery import Find

MOST = 10_000


class Remembered:
    """Finds an image by SHA-256 among the MOST that were shown last, else by `find`."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._shown: OrderedDict[str, tuple[SourceName, ImageRef]] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, images: Iterable[tuple[SourceName, ImageRef]]) -> None:
        """Keep where images lie."""
        with self._lock:
            for source, image in images:
                self._shown[image.sha256] = (source, image)
                self._shown.move_to_end(image.sha256)
            while len(self._shown) > MOST:
                self._shown.popitem(last=False)

    def find(self, sha256: str) -> tuple[SourceName, ImageRef] | None:
        """Return where the image lies; None where the data names none."""
        with self._lock:
            shown = self._shown.get(sha256)
        return shown or self._find(sha256)
