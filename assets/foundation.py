"""Foundation: five published multimodal QA sets become uniform QA records."""

import dagster as dg

from assets.build import BuildConfig, build
from assets.partitions import OWNERS, SOURCES
from mmat_dagster.datasets import code_version
from mmat_dagster.pipeline import Pipeline


@dg.asset(
    partitions_def=SOURCES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="foundation",
    kinds={"python", "parquet"},
    owners=OWNERS,
    code_version=code_version("source_qa"),
)
def source_qa(
    context: dg.AssetExecutionContext, config: BuildConfig, pipeline: dg.ResourceParam[Pipeline]
) -> dg.MaterializeResult[None]:
    """Uniform QA records of one source: question with its response-style constraint, gold answers, verified images.

    Read from the publisher's own files below `MMAT_SOURCES`; where that is not set, from the project's sample corpus.
    """
    return build(context, config, pipeline, "source_qa")
