"""What the assets share: partitions (a source each, or a mixture of them), owners, and the teacher's pool."""

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
# What may ask the teacher: an instance can bound how many such runs go on at once (docs/deploy.md).
TEACHER_POOL = "teacher"
