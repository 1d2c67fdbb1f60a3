"""Datasets that were left as they are when what they stand on was built anew."""

from dataclasses import replace
from pathlib import Path

from mmat_dagster import parts
from mmat_dagster.schema import DatasetName, SourceName
from resources.store import LocalStore


def leave_behind(root: Path, dataset: DatasetName, source: SourceName = "tabmwp") -> None:
    """Have a dataset of the store at `root` be made from other records than there are now."""
    store = LocalStore(root=str(root))
    manifest = parts.read_manifest(store, dataset, source)
    assert manifest is not None
    parts.publish(store, replace(manifest, made_from="others"))
