"""The canvas that every picture of the corpus is drawn on: shapes and text in plain pixels, smooth at the edges.

    canvas = Canvas(640, 420)
    box = canvas.text((320, 40), "OPEN", Style(size=40, bold=True), anchor="mm")
    picture = canvas.png()

Everything is drawn at twice the size and reduced at the end: Pillow itself does not smooth the edges of shapes. The
embedded font knows ASCII and the degree sign; a text with anything else would be drawn as empty boxes.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageColor, ImageDraw, ImageFont

SCALE = 2

Point = tuple[float, float]
Rect = tuple[float, float, float, float]
PixelBox = tuple[int, int, int, int]
Colour = str | tuple[int, int, int]

INK = "#20242c"
PAPER = "#ffffff"
GREY = "#8a919e"
LIGHT = "#d8dde6"
PALETTE = ("#3b6fb6", "#d2663b", "#3f9463", "#8a5bb0", "#c9a227", "#b8455f", "#2f8f9d", "#6b7a3a")


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a text looks: its size in pixels, its colour, its weight."""

    size: int = 20
    fill: Colour = INK
    bold: bool = False


BODY = Style()
STRONG = Style(bold=True)


class Canvas:
    """A picture in the making; all coordinates and widths are pixels of the finished picture."""

    def __init__(self, width: int, height: int, background: Colour = PAPER) -> None:
        """Start an empty picture."""
        self.width = width
        self.height = height
        self._origin: Point = (0, 0)
        self._zoom = 1.0
        self._image = Image.new("RGB", (width * SCALE, height * SCALE), background)
        self._draw = ImageDraw.Draw(self._image)

    def focus(self, origin: Point, zoom: float) -> None:
        """Let all further coordinates and widths count from the pixel `origin` on, in units of `zoom` pixels."""
        self._origin, self._zoom = origin, zoom

    def text(self, at: Point, text: str, style: Style = BODY, anchor: str = "la") -> PixelBox:
        """Write one line of text and return the box of its ink."""
        face, stroke = font(round(style.size * self._zoom)), _stroke(style)
        spot = self._spot(at)
        self._draw.text(spot, text, style.fill, face, anchor, stroke_width=stroke, stroke_fill=style.fill)
        return self._pixels(self._draw.textbbox(spot, text, face, anchor, stroke_width=stroke))

    def rect(self, box: Rect, fill: Colour | None = None, outline: Colour | None = None, radius: float = 0) -> None:
        """Draw a rectangle, its outline two pixels wide."""
        width = self._width(2) if outline else 0
        self._draw.rounded_rectangle(self._scaled(box), radius * SCALE * self._zoom, fill, outline, width)

    def ellipse(self, box: Rect, fill: Colour | None = None, outline: Colour | None = None, width: float = 2) -> None:
        """Draw an ellipse that fills `box`."""
        self._draw.ellipse(self._scaled(box), fill, outline, self._width(width) if outline else 0)

    def disc(self, centre: Point, radius: float, fill: Colour) -> None:
        """Draw a full circle."""
        self.ellipse(around(centre, radius, radius), fill)

    def ring(self, centre: Point, radius: float, outline: Colour, width: float = 2) -> None:
        """Draw an empty circle."""
        self.ellipse(around(centre, radius, radius), None, outline, width)

    def slice(self, box: Rect, start: float, end: float, fill: Colour) -> None:
        """Draw a slice of an ellipse, from `start` to `end` degrees clockwise from three o'clock."""
        self._draw.pieslice(self._scaled(box), start, end, fill)

    def chord(self, box: Rect, start: float, end: float, fill: Colour) -> None:
        """Draw the part of an ellipse that a straight line cuts off, angles as in `slice`."""
        self._draw.chord(self._scaled(box), start, end, fill)

    def arc(self, box: Rect, angles: tuple[float, float], fill: Colour, width: float = 2) -> None:
        """Draw a part of an ellipse's line, `angles` in degrees clockwise from three o'clock."""
        self._draw.arc(self._scaled(box), angles[0], angles[1], fill, self._width(width))

    def polygon(self, points: Sequence[Point], fill: Colour | None = None, outline: Colour | None = None) -> None:
        """Draw a closed polygon, its outline two pixels wide."""
        self._draw.polygon([self._spot(point) for point in points], fill)
        if outline:
            self.line([*points, points[0], points[1]], outline)

    def line(self, points: Sequence[Point], fill: Colour = INK, width: float = 2) -> None:
        """Draw a line through `points`."""
        self._draw.line([self._spot(point) for point in points], fill, self._width(width), joint="curve")

    def fade(self, box: Rect, top: Colour, bottom: Colour) -> None:
        """Fill a rectangle with colours that go from `top` to `bottom`."""
        x1, y1, x2, y2 = self._scaled(box)
        for y in range(y1, y2):
            self._draw.line([(x1, y), (x2, y)], mix(top, bottom, (y - y1) / max(1, y2 - y1 - 1)))

    def paste(self, picture: Image.Image, at: Point) -> None:
        """Lay a picture of `SCALE` times the size over this one, its alpha as the mask."""
        self._image.paste(picture, self._spot(at), picture)

    def finish(self) -> Image.Image:
        """Return the finished picture."""
        return self._image.reduce(SCALE)

    def png(self) -> bytes:
        """Return the finished picture as the bytes of a PNG file."""
        buffer = io.BytesIO()
        self.finish().save(buffer, "PNG")
        return buffer.getvalue()

    def _spot(self, point: Point) -> tuple[int, int]:
        x, y = (start + self._zoom * value for start, value in zip(self._origin, point, strict=True))
        return round(x * SCALE), round(y * SCALE)

    def _scaled(self, box: Rect) -> tuple[int, int, int, int]:
        return *self._spot(box[:2]), *self._spot(box[2:])

    def _width(self, width: float) -> int:
        return max(1, round(width * SCALE * self._zoom))

    def _pixels(self, box: tuple[float, float, float, float]) -> PixelBox:
        x1, y1, x2, y2 = (value / SCALE for value in box)
        right, bottom = min(self.width, math.ceil(x2)), min(self.height, math.ceil(y2))
        return max(0, math.floor(x1)), max(0, math.floor(y1)), right, bottom


@lru_cache(maxsize=64)
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's embedded font for a text of `size` pixels on a canvas."""
    face = ImageFont.load_default(size * SCALE)
    if not isinstance(face, ImageFont.FreeTypeFont):
        raise TypeError("the corpus needs a Pillow built with FreeType")
    return face


def text_width(text: str, style: Style = BODY) -> int:
    """Return how many pixels wide `text` will be."""
    return math.ceil((font(style.size).getlength(text) + 2 * _stroke(style)) / SCALE)


def wrapped(text: str, width: float, style: Style = BODY) -> list[str]:
    """Break `text` into lines that are at most `width` pixels wide."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, style) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def around(centre: Point, half_width: float, half_height: float) -> Rect:
    """Return the rectangle around a centre."""
    x, y = centre
    return x - half_width, y - half_height, x + half_width, y + half_height


def polar(centre: Point, radius: float, degrees: float) -> Point:
    """Return the point at `radius` from `centre`, `degrees` counted anticlockwise from three o'clock."""
    angle = math.radians(degrees)
    return centre[0] + radius * math.cos(angle), centre[1] - radius * math.sin(angle)


def mix(first: Colour, second: Colour, share: float) -> tuple[int, int, int]:
    """Return the colour that is `share` (0..1) of the way from `first` to `second`."""
    pairs = zip(_rgb(first), _rgb(second), strict=True)
    red, green, blue = (round(a + (b - a) * share) for a, b in pairs)
    return red, green, blue


def union(boxes: Sequence[PixelBox]) -> PixelBox:
    """Return the smallest box that holds all `boxes`."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def _rgb(colour: Colour) -> tuple[int, ...]:
    return ImageColor.getrgb(colour)[:3] if isinstance(colour, str) else colour


def _stroke(style: Style) -> float:
    return max(1, style.size * SCALE // 32) if style.bold else 0
