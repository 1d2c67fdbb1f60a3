"""Where a dialogue stands, as one number: dialogues are paged through in its order, however deep.

16 bits of source, 24 bits of part, 24 bits of row
"""

from dataclasses import dataclass
from typing import get_args

from mmat_dagster.schema import SourceName

SOURCES: tuple[SourceName, ...] = get_args(SourceName)
ROW_BITS = 24
PART_BITS = 24
LAST = (1 << 62) - 1


@dataclass(frozen=True)
class Place:
    """A row of a part of a source's RR dialogues; part and row count from 0."""

    source: SourceName
    part: int
    row: int = 0

    @property
    def number(self) -> int:
        """The place as a number; a dialogue behind another has the greater one."""
        return (SOURCES.index(self.source) << (PART_BITS + ROW_BITS)) | (self.part << ROW_BITS) | self.row


def place_of(number: int) -> Place:
    """Return the place that `number` stands for; raise ValueError where it stands for none."""
    source_at, part, row = number >> (PART_BITS + ROW_BITS), number >> ROW_BITS, number
    if not 0 <= source_at < len(SOURCES):
        raise ValueError(f"no place: {number}")
    return Place(SOURCES[source_at], part & ((1 << PART_BITS) - 1), row & ((1 << ROW_BITS) - 1))
