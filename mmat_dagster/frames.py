"""Datasets as pandas data frames, for notebooks and for the status table.

frame = read_frame(LocalStore(root="data/store"), "rr_dialogues", ["tabmwp"])
"""

from collections.abc import Iterable
from dataclasses import fields
from typing import get_args

import pandas as pd

from mmat_dagster import parts
from mmat_dagster.datasets import RECORDS
from mmat_dagster.interfaces import Store
from mmat_dagster.schema import DatasetName, SourceName

DATASETS: tuple[DatasetName, ...] = get_args(DatasetName)
SOURCES: tuple[SourceName, ...] = get_args(SourceName)


def read_frame(store: Store, dataset: DatasetName, sources: Iterable[SourceName] = SOURCES) -> pd.DataFrame:
    """Return the current records of a dataset, one row each, nested fields as dicts and lists.

    Follows the manifests, so that parts of an unfinished rebuild are left out. Sources that are not built have no rows.
    """
    manifests = [parts.read_manifest(store, dataset, source) for source in sources]
    tables = [table for manifest in manifests if manifest for table in parts.read_tables(store, manifest)]
    columns = [field.name for field in fields(RECORDS[dataset])]
    frames = [table.to_pandas() for table in tables if table.num_rows]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def count_frame(store: Store) -> pd.DataFrame:
    """Return rows and rejections of every dataset that is built, by source and dataset."""
    counts = [
        {
            "source": source,
            "dataset": dataset,
            "rows": manifest.rows,
            "rejected": manifest.rejected.total(),
            "reasons": ", ".join(f"{count} {reason}" for reason, count in manifest.rejected.most_common()),
        }
        for source in SOURCES
        for dataset in DATASETS
        if (manifest := parts.read_manifest(store, dataset, source))
    ]
    return pd.DataFrame(counts, columns=["source", "dataset", "rows", "rejected", "reasons"])


def status_frame(store: Store) -> pd.DataFrame:
    """Return one row per source: the rows of each dataset, and what was lost in all of them."""
    counts = count_frame(store)
    rows = counts.pivot_table("rows", "source", "dataset", aggfunc="sum", sort=False).astype("Int64")
    lost = counts.groupby("source", sort=False).agg(rejected=("rejected", "sum"), reasons=("reasons", _joined))
    return rows.reindex(columns=list(DATASETS)).join(lost).rename_axis(index=None, columns=None)


def _joined(reasons: "pd.Series[str]") -> str:
    return ", ".join(filter(None, reasons))
