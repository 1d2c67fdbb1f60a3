"""Finds the benchmark pictures that are, or look like, a given one."""

from collections.abc import Sequence

import numpy as np

from mmat_dagster.likeness import aspects, difference, has_contrast, hashes

# Re-encoding and resizing turn at most 22 of the 256 bits, a trimmed edge of 1 % up to 60.
MAX_TURNED = 48 / 256
# Fewer bits that are sure in both pictures say nothing.
MIN_COMPARED = 8
# In thousandths of a doubling: resizing small pictures rounds their sides, a trimmed edge changes one of them.
ASPECT_REACH = 100
# Nobody needs all of a benchmark's pictures that a common one may look like.
NEAREST = 16
GREY_LEVELS = 255


class PictureSearch:
    """The distinct pictures of all benchmarks, in the order of their aspects: only a stretch of it can be alike."""

    def __init__(self, likenesses: Sequence[bytes]) -> None:
        """Number the pictures as they come."""
        shapes = aspects(likenesses)
        self._likenesses = likenesses
        self._numbers = np.argsort(shapes, kind="stable")
        self._aspects = shapes[self._numbers]
        self._hashes = hashes([likenesses[number] for number in self._numbers])

    def find(self, likeness: bytes) -> list[tuple[int, float]]:
        """Return the numbers of pictures that look like this one with a score up to 1.0, the nearest hashes first."""
        if not has_contrast(likeness):
            return []
        found = ((number, difference(likeness, self._likenesses[number])) for number in self._nearest(likeness))
        return [(number, 1 - levels / GREY_LEVELS) for number, levels in found if levels is not None]

    def _nearest(self, likeness: bytes) -> list[int]:
        aspect = aspects([likeness])[0]
        first, last = np.searchsorted(self._aspects, (aspect - ASPECT_REACH, aspect + ASPECT_REACH + 1))
        mine, theirs = hashes([likeness]), self._hashes
        sure = mine.sure & theirs.sure[:, first:last]
        compared = np.bitwise_count(sure).sum(axis=0, dtype=np.int64)
        turned = np.bitwise_count((mine.bits ^ theirs.bits[:, first:last]) & sure).sum(axis=0, dtype=np.int64)
        share = turned / np.maximum(compared, 1)
        near = np.flatnonzero((share <= MAX_TURNED) & (compared >= MIN_COMPARED))
        nearest = near[np.argsort(share[near], kind="stable")[:NEAREST]]
        numbers: list[int] = self._numbers[first + nearest].tolist()
        return numbers
