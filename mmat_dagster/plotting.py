"""Plots as PNG: readable on dark and light pages, small, without global state, the same bytes for the same figures."""

import io
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, PALE_BLUE, ORANGE, GREY = "#2f6db5", "#a9c4e4", "#b5541d", "#5f6b7a"
TITLE_PT, TEXT_PT = 10.0, 8.5
DPI = 100
# So few colours are enough for bars and text with soft edges, and make a third of the bytes.
COLOURS = 48

# matplotlib shares its fonts among threads.
_drawing = threading.Lock()


def draw(width_px: int, height_px: int, paint: "Callable[[Figure], None]") -> bytes:
    """Return as a PNG what `paint` does to an empty white figure."""
    # A second of imports, and only pictures need it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with _drawing:
        figure = Figure(figsize=(width_px / DPI, height_px / DPI), dpi=DPI, facecolor="white", layout="constrained")
        canvas = FigureCanvasAgg(figure)
        paint(figure)
        canvas.draw()
        pixels = Image.frombuffer("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba()))
    buffer = io.BytesIO()
    small = pixels.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def tidy(axes: "Axes", title: str) -> None:
    """Give `axes` its title and take away what is only ink."""
    axes.set_title(title, fontsize=TITLE_PT, loc="left", fontweight="bold", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=TEXT_PT, length=0)


def write(axes: "Axes", x: float, y: float, text: str, **look: Any) -> None:
    """Write `text` at a place of `axes`, dollars and all."""
    axes.text(x, y, text, **{"fontsize": TEXT_PT, "va": "center", "parse_math": False, **look})
