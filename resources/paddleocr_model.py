"""OCR by PaddleOCR 3, the paper's, whose weights are loaded by the package itself when it starts.

Text comes out as RapidOCR's does: the same reading order, the same form.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from PIL import Image

from mmat_dagster.operators.findings import piece_at, text_sight
from mmat_dagster.operators.reading_order import Piece
from mmat_dagster.tools import Sight
from resources.vision_worker import Glance, VisionModel

# The distributions whose versions decide what is read.
PACKAGES = ("paddleocr", "paddlex", "paddlepaddle")


class PaddleOCRModel(VisionModel):
    """Reads the text of images in `lang` (`en`, `ch`, ...), on `device` (`cpu`, `gpu:0`) or with `auto` on the best."""

    def __init__(self, lang: str, device: str) -> None:
        """Load the models of the language."""
        from paddleocr import PaddleOCR  # noqa: PLC0415  heavy, and only a worker needs it

        self._engine = PaddleOCR(
            lang=lang,
            device=None if device == "auto" else device,
            cpu_threads=1,
            # Broken in paddlepaddle 3.3: no text is read on a CPU, whatever the model (PaddlePaddle/Paddle#77340).
            enable_mkldnn=False,
            # Images come upright, and boxes must stand in the image as it is, not as it could be straightened.
            use_doc_orientation_classify=False,
            use_doc_unwarping=False,
            use_textline_orientation=False,
        )

    def look(self, glances: Sequence[Glance]) -> list[Sight]:
        """Return the text of each image: pieces of a line joined by ` | `, lines by `; `."""
        import numpy as np  # noqa: PLC0415  heavy, and only a worker needs it

        images = [glance.image for glance in glances]
        found = self._engine.predict([np.ascontiguousarray(np.asarray(image)[:, :, ::-1]) for image in images])
        return [text_sight(_pieces(result, image)) for result, image in zip(found, images, strict=True)]


def _pieces(found: Mapping[str, Any], image: Image.Image) -> Iterator[Piece]:
    for polygon, text, score in zip(found["rec_polys"], found["rec_texts"], found["rec_scores"], strict=True):
        corners = [(float(x), float(y)) for x, y in polygon]
        if text.strip():
            yield piece_at(image.size, corners, text, float(score))
