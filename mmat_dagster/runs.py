"""Runs from scripts and cron: one Dagster run per source or mixture, recorded in the history that the UI shows."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import dagster as dg
from dagster._cli.utils import get_possibly_temporary_instance_for_cli

from assets.waiting import waiting_for
from mmat_dagster import parts
from mmat_dagster.accounting import open_pipeline, refused_batch
from mmat_dagster.datasets import chain
from mmat_dagster.definitions import defs
from mmat_dagster.environment import BadEnvironment, Environment, read_environment
from mmat_dagster.evaluation.results import SCORES
from mmat_dagster.release.publishing import Release, read_release
from mmat_dagster.schema import DatasetName, SourceName
from mmat_dagster.scoreboards import print_scores
from mmat_dagster.training.checkpoints import Checkpoint, read_current
from mmat_dagster.training.mixtures import CheckpointName
from resources.stores import open_store

INTERRUPTED = "DagsterExecutionInterruptedError"
RELEASE = "dataset_release"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
ROW = "{:<14} {:>9} {:>9}  {}"


def materialize(
    dataset: DatasetName, sources: Sequence[SourceName], *, is_named: bool, wait_s: float | None = None
) -> int:
    """Build `dataset` of `sources`, one run each, and print what came of it; return the exit code.

    A source whose folder is absent is told and passed over, unless it was asked for by name. One that waits for a batch
    is told; with `wait_s` it is looked at every so many seconds, and built on as its batches end.
    """
    environment = _read_environment()
    print(ROW.format("source", "accepted", "rejected", f"{dataset} in {environment.store_location}"), flush=True)
    # The instance that `dagster asset materialize` and `dagster dev` use: DAGSTER_HOME, else ./dagster.yaml.
    with get_possibly_temporary_instance_for_cli() as instance:
        outcomes = {source: _materialize_source(instance, environment, dataset, source, is_named) for source in sources}
        while wait_s is not None and (waiting := [source for source in sources if outcomes[source] == "waiting"]):
            with open_pipeline() as pipeline:
                refused = refused_batch(pipeline, wait_s)
            if refused is not None:
                print(f"the provider has refused a batch for {refused.label}: {refused.detail}", flush=True)
                return 1
            for source in waiting:
                outcomes[source] = _materialize_source(instance, environment, dataset, source, is_named)
    return 1 if "failed" in outcomes.values() else 0


def train(checkpoint: CheckpointName, mixtures: Sequence[str]) -> int:
    """Train `checkpoint` on each of `mixtures`, one run each, and print what came of it; return the exit code.

    What is missing of their dialogues is built first.
    """
    environment = _read_environment()
    title = f"{checkpoint} in {environment.store_location}"
    print(ROW.format("mixture", "steps", "loss", title), flush=True)
    with get_possibly_temporary_instance_for_cli() as instance:
        are_trained = [_train_mixture(instance, environment, checkpoint, mixture) for mixture in mixtures]
    return 0 if all(are_trained) else 1


def examine(mixtures: Sequence[str]) -> int:
    """Score the students of each of `mixtures`, one run each, and print what came of it; return the exit code."""
    environment = _read_environment()
    print(f"benchmark_scores in {environment.store_location}", flush=True)
    with get_possibly_temporary_instance_for_cli() as instance:
        are_examined = [_examine_mixture(instance, environment, mixture) for mixture in mixtures]
    return 0 if all(are_examined) else 1


def release(config: Mapping[str, object]) -> int:
    """Release all dialogues that are built, and print what came of it; return the exit code."""
    environment = _read_environment()
    with get_possibly_temporary_instance_for_cli() as instance:
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(RELEASE)],
            run_config={"ops": {RELEASE: {"config": dict(config)}}, **QUIET},
            raise_on_error=False,
        )
    made = read_release(open_store(environment)) if result.success else None
    print(_released(environment, made) if made else _failure(result, RELEASE), flush=True)
    return 0 if made else 1


def _released(environment: Environment, made: Release) -> str:
    splits = "; ".join(
        f"{form}: " + ", ".join(f"{count:,} {side}" for side, count in sides.items())
        for form, sides in made.splits.items()
    )
    left_out = f"; {made.dropped:,} left out, each named in dropped.jsonl" if made.dropped else ""
    return f"{splits}; over {made.images:,} images{left_out}\n{open_store(environment).locate(made.prefix)}"


def _examine_mixture(instance: dg.DagsterInstance, environment: Environment, mixture: str) -> bool:
    result = _execute(instance, [SCORES], mixture)
    if not result.success:
        print(_failure(result, mixture), flush=True)
        return False
    return print_scores(open_store(environment), mixture) == 0


def _read_environment() -> Environment:
    environment = read_environment(os.environ)
    if not environment.is_sample and not environment.sources.is_dir():
        raise BadEnvironment(f"MMAT_SOURCES names {environment.sources}, and there is no such folder")
    return environment


def _train_mixture(
    instance: dg.DagsterInstance, environment: Environment, checkpoint: CheckpointName, mixture: str
) -> bool:
    result = _execute(instance, [checkpoint], mixture)
    trained = read_current(open_store(environment), checkpoint, mixture) if result.success else None
    print(_trained(trained) if trained else _failure(result, mixture), flush=True)
    return trained is not None


def _trained(checkpoint: Checkpoint) -> str:
    outcome = checkpoint.outcome
    loss = "-" if outcome.final_loss is None else f"{outcome.final_loss:.4f}"
    return ROW.format(checkpoint.mixture, outcome.step, loss, checkpoint.folder)


def _execute(instance: dg.DagsterInstance, assets: Sequence[str], partition: str) -> dg.ExecuteInProcessResult:
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        partition_key=partition,
        asset_selection=[dg.AssetKey(each) for each in assets],
        run_config=QUIET,
        raise_on_error=False,
    )


def _materialize_source(
    instance: dg.DagsterInstance,
    environment: Environment,
    dataset: DatasetName,
    source: SourceName,
    is_named: bool,
) -> Literal["built", "waiting", "absent", "failed"]:
    if not is_named and not environment.is_sample and not (environment.sources / source).exists():
        print(ROW.format(source, "-", "-", f"absent: there is no folder {environment.sources / source}"), flush=True)
        return "absent"
    result = _execute(instance, chain(dataset), source)
    run = instance.get_run_by_id(result.run_id)
    labels = waiting_for(run.tags) if run and result.success else ()
    if labels:
        told = ROW.format(source, "-", "-", f"waiting for a batch: {', '.join(labels)}")
    else:
        told = _success(environment, dataset, source) if result.success else _failure(result, source)
    print(told, flush=True)
    return "waiting" if labels else "built" if result.success else "failed"


def _success(environment: Environment, dataset: DatasetName, source: SourceName) -> str:
    store = open_store(environment)
    manifests = [parts.read_manifest(store, each, source) for each in chain(dataset)]
    rejected = sum((manifest.rejected for manifest in manifests if manifest), Counter[str]())
    last = manifests[-1]
    accepted = last.rows if last else 0
    reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.most_common())
    return ROW.format(source, accepted, rejected.total(), reasons)


def _failure(result: dg.ExecuteInProcessResult, partition: str) -> str:
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    if any(data.error and data.error.cls_name == INTERRUPTED for data in failures):
        return ROW.format(partition, "-", "-", "interrupted; what was finished is kept, run again to go on")
    told = [
        data.user_failure_data.description if data.user_failure_data else data.error_display_string for data in failures
    ]
    return ROW.format(partition, "-", "-", "failed: " + "\n".join(filter(None, told)))
