"""What runs in an OCR worker process: one model, one thread, and a watch on the process that started it."""

import logging
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from mmat_dagster.operators.reading_order import Piece, as_text, in_lines
from mmat_dagster.pixels import read_rgb

if TYPE_CHECKING:
    from rapidocr import RapidOCR

WATCH_EVERY_S = 1.0

# The detector enlarges the short side to 736 px: a sliver would grow to gigabytes, were it not put on a wider ground.
SLIMMEST = 8
# What the detector looks at, however the picture is shaped: a long infographic keeps its small print.
MAX_PIXELS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an image could not be read."""

    detail: str


def start() -> None:
    """Prepare this worker; it ends with the process that started it, however that ends, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def load() -> None:
    """Load the model; every worker does so once."""
    _engine()


def recognise(path: str, upscale_below_px: int) -> str | Failure:
    """Return the text of an image in reading order, or why there is none."""
    try:
        return as_text(in_lines(_pieces(legible(read_rgb(Path(path)), upscale_below_px))))
    except Exception as error:  # noqa: BLE001  an engine's own error types do not survive the way between processes
        return Failure(detail=f"{type(error).__name__}: {error}")


def legible(image: Image.Image, upscale_below_px: int) -> Image.Image:
    """Return the image in a size and shape that the detector can deal with."""
    scale = 2.0 if max(image.size) < upscale_below_px else 1.0
    stout = _stout(image)
    scale = min(scale, (MAX_PIXELS / (stout.width * stout.height)) ** 0.5)
    if scale == 1.0:
        return stout
    return stout.resize((round(stout.width * scale) or 1, round(stout.height * scale) or 1))


def _stout(image: Image.Image) -> Image.Image:
    size = max(image.width, image.height // SLIMMEST), max(image.height, image.width // SLIMMEST)
    if size == image.size:
        return image
    ground = Image.new("RGB", size, "white")
    ground.paste(image)
    return ground


def _pieces(image: Image.Image) -> list[Piece]:
    import numpy as np  # noqa: PLC0415  heavy, and only a worker needs them
    from rapidocr.utils.output import RapidOCROutput  # noqa: PLC0415

    found = _engine()(np.asarray(image)[:, :, ::-1], use_cls=False)
    if not isinstance(found, RapidOCROutput) or found.boxes is None or found.txts is None:
        return []
    return [
        _piece(corners, text) for corners, text in zip(found.boxes.tolist(), found.txts, strict=True) if text.strip()
    ]


def _piece(corners: list[list[float]], text: str) -> Piece:
    across, down = [x for x, _ in corners], [y for _, y in corners]
    (left, start), (right, stop) = corners[:2]
    slope = (stop - start) / (right - left) if right > left else 0.0
    return Piece(x1=min(across), y1=min(down), x2=max(across), y2=max(down), text=text.strip(), slope=slope)


@cache
def _engine() -> "RapidOCR":
    import cv2  # noqa: PLC0415  heavy, and only a worker needs them
    from rapidocr import RapidOCR  # noqa: PLC0415

    cv2.setNumThreads(1)
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.max_side_len": SLIMMEST * MAX_PIXELS,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _end_with_parent() -> None:
    # Asked of multiprocessing, not of the kernel: a parent that died before this line would not be told apart.
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive() and os.getppid() == parent.pid:
        parent.join(WATCH_EVERY_S)
    os._exit(1)
