"""A part of a source under the licence that its records carry: what exports and releases count by."""

from dataclasses import dataclass

from mmat_dagster.licences import licence_of
from mmat_dagster.schema import SourceName


@dataclass(frozen=True, kw_only=True, order=True)
class PartKey:
    """A part of a source under one licence, as its records say."""

    source: SourceName
    part: str
    licence: str

    @property
    def is_commercial(self) -> bool:
        """Say whether the part may be used commercially, as far as its records' licence is still the one on file."""
        licence = licence_of(self.source, self.part)
        return licence.is_commercial and licence.name == self.licence
