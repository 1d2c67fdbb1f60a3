"""Finds the benchmark questions that share their words with a given one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Marks = NDArray[np.uint64]

MIN_OVERLAP = 0.8
# A wording asked of more records than this is a template, whether the source or the benchmark asks it.
TEMPLATE_OVER = 20


@dataclass(frozen=True, kw_only=True)
class AskedAlike:
    """A benchmark question by its number, and the share of 8-grams that it has in common with the one asked."""

    number: int
    overlap: float
    is_template: bool


class QuestionSearch:
    """All benchmark questions by their 8-grams: an inverted index in three arrays."""

    def __init__(self, grams: Sequence[Marks], wordings: Sequence[tuple[str, int]]) -> None:
        """Number the questions in order; `wordings` are each one's benchmark and the hash of its words."""
        self._sizes = np.array([len(marks) for marks in grams], dtype=np.int64)
        every = np.concatenate([*grams, np.zeros(0, dtype=np.uint64)])
        order = np.argsort(every, kind="stable")
        self._marks, self._starts = np.unique(every[order], return_index=True)
        self._starts = np.append(self._starts, len(every))
        self._owners = np.repeat(np.arange(len(grams)), self._sizes)[order]
        asked = Counter(wordings)
        self._is_template = np.array([asked[wording] > TEMPLATE_OVER for wording in wordings], dtype=bool)

    def find(self, grams: Marks) -> list[AskedAlike]:
        """Return the questions that share enough of `grams`, best first.

        The share is of the smaller of both sets: benchmarks wrap a source's question in a hint or add its unit, and
        sources wrap a benchmark's; either way the whole of the one was seen in the other.
        """
        owners = self._owners_of(grams)
        if not len(owners):
            return []
        shared = np.bincount(owners)
        numbers = np.flatnonzero(shared)
        overlaps = shared[numbers] / np.minimum(self._sizes[numbers], len(grams))
        order = np.argsort(-overlaps, kind="stable")
        found = zip(numbers[order].tolist(), overlaps[order].tolist(), strict=True)
        return [self._alike(number, overlap) for number, overlap in found if overlap >= MIN_OVERLAP]

    def _alike(self, number: int, overlap: float) -> AskedAlike:
        return AskedAlike(number=number, overlap=overlap, is_template=bool(self._is_template[number]))

    def _owners_of(self, grams: Marks) -> NDArray[np.int64]:
        places = np.searchsorted(self._marks, grams)
        inside = places < len(self._marks)
        hits = places[inside][self._marks[places[inside]] == grams[inside]]
        runs = [self._owners[self._starts[hit] : self._starts[hit + 1]] for hit in hits]
        return np.concatenate(runs) if runs else np.zeros(0, dtype=np.int64)
