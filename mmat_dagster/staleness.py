"""What there is to do for a source: whether its folder is ready to be read, and which of its datasets are stale."""

from dataclasses import dataclass
from typing import get_args

from mmat_dagster import parts
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.progress import duration
from mmat_dagster.schema import DatasetName, SourceName
from mmat_dagster.sources.layout import SourceError
from mmat_dagster.sources.state import Glance

# Made where somebody asked for it once: a judge is paid beside the teacher.
ON_REQUEST: frozenset[DatasetName] = frozenset({"dialogue_audit"})


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How a schedule or sensor looks at folders.

    A folder in which something changed in the last `settle_s` seconds is still being copied. Up to `read_bytes` of new
    files are read to learn whether a source has changed; above that a run is asked for without knowing.
    """

    settle_s: float = 600.0
    read_bytes: int = 500_000_000

    def can_read(self, seen: Glance) -> bool:
        """Say whether what is not known of the files may be read here and now."""
        return seen.unread_bytes <= self.read_bytes


def look_at_folder(pipeline: Pipeline, source: SourceName, patience: Patience, now: float) -> Glance | str:
    """Return what the folder's files tell; in words why it cannot be built from, where that is so."""
    try:
        seen = pipeline.source_parts(source).glance()
    except (SourceError, OSError) as error:  # the latter where a folder goes while it is looked at
        return str(error)
    still_s = now - seen.changed_at
    if still_s < patience.settle_s:
        return (
            f"the files of its folder, or of the benchmarks', changed {_ago(still_s)}, and may still be copied. It is "
            f"left alone until nothing has changed for {duration(patience.settle_s)}."
        )
    return seen


def stale_datasets(pipeline: Pipeline, source: SourceName) -> tuple[DatasetName, ...]:
    """Return what of `source` is missing or not up to date, the first one first; an audit only where there is one.

    Raises SourceError, and what asking operators for their versions may raise.
    """
    current = pipeline.current_datasets(source)
    return tuple(dataset for dataset in wanted_datasets(pipeline, source) if dataset not in current)


def wanted_datasets(pipeline: Pipeline, source: SourceName) -> tuple[DatasetName, ...]:
    """Return what is kept up to date of `source`."""
    return tuple(
        dataset
        for dataset in get_args(DatasetName)
        if dataset not in ON_REQUEST or parts.read_manifest(pipeline.store, dataset, source) is not None
    )


def _ago(still_s: float) -> str:
    return f"{duration(still_s)} ago" if still_s >= 0 else f"{duration(-still_s)} from now, by the file system's clock"
