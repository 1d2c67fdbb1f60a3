"""The publishers' files as Dagster sees them: one data version per source."""

from typing import cast

import dagster as dg

from assets.partitions import SOURCES
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.schema import SourceName
from mmat_dagster.sources.layout import SourceError

SOURCE_FILES = "source_files"


def data_versions(context: dg.OpExecutionContext, pipeline: Pipeline) -> dg.DataVersionsByPartition:
    """Return the data version of every source whose folder is usable; the others are logged."""
    versions: dict[str, dg.DataVersion] = {}
    for key in SOURCES.get_partition_keys():
        try:
            versions[key] = dg.DataVersion(pipeline.source_parts(cast("SourceName", key)).state())
        except SourceError as error:
            context.log.warning(f"{key} was not looked at. {error}")
    return dg.DataVersionsByPartition(versions)
