"""The scores of the dataset `dialogue_audit`, where it is there."""

from dataclasses import dataclass

import pyarrow as pa

from mmat_dagster import parts
from mmat_dagster.interfaces import Store
from mmat_dagster.parts import Manifest
from mmat_dagster.release.columns import Column, pc


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What an audit says of dialogues, by their ids."""

    table: pa.Table

    def of(self, ids: Column) -> Column:
        """Return the score of each dialogue; null for those that were not judged."""
        if not len(self.table):
            return pa.nulls(len(ids), pa.float64())
        found = pc.index_in(ids, value_set=self.table["id"])
        return self.table["score"].combine_chunks().take(found).cast(pa.float64())

    @property
    def judges(self) -> tuple[str, ...]:
        """Who has judged."""
        return tuple(sorted(map(str, self.table["judge"].unique().to_pylist())))


NO_SCORES = Scores(table=pa.table({"id": pa.array([], pa.string()), "score": pa.array([], pa.float64()), "judge": []}))


def read_scores(store: Store, audit: Manifest | None) -> Scores:
    """Return all scores of an audit: a few bytes a dialogue."""
    tables = [*parts.read_tables(store, audit, ["id", "score", "judge"])] if audit is not None else []
    return Scores(table=pa.concat_tables(tables)) if tables else NO_SCORES
