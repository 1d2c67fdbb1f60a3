"""What the fields of a benchmark's record say, as text."""

import math

from mmat_dagster.decontamination.rows import Row


class RecordError(ValueError):
    """A record lacks what its benchmark's records have; the text says what."""


def field(row: Row, *names: str) -> str:
    """Return the first of these fields that says something; nothing where none does."""
    return next((text for name in names if (text := as_text(row.fields.get(name)).strip())), "")


def needed(row: Row, *names: str) -> str:
    """Return the first of these fields that says something; raise RecordError where none does."""
    text = field(row, *names)
    if not text:
        raise RecordError(f"the record has no {' or '.join(names)}")
    return text


def as_text(value: object) -> str:
    """Return a value as text; nothing for none, and for the NaN that stands for none in tables."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else str(value)
