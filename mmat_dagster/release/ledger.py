"""Who tells what the models were paid."""

from abc import ABC, abstractmethod
from collections.abc import Collection

from mmat_dagster.ledger.outlays import Outlay


class ReadOutlays(ABC):
    """Reads what was paid for the datasets of a release."""

    @abstractmethod
    def read(self, labels: Collection[str]) -> tuple[Outlay, ...]:
        """Return what was paid for `labels`; raise LedgerError where the ledger cannot be read."""
