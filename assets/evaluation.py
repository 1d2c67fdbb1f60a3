"""Benchmark scores: a mixture's students examined as in the paper, beside the student that they come from."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

import dagster as dg
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

from assets.build import RUN_ERRORS
from assets.checkpoints import orr_checkpoint, rr_checkpoint
from assets.evaluation_config import EvaluationConfig
from assets.evaluation_metadata import describe_scores
from assets.evaluation_reporting import ExaminationReporter
from assets.freshness import A_MONTH_OR_A_QUARTER
from assets.partitions import MIXTURES, OWNERS
from assets.records import CODE_VERSION_TAG, DATA_VERSION_TAG, input_tags, last_record
from mmat_dagster.evaluation.board import Board, NothingToExamine, Plan, Scored
from mmat_dagster.evaluation.examining import CODE
from mmat_dagster.evaluation.hosts import HostingFailed, StudentHost
from mmat_dagster.evaluation.results import read_scoreboard
from mmat_dagster.fingerprints import code_fingerprint
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.reasoning import Toolbox
from mmat_dagster.scoring.benchmark import ScoringError
from mmat_dagster.training.checkpoints import read_current
from mmat_dagster.training.mixtures import CheckpointName
from mmat_dagster.training.spec import BadRun, Student

# What keeps one mixture from being scored, and no other.
MIXTURE_ERRORS = (BadRun, HostingFailed, NothingToExamine, ScoringError)
CHECKPOINTS: tuple[CheckpointName, ...] = get_args(CheckpointName)
SCORING_CODE = (*CODE, "evaluation/*.py")


@dg.asset(
    deps=[rr_checkpoint, orr_checkpoint],
    partitions_def=MIXTURES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="evaluation",
    kinds={"python", "parquet"},
    owners=OWNERS,
    code_version=code_fingerprint(*SCORING_CODE),
    freshness_policy=A_MONTH_OR_A_QUARTER,
)
def benchmark_scores(
    context: dg.AssetExecutionContext,
    config: EvaluationConfig,
    pipeline: dg.ResourceParam[Pipeline],
    student_host: dg.ResourceParam[StudentHost],
    student: dg.ResourceParam[Student],
) -> dg.MaterializeResult[None]:
    """How good base, ORR and RR students are: the official scores of benchmarks, with intervals and significance."""
    tools = Toolbox(operators=pipeline.operators, retriever=pipeline.search.over(None), look=pipeline.look)
    board = Board(store=pipeline.store, host=student_host, tools=tools)
    folder = pipeline.settings.benchmarks or Path("benchmarks")
    failures = [
        f"{mixture}: {failure}"
        for mixture in context.partition_keys
        if (failure := _try_mixture(context, board, partial(config.plan, mixture, student, folder, pipeline.teacher)))
    ]
    if failures:
        raise dg.Failure(description="\n".join(failures), allow_retries=False)
    # As for the other assets: every mixture was recorded when it was finished.
    return dg.MaterializeResult(metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True})


def _try_mixture(context: dg.AssetExecutionContext, board: Board, make_plan: Callable[[], Plan]) -> str | None:
    """Examine one mixture's students; return why that could not be, or None."""
    try:
        _examine_mixture(context, board, make_plan())
    except MIXTURE_ERRORS as error:
        return str(error)
    except RUN_ERRORS as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    return None


def _examine_mixture(context: dg.AssetExecutionContext, board: Board, plan: Plan) -> None:
    candidates, missing = board.candidates(plan)
    for name, why in missing.items():
        context.log.warning(f"{name} is not examined: {why}")
    if not candidates:
        raise NothingToExamine("\n".join(missing.values()))
    asked, passed_over = board.ask(plan)
    for name, why in passed_over.items():
        context.log.warning(f"{name} is not asked: {why}")
    missing |= passed_over
    reused = 0
    with ExaminationReporter(context.log) as reporter:
        for scored in board.examine(plan, candidates, asked, reporter.report):
            context.log.info(_told(scored))
            reused += scored.is_reused
    _record(context, board, plan, missing, reused)


def _told(scored: Scored) -> str:
    result, figure = scored.result, scored.result.overall
    return (
        f"{result.variant} on {result.title}: {figure.value:.2f} of {result.full_marks:g} "
        f"({figure.interval.low:.2f} to {figure.interval.high:.2f}), {result.n} questions"
        + (", examined before" if scored.is_reused else "")
    )


def _record(context: dg.AssetExecutionContext, board: Board, plan: Plan, missing: dict[str, str], reused: int) -> None:
    scores = read_scoreboard(board.store, plan.mixture)
    tags = {CODE_VERSION_TAG: code_fingerprint(*SCORING_CODE), DATA_VERSION_TAG: scores.fingerprint}
    tags |= _inputs(context, board, plan.mixture)
    context.log_event(
        dg.AssetMaterialization(
            asset_key="benchmark_scores",
            partition=plan.mixture,
            metadata=describe_scores(board.store, scores, missing, reused),
            tags=tags,
        )
    )


def _inputs(context: dg.AssetExecutionContext, board: Board, mixture: str) -> dict[str, str]:
    """Return the tags that name the checkpoints of the mixture, so that Dagster knows when one of them is newer."""
    tags: dict[str, str] = {}
    for name in CHECKPOINTS:
        checkpoint = read_current(board.store, name, mixture)
        if checkpoint is not None:
            tags |= input_tags(name, checkpoint.fingerprint, last_record(context.instance, name, mixture))
    return tags
