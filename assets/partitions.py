"""The partitions: one per source dataset for the data assets, one per mixture of them for the checkpoints."""

from typing import get_args

import dagster as dg

from mmat_dagster.schema import SourceName
from mmat_dagster.training.mixtures import MIXTURES as SOURCES_OF

SOURCES = dg.StaticPartitionsDefinition([*get_args(SourceName)])
MIXTURES = dg.StaticPartitionsDefinition([*SOURCES_OF])
# Each source belongs to the mixture of its own name and to the whole.
IN_MIXTURES = dg.StaticPartitionMapping(
    {source: {name for name, sources in SOURCES_OF.items() if source in sources} for source in get_args(SourceName)}
)
OWNERS = ["team:data"]
