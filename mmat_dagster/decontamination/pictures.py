"""Finds the benchmark pictures that are, or look like, a given one."""

from collections.abc import Sequence

import numpy as np

from mmat_dagster.likeness import aspects, difference, has_contrast, hashes

# Re-encoding and resizing turn at most 22 of the 256 bits, a trimmed edge of 1 % up to 60.
RADIUS = 48
# In thousandths of a doubling: resizing small pictures rounds their sides, a trimmed edge changes one of them.
ASPECT_REACH = 100
# Nobody needs all of a benchmark's pictures that a common one may look like.
NEAREST = 16
GREY_LEVELS = 255


class PictureSearch:
    """The distinct pictures of all benchmarks."""

    def __init__(self, likenesses: Sequence[bytes]) -> None:
        """Number the pictures in order."""
        self._likenesses = likenesses
        self._hashes = hashes(list(likenesses))
        self._aspects = aspects(list(likenesses))

    def find(self, likeness: bytes) -> list[tuple[int, float]]:
        """Return the numbers of pictures that look like this one with a score up to 1.0, the nearest hashes first."""
        if not has_contrast(likeness):
            return []
        found = ((number, difference(likeness, self._likenesses[number])) for number in self._nearest(likeness))
        return [(number, 1 - levels / GREY_LEVELS) for number, levels in found if levels is not None]

    def _nearest(self, likeness: bytes) -> list[int]:
        turned = np.bitwise_count(self._hashes ^ hashes([likeness])[0]).sum(axis=1)
        shaped = np.abs(self._aspects - aspects([likeness])[0]) <= ASPECT_REACH
        near = np.flatnonzero((turned <= RADIUS) & shaped)
        numbers: list[int] = near[np.argsort(turned[near], kind="stable")[:NEAREST]].tolist()
        return numbers
