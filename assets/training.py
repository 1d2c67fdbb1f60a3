"""What the checkpoint assets have in common: train the mixtures that a run asks for, and tell Dagster what was made."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import dagster as dg
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

from assets.build import RUN_ERRORS, provide
from assets.records import CODE_VERSION_TAG, DATA_VERSION_TAG, input_tags, last_record
from assets.training_config import TrainingConfig
from assets.training_metadata import describe_checkpoint
from assets.waiting import wait_for
from mmat_dagster.fingerprints import code_fingerprint, fingerprint
from mmat_dagster.parts import Manifest
from mmat_dagster.pipeline import Pipeline, RepliesPending, UpstreamMissing
from mmat_dagster.schema import SourceName
from mmat_dagster.sources.layout import SourceAbsent, SourceError
from mmat_dagster.training.checkpoints import Trained, TrainingPreempted, obtain_checkpoint
from mmat_dagster.training.executor import TrainingExecutor, TrainingFailed
from mmat_dagster.training.mixtures import DIALOGUES, CheckpointName, Order, make_run
from mmat_dagster.training.spec import CODE, BadRun, Student

# What keeps one mixture from being trained, and no other.
MIXTURE_ERRORS = (BadRun, RepliesPending, SourceError, TrainingFailed, UpstreamMissing)


@dataclass(frozen=True)
class Work:
    """One run of a checkpoint asset."""

    context: dg.AssetExecutionContext
    config: TrainingConfig
    pipeline: Pipeline
    executor: TrainingExecutor[dg.AssetExecutionContext]
    student: Student
    checkpoint: CheckpointName


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What came of one mixture of a run; `why` where it is not trained, `step` where it was pre-empted."""

    kind: Literal["trained", "preempted", "absent", "failed"]
    why: str = ""
    step: int = 0


def train(work: Work) -> dg.MaterializeResult[None]:
    """Train every mixture that the run asks for; each is recorded as soon as it is finished.

    One that fails does not stop the others, and fails the run at its end. So does one that is pre-empted, unless the
    run is to go on with it by itself. One whose sources are absent is a warning unless all are.
    """
    outcomes = [_try_mixture(work, mixture) for mixture in work.context.partition_keys]
    are_all_absent = all(outcome.kind == "absent" for outcome in outcomes)
    untrained = [each for each in outcomes if each.kind in ("preempted", "failed") or are_all_absent]
    if untrained:
        raise _end(work, untrained)
    # As for the data assets: every mixture was recorded above, when it was finished.
    return dg.MaterializeResult(metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True})


def _end(work: Work, untrained: Sequence[_Outcome]) -> dg.Failure | dg.RetryRequested:
    """Return what ends a run of which not every mixture is trained."""
    why = "\n".join(outcome.why for outcome in untrained)
    if any(outcome.kind != "preempted" for outcome in untrained):
        return dg.Failure(description=why, metadata={"state": "failed"}, allow_retries=False)
    if work.context.op_execution_context.retry_number < work.config.retries:
        return dg.RetryRequested(max_retries=work.config.retries)
    step = max(outcome.step for outcome in untrained)
    return dg.Failure(description=why, metadata={"state": "preempted", "step": step}, allow_retries=False)


def _try_mixture(work: Work, mixture: str) -> _Outcome:
    """Train one mixture; what would hit every other one too ends the run."""
    try:
        _train_mixture(work, mixture)
    except TrainingPreempted as stopped:
        work.context.log.warning(str(stopped))
        return _Outcome(kind="preempted", why=str(stopped), step=stopped.outcome.step)
    except SourceAbsent as absent:
        why = f"{work.checkpoint} of {mixture} was not trained. {absent}"
        work.context.log.warning(why)
        return _Outcome(kind="absent", why=why)
    except MIXTURE_ERRORS as error:
        work.context.log.error(str(error))
        return _Outcome(kind="failed", why=f"{work.checkpoint} of {mixture}: {error}")
    except RUN_ERRORS as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    return _Outcome(kind="trained")


def _train_mixture(work: Work, mixture: str) -> None:
    order = work.config.order(work.checkpoint, mixture, work.student)
    manifests, passed_over = _datasets(work, order)
    sources_there = work.executor.sources_there(str(work.pipeline.sources.absolute()))
    run = make_run(work.pipeline, order, manifests, work.executor.world_size, sources_there)
    trained = obtain_checkpoint(work.pipeline.store, order, run, partial(work.executor.train, work.context))
    _record(work, trained, manifests, passed_over)


def _datasets(work: Work, order: Order) -> tuple[list[Manifest], dict[SourceName, str]]:
    """Return the datasets of a mixture, up to date, and why others of its sources are passed over."""
    found: dict[SourceName, Manifest] = {}
    passed_over: dict[SourceName, str] = {}
    for source in order.sources:
        try:
            found[source] = _dataset(work, order, source)
        except SourceAbsent as absent:
            passed_over[source] = str(absent)
    if passed_over and not found:
        raise SourceAbsent("\n".join(passed_over.values()))
    passed_over |= {source: _empty(manifest) for source, manifest in found.items() if not manifest.rows}
    for source, why in passed_over.items():
        work.context.log.warning(f"{order.name} does without {source}. {why}")
    manifests = [manifest for manifest in found.values() if manifest.rows]
    if not manifests:
        reasons = "\n".join(passed_over.values()) or "All of its sources have the weight 0."
        raise BadRun(f"There is nothing to learn from. {reasons}")
    return manifests, passed_over


def _empty(manifest: Manifest) -> str:
    dataset, source = manifest.dataset, manifest.source
    return (
        f"{dataset} of {source} is empty. What was lost on the way: "
        f"python -m mmat_dagster show {dataset} --source {source} --rejected"
    )


def _dataset(work: Work, order: Order, source: SourceName) -> Manifest:
    dataset = DIALOGUES[order.checkpoint]
    try:
        return provide(work.context, work.config, work.pipeline, dataset, source)
    except RepliesPending as pending:
        # The sensor goes on with the dialogues; a checkpoint of them is asked for by hand.
        wait_for(work.context, dataset, pending.label)
        raise


def _record(work: Work, trained: Trained, manifests: Sequence[Manifest], passed_over: dict[SourceName, str]) -> None:
    checkpoint = trained.checkpoint
    work.context.log.info(
        f"{checkpoint.checkpoint} of {checkpoint.mixture}: {checkpoint.student.name}, {checkpoint.outcome.step} steps"
        + (", trained before" if trained.is_reused else "")
    )
    tags = {CODE_VERSION_TAG: code_fingerprint(*CODE), DATA_VERSION_TAG: checkpoint.fingerprint}
    work.context.log_event(
        dg.AssetMaterialization(
            asset_key=checkpoint.checkpoint,
            partition=checkpoint.mixture,
            metadata=describe_checkpoint(work.pipeline.store, trained, passed_over),
            tags=tags | _inputs(work, manifests),
        )
    )


def _inputs(work: Work, manifests: Sequence[Manifest]) -> dict[str, str]:
    """Return the tags that name the dialogues; Dagster takes one event for all, and looks for later ones."""
    dataset = manifests[0].dataset
    told = [last_record(work.context.instance, dataset, manifest.source) for manifest in manifests]
    last = max((record for record in told if record), key=lambda record: record.storage_id, default=None)
    return input_tags(dataset, fingerprint(manifest.fingerprint for manifest in manifests), last)
