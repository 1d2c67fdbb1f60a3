"""Foundation: five published multimodal QA sets become uniform QA records, kept apart from the benchmarks."""

import dagster as dg

from assets.build import BuildConfig, build
from assets.conditions import MISSING_OR_STALE
from assets.leaks import check_leaks
from assets.partitions import OWNERS, SOURCES
from assets.published import data_versions
from mmat_dagster.datasets import code_version
from mmat_dagster.pipeline import Pipeline


@dg.observable_source_asset(partitions_def=SOURCES, group_name="foundation")
def source_files(context: dg.OpExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> dg.DataVersionsByPartition:
    """The publishers' own files below `MMAT_SOURCES`, by name, size and hash.

    Observe it to learn which sources have changed: a file that comes, goes or changes makes its own source stale.
    """
    return data_versions(context, pipeline)


@dg.asset(
    deps=[source_files],
    partitions_def=SOURCES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="foundation",
    kinds={"python", "parquet"},
    owners=OWNERS,
    code_version=code_version("source_qa"),
    automation_condition=MISSING_OR_STALE,
)
def source_qa(
    context: dg.AssetExecutionContext, config: BuildConfig, pipeline: dg.ResourceParam[Pipeline]
) -> dg.MaterializeResult[None]:
    """Uniform QA records of one source: question with its response-style constraint, gold answers, verified images.

    Read from the publisher's own files below `MMAT_SOURCES`; where that is not set, from the project's sample corpus.
    """
    return build(context, config, pipeline, "source_qa")


@dg.asset_check(asset=source_qa, partitions_def=SOURCES, description="No sample gives an evaluation benchmark away.")
def source_qa_leaks_no_benchmark(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]
) -> dg.AssetCheckResult:
    """Look for samples that share an image or a question with a benchmark below `MMAT_BENCHMARKS`."""
    return check_leaks(context, pipeline)
