"""Checkpoints: students trained on RR or ORR dialogues, of one source or of all that are there."""

import dagster as dg

from assets.integration import orr_dialogues
from assets.partitions import IN_MIXTURES, MIXTURES, OWNERS
from assets.reflection import rr_dialogues
from assets.training import Work, train
from assets.training_config import TrainingConfig
from mmat_dagster.fingerprints import code_fingerprint
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.training.executor import TrainingExecutor
from mmat_dagster.training.spec import CODE, Student


@dg.asset(
    deps=[dg.AssetDep(rr_dialogues, partition_mapping=IN_MIXTURES)],
    partitions_def=MIXTURES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="training",
    kinds={"huggingface", "pytorch"},
    owners=OWNERS,
    code_version=code_fingerprint(*CODE),
)
def rr_checkpoint(
    context: dg.AssetExecutionContext,
    config: TrainingConfig,
    pipeline: dg.ResourceParam[Pipeline],
    training_executor: dg.ResourceParam[TrainingExecutor[dg.AssetExecutionContext]],
    student: dg.ResourceParam[Student],
) -> dg.MaterializeResult[None]:
    """A student that reasons step by step, calls operators and reflects: trained on RR dialogues."""
    return train(Work(context, config, pipeline, training_executor, student, "rr_checkpoint"))


@dg.asset(
    deps=[dg.AssetDep(orr_dialogues, partition_mapping=IN_MIXTURES)],
    partitions_def=MIXTURES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="training",
    kinds={"huggingface", "pytorch"},
    owners=OWNERS,
    code_version=code_fingerprint(*CODE),
)
def orr_checkpoint(
    context: dg.AssetExecutionContext,
    config: TrainingConfig,
    pipeline: dg.ResourceParam[Pipeline],
    training_executor: dg.ResourceParam[TrainingExecutor[dg.AssetExecutionContext]],
    student: dg.ResourceParam[Student],
) -> dg.MaterializeResult[None]:
    """A student that answers in one turn, with all its thoughts: trained on ORR dialogues."""
    return train(Work(context, config, pipeline, training_executor, student, "orr_checkpoint"))
