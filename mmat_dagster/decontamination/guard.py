"""Tells what a sample shares with the benchmarks."""

from collections.abc import Sequence

from mmat_dagster.schema import Leak


class Guard:
    """Compares the samples of one source with all benchmarks."""

    def leaks(self, question: str, images: Sequence[tuple[str, bytes]]) -> tuple[Leak, ...]:
        """Return what the sample shares, best first: one Leak per item; `images` are (sha256, likeness) pairs."""
        raise NotImplementedError
