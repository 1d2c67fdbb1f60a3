"""From recognised pieces of text to the lines that a person reads.

Day    | Temperature        pieces whose heights overlap stand on one line, ordered from left to right;
Monday | 6                  lines are ordered from top to bottom

Columns of prose that stand side by side are read one after the other. Tilted text is levelled first, and text that runs
upwards (the axis of a chart) is a line of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

PIECE_SEPARATOR = " | "
LINE_SEPARATOR = "; "

# Two pieces stand on one line where they share this much of the lower one's height.
SHARED_HEIGHT = 0.5
# A box so much higher than wide holds text that runs upwards, unless it is a single character.
UPRIGHT = 1.5
# Prose: lines of so many words and characters, of which most fill their column; the cells of a table do not.
PROSE_WORDS = 3
PROSE_CHARS = 20
PROSE_LINES = 3
FILLED = 0.75


@dataclass(frozen=True, kw_only=True, order=True)
class Piece:
    """A recognised text and its upright box, in pixels; its baseline falls by `slope` pixels for each to the right.

    `score` is how certain it is, 0..1; it decides no order.
    """

    y1: float
    x1: float
    y2: float
    x2: float
    text: str
    slope: float = 0.0
    score: float = field(default=1.0, compare=False)

    @property
    def runs_upwards(self) -> bool:
        """Say whether the text is turned on its side."""
        return len(self.text) > 1 and self.y2 - self.y1 > UPRIGHT * (self.x2 - self.x1)

    @property
    def is_prose(self) -> bool:
        """Say whether this could be a line of running text."""
        return len(self.text) >= PROSE_CHARS and len(self.text.split()) >= PROSE_WORDS


@dataclass(frozen=True, kw_only=True)
class _Levelled:
    """A piece with the height that its text would take, and the place, were the page not tilted."""

    piece: Piece
    top: float
    bottom: float

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


def in_lines(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Return the pieces by line, top to bottom, and from left to right within a line."""
    whole = sorted(pieces)
    slope = _common_slope(whole)
    return [line for block in _blocks(whole) for line in _lines_of(block, slope)]


def as_text(lines: Sequence[Sequence[Piece]]) -> str:
    """Return lines of pieces as one line of text."""
    return LINE_SEPARATOR.join(PIECE_SEPARATOR.join(piece.text for piece in line) for line in lines)


def _lines_of(pieces: Sequence[Piece], slope: float) -> list[list[Piece]]:
    levelled = sorted((_level(piece, slope) for piece in pieces), key=lambda item: (item.middle, item.piece))
    lines: list[list[_Levelled]] = []
    for item in (item for item in levelled if not item.piece.runs_upwards):
        if lines and _stands_on(lines[-1], item):
            lines[-1].append(item)
        else:
            lines.append([item])
    lines += [[item] for item in levelled if item.piece.runs_upwards]
    lines.sort(key=lambda line: (median(item.middle for item in line), line[0].piece))
    return [sorted((item.piece for item in line), key=lambda piece: (piece.x1, piece)) for line in lines]


def _stands_on(line: Sequence[_Levelled], item: _Levelled) -> bool:
    """Say whether `item` shares its height with most of `line`: one large piece must not tie two lines together."""
    return 2 * sum(_share_a_line(other, item) for other in line) > len(line)


def _share_a_line(left: _Levelled, right: _Levelled) -> bool:
    shared = min(left.bottom, right.bottom) - max(left.top, right.top)
    return shared > 0 and shared >= SHARED_HEIGHT * min(left.bottom - left.top, right.bottom - right.top)


def _common_slope(pieces: Sequence[Piece]) -> float:
    """Return the slope of the page: that of its longer pieces, as short ones say little about it."""
    return median([piece.slope for piece in pieces if piece.x2 - piece.x1 > 2 * (piece.y2 - piece.y1)] or [0.0])


def _level(piece: Piece, slope: float) -> _Levelled:
    """Turn the page back; a tilted text's upright box is higher than the text by its fall."""
    height, fall = piece.y2 - piece.y1, abs(slope) * (piece.x2 - piece.x1)
    trim = min(fall, height / 2) / 2
    sunk = slope * (piece.x1 + piece.x2) / 2
    return _Levelled(piece=piece, top=piece.y1 + trim - sunk, bottom=piece.y2 - trim - sunk)


def _blocks(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Split side-by-side columns of prose, between the pieces that run across them, into blocks in reading order."""
    gutter = _gutter(pieces)
    if gutter is None:
        return [list(pieces)]
    left, right, across = _split(pieces, gutter)
    blocks: list[list[Piece]] = []
    for above, below in _bands(across):
        for column in (left, right):
            blocks += _blocks([piece for piece in column if above <= _middle(piece) < below])
        blocks.append([piece for piece in across if _middle(piece) == below])
    return [block for block in blocks if block]


def _bands(across: Sequence[Piece]) -> list[tuple[float, float]]:
    edges = [float("-inf"), *sorted({_middle(piece) for piece in across}), float("inf")]
    return list(pairwise(edges))


def _gutter(pieces: Sequence[Piece]) -> float | None:
    """Return the left edge of a column that has prose on both sides and the fewest pieces running across."""
    edges = sorted({piece.x1 for piece in pieces if piece.is_prose})
    found = [
        (len(across), edge)
        for edge in edges
        for left, right, across in [_split(pieces, edge)]
        if _is_prose(left) and _is_prose(right) and len(across) < min(len(left), len(right))
    ]
    return min(found)[1] if found else None


def _split(pieces: Sequence[Piece], edge: float) -> tuple[list[Piece], list[Piece], list[Piece]]:
    left = [piece for piece in pieces if piece.x1 < edge and piece.x2 <= edge]
    right = [piece for piece in pieces if piece.x1 >= edge]
    return left, right, [piece for piece in pieces if piece.x1 < edge < piece.x2]


def _is_prose(column: Sequence[Piece]) -> bool:
    width = max((piece.x2 - piece.x1 for piece in column), default=0.0)
    full = [piece for piece in column if piece.is_prose and piece.x2 - piece.x1 >= FILLED * width]
    return len(full) >= PROSE_LINES and 2 * len(full) > len(column)


def _middle(piece: Piece) -> float:
    return (piece.y1 + piece.y2) / 2
