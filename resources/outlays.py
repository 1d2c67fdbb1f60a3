"""What the reply ledger says was paid, as a resource."""

from collections.abc import Collection

import dagster as dg
from pydantic import Field

from mmat_dagster.ledger.outlays import Outlay, read_outlays
from mmat_dagster.release.ledger import ReadOutlays


class LedgerOutlays(dg.ConfigurableResource[ReadOutlays], ReadOutlays):
    """Reads the ledger that the teacher's replies are in."""

    ledger: str = Field(repr=False, description="An SQLite file or postgresql://...")

    def read(self, labels: Collection[str]) -> tuple[Outlay, ...]:
        """Return what was paid for `labels`."""
        return read_outlays(self.ledger, labels)
