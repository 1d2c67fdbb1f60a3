"""OCR by RapidOCR: PP-OCR, the paper's model family, on onnxruntime, whose wheel holds the weights.

image -> put on a stouter ground, scaled -> pieces of text -> boxes in the image's own pixels -> reading order
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from PIL import Image

from mmat_dagster.operators.findings import piece_at, text_sight
from mmat_dagster.operators.reading_order import Piece
from mmat_dagster.tools import Sight
from resources.vision_worker import Glance, VisionModel

if TYPE_CHECKING:
    from rapidocr import RapidOCR

# The distributions whose versions decide what is read.
PACKAGES = ("rapidocr", "onnxruntime")

# The detector enlarges the short side to 736 px: a sliver would grow to gigabytes, were it not put on a wider ground.
SLIMMEST = 8
# The recogniser sees most spaces, but rarely takes one for likelier than no character: words of receipts run together.
# Any weight from 3 to 30 finds more words of receipts; in tables it parts only what is printed apart: rows of leaves.
SPACE_WEIGHT = 5.0
# What the detector looks at, however the picture is shaped: a long infographic keeps its small print.
MAX_PIXELS = 4_000_000


class RapidOCRModel(VisionModel):
    """Reads the text of images; one whose long side is below `upscale_below_px` is doubled first."""

    def __init__(self, upscale_below_px: int) -> None:
        """Load the model."""
        self._upscale_below_px = upscale_below_px
        self._engine = _load()

    def look(self, glances: Sequence[Glance]) -> list[Sight]:
        """Return the text of each image: pieces of a line joined by ` | `, lines by `; `."""
        return [text_sight(self._pieces(glance.image)) for glance in glances]

    def _pieces(self, image: Image.Image) -> list[Piece]:
        """Return what is read, in pixels of `image`."""
        import numpy as np  # noqa: PLC0415  heavy, and only a worker needs them
        from rapidocr.utils.output import RapidOCROutput  # noqa: PLC0415

        looked_at = legible(image, self._upscale_below_px)
        found = self._engine(np.asarray(looked_at)[:, :, ::-1], use_cls=False)
        if not isinstance(found, RapidOCROutput) or found.boxes is None or not found.txts or not found.scores:
            return []
        shares = [whole / seen for whole, seen in zip(_stout_size(image.size), looked_at.size, strict=True)]
        corners = (found.boxes * np.array(shares)).tolist()
        pieces = map(partial(piece_at, image.size), corners, found.txts, found.scores)
        return [piece for piece in pieces if piece.text]


def legible(image: Image.Image, upscale_below_px: int) -> Image.Image:
    """Return the image in a size and shape that the detector can deal with, ground added to its right or below it."""
    scale = 2.0 if max(image.size) < upscale_below_px else 1.0
    stout = _stout(image)
    scale = min(scale, (MAX_PIXELS / (stout.width * stout.height)) ** 0.5)
    if scale == 1.0:
        return stout
    return stout.resize((round(stout.width * scale) or 1, round(stout.height * scale) or 1))


def _stout(image: Image.Image) -> Image.Image:
    size = _stout_size(image.size)
    if size == image.size:
        return image
    ground = Image.new("RGB", size, "white")
    ground.paste(image)
    return ground


def _stout_size(size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    return max(width, height // SLIMMEST), max(height, width // SLIMMEST)


def _load() -> "RapidOCR":
    import cv2  # noqa: PLC0415  heavy, and only a worker needs them
    from rapidocr import RapidOCR  # noqa: PLC0415

    cv2.setNumThreads(1)
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    engine = RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.max_side_len": SLIMMEST * MAX_PIXELS,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
    _weigh_spaces(engine)
    return engine


def _weigh_spaces(engine: Any) -> None:
    """Let the recogniser choose a space where it is 1/SPACE_WEIGHT as likely as what it would have chosen."""
    # The engine has no setting for this, and loads its recogniser with the first image unless it is made to.
    recogniser = engine._load_rec_model()
    decode = recogniser.postprocess_op
    space = decode.character.index(" ")

    def decode_weighed(chances: Any, *arguments: Any, **named: Any) -> Any:
        weighed = chances[..., space] * SPACE_WEIGHT
        chances[..., space] = weighed.clip(max=1.0)
        return decode(chances, *arguments, **named)

    recogniser.postprocess_op = decode_weighed
