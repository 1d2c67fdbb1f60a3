"""What a picture looks like, in 2.3 kB that survive re-encoding, resizing and a trimmed edge.

aspect (2 bytes) | 48x48 grey levels (2,304 bytes)

Two looks tell whether pictures are alike. The first is a hash of 256 bits taken from the grey levels, quick enough for
all pictures of all benchmarks. Tables and drawings share it by the dozen, so what it finds is looked at again: one
picture is laid over the other, as well as shift, scale, brightness, contrast and sharpness allow, and the place where
they still differ most decides. A single other digit in a table is such a place.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

SIDE = 48
LIKENESS_BYTES = 2 + SIDE * SIDE
HASH_SIDE = 16

# Calibrated on 1.9 million pairs of tables, receipts, drawings and photos: the nearest two different pictures differ
# by 10 grey levels. A picture of low contrast must come nearer still, and most so where it had to be moved to fit.
MAX_DIFFERENCE = 9.0
MAX_SHARE_OF_CONTRAST = 0.6
MAX_SHARE_MOVED = 0.35
# A picture of (nearly) one colour looks like any other such picture: it is like none.
MIN_CONTRAST = 2.0

# A frequency that stands off the median by less, in the sum over all cells, is turned by the noise of an encoder.
_SURE = 24.0

# Widths to heights, as 1/ASPECT_UNIT of a doubling.
ASPECT_UNIT = 1000

# Pictures whose frequencies are taken at once: all of them as floats would be gigabytes.
_AT_ONCE = 500
_NONE = np.zeros((0, HASH_SIDE * HASH_SIDE))

_STEPS = 3
# Where the first step explains less than this share of what differs, the pictures are of different things.
_PROMISE = 0.2
_STEP, _REACH = 0.02, 0.06


def likeness(image: Image.Image) -> bytes:
    """Return the likeness of an upright RGB picture: LIKENESS_BYTES long, equal for equal pixels."""
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    small = rgb.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=4.0).convert("L")
    aspect = round(float(np.log2(image.width / image.height)) * ASPECT_UNIT)
    return struct.pack(">h", max(-32768, min(32767, aspect))) + small.tobytes()


def aspects(likenesses: Sequence[bytes]) -> NDArray[np.int32]:
    """Return the ratio of width to height of each picture, in 1/ASPECT_UNIT of a doubling."""
    return np.array([struct.unpack_from(">h", one)[0] for one in likenesses], dtype=np.int32)


@dataclass(frozen=True, kw_only=True)
class Hashes:
    """256 bits for each picture, as columns of four words: the low frequencies that stand above their median.

    `sure` are those that encoding does not turn; a smooth picture has few of them.
    """

    bits: Words
    sure: Words


def hashes(likenesses: Sequence[bytes]) -> Hashes:
    """Return the hash of each picture."""
    starts = range(0, len(likenesses), _AT_ONCE)
    low = np.concatenate([_NONE, *(_frequencies(likenesses[at : at + _AT_ONCE]) for at in starts)])
    above = low - (np.median(low[:, 1:], axis=1, keepdims=True) if len(low) else 0)
    return Hashes(bits=_packed(above > 0), sure=_packed(np.abs(above) > _SURE))


def has_contrast(one: bytes) -> bool:
    """Say whether the picture shows enough to be recognised by it."""
    return bool(_levels(one).std() >= MIN_CONTRAST)


def difference(one: bytes, other: bytes) -> float | None:
    """Return by how many grey levels two pictures differ where they differ most, or None where they are not alike."""
    blunt, sharp = sorted((_about_zero(one), _about_zero(other)), key=_sharpness)
    contrast = max(float(blunt.std()), float(sharp.std()))
    found = _overlaid(sharp, blunt)
    if found < min(MAX_DIFFERENCE, MAX_SHARE_OF_CONTRAST * contrast):
        return found
    moved = _aligned(sharp, blunt, is_near=found < 2 * MAX_DIFFERENCE)
    return moved if moved < min(MAX_DIFFERENCE, MAX_SHARE_MOVED * contrast) else None


def _levels(one: bytes) -> Floats:
    return np.frombuffer(one, np.uint8, offset=2).reshape(SIDE, SIDE).astype(np.float64)


def _about_zero(one: bytes) -> Floats:
    # Most of a drawing is paper: its white would outweigh the lines in every sum of squares.
    levels = _levels(one)
    return levels - float(levels.mean())


def _frequencies(likenesses: Sequence[bytes]) -> Floats:
    levels, cosines = np.array([_levels(one) for one in likenesses]), _cosines()
    low: Floats = (cosines @ levels @ cosines.T).reshape(len(likenesses), -1)
    return low


def _packed(bits: NDArray[np.bool_]) -> Words:
    words: Words = np.ascontiguousarray(np.packbits(bits, axis=1).view(np.uint64).T)
    return words


@cache
def _cosines() -> Floats:
    """The first rows of the discrete cosine transform."""
    place, frequency = np.arange(SIDE) + 0.5, np.arange(HASH_SIDE)
    rows: Floats = np.cos(np.pi / SIDE * np.outer(frequency, place))
    rows[0] /= np.sqrt(2)
    return rows


def _sharpness(levels: Floats) -> float:
    return float((np.diff(levels, axis=0) ** 2).sum() + (np.diff(levels, axis=1) ** 2).sum())


def _overlaid(sharp: Floats, blunt: Floats) -> float:
    """Return the largest difference of the pictures as they lie, brightness, contrast and sharpness made equal."""
    looks = _looks(sharp, 1)
    return _largest(_misfit(looks, blunt[1:-1, 1:-1])[0])


def _aligned(sharp: Floats, blunt: Floats, *, is_near: bool) -> float:
    """Return the largest difference once `sharp` is shifted and scaled over `blunt` (Gauss-Newton, a few steps)."""
    edge = 3
    goal = blunt[edge:-edge, edge:-edge]
    across, down = np.zeros(2), np.zeros(2)
    moved = sharp
    before = float(_misfit(_looks(sharp, edge), goal)[0].std())
    for _ in range(_STEPS):
        left, weights = _misfit(np.concatenate([_looks(moved, edge), _moves(moved, edge)]), goal)
        if not is_near and left.std() > before * (1 - _PROMISE):
            return float("inf")
        step = np.clip(weights[4:] / max(weights[1], 0.3), -_STEP, _STEP)
        across, down = np.clip(across + step[:2], -_REACH, _REACH), np.clip(down + step[2:], -_REACH, _REACH)
        moved = _resampling(*down) @ sharp @ _resampling(*across).T
    return _largest(_misfit(_looks(moved, edge), goal)[0])


def _looks(levels: Floats, edge: int) -> Floats:
    """Return what brightness, contrast and sharpness can add to a picture, without `edge` cells all around."""
    centre = levels[edge:-edge, edge:-edge]
    left, right, above, below = _neighbours(levels, edge)
    return np.stack([np.ones_like(centre), centre, left + right - 2 * centre, above + below - 2 * centre])


def _moves(levels: Floats, edge: int) -> Floats:
    """Return what scale and shift can add to a picture: across, then down."""
    left, right, above, below = _neighbours(levels, edge)
    across, down = (right - left) * SIDE / 2, (below - above) * SIDE / 2
    place = _places()[edge:-edge]
    return np.stack([across * place, across, down * place[:, None], down])


def _neighbours(levels: Floats, edge: int) -> tuple[Floats, Floats, Floats, Floats]:
    here, before, after = (slice(edge + by, SIDE - edge + by) for by in (0, -1, 1))
    return levels[here, before], levels[here, after], levels[before, here], levels[after, here]


def _misfit(parts: Floats, goal: Floats) -> tuple[Floats, Floats]:
    """Return what the best sum of `parts` leaves of `goal`, and the weights of that sum."""
    rows = parts.reshape(len(parts), -1)
    square = rows @ rows.T
    # A little damping: a picture may have no detail in one direction.
    square[np.diag_indices(len(parts))] += 1e-7 * np.diag(square) + 1e-6
    weights = np.asarray(np.linalg.solve(square, rows @ goal.ravel()), dtype=np.float64)
    return goal - (weights @ rows).reshape(goal.shape), weights


def _largest(left: Floats) -> float:
    """Return the largest difference of 2x2 cells: one cell alone is noise."""
    half = left.shape[0] // 2
    return float(np.abs(left.reshape(half, 2, half, 2).mean(axis=(1, 3))).max())


@cache
def _places() -> Floats:
    places: Floats = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    return places


def _resampling(scale: float, shift: float) -> Floats:
    """Return the matrix that reads one axis of a picture anew, scaled about its middle and shifted (cubic)."""
    wanted = np.clip(((1 + scale) * _places() + shift + 0.5) * SIDE - 0.5, 0, SIDE - 1)
    away = np.abs(wanted[:, None] - np.arange(SIDE))
    near = (1.5 * away - 2.5) * away**2 + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    weights = np.where(away < 1, near, np.where(away < 2, far, 0.0))
    rows: Floats = weights / weights.sum(axis=1, keepdims=True)
    return rows
