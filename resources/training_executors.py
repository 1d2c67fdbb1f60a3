"""Which executor trains, by MMAT_TRAINING: one table."""

from collections.abc import Callable, Mapping

import dagster as dg

from mmat_dagster.environment import Environment
from mmat_dagster.training.executor import TrainingExecutor
from mmat_dagster.training.places import PlaceName
from resources.ecs_training_executor import EcsTrainingExecutor
from resources.operators import given
from resources.ray_training_executor import RayTrainingExecutor
from resources.training_executor import LocalTrainingExecutor

ExecutorResource = dg.ConfigurableResource[TrainingExecutor[dg.AssetExecutionContext]]


def _local(environment: Environment) -> ExecutorResource:
    return LocalTrainingExecutor(**given(processes=environment.train_processes))


def _ecs(environment: Environment) -> ExecutorResource:
    place, ecs = environment.training, environment.training.ecs
    assert ecs is not None
    return EcsTrainingExecutor(
        cluster=ecs.cluster,
        task_definition=ecs.task_definition,
        subnets=list(ecs.subnets),
        security_groups=list(ecs.security_groups),
        **given(
            processes=environment.train_processes,
            gpus=place.gpus,
            sources=place.sources,
            container=ecs.container,
            capacity_provider=ecs.capacity_provider,
            spot_capacity_provider=ecs.spot_capacity_provider,
        ),
    )


def _ray(environment: Environment) -> ExecutorResource:
    place = environment.training
    assert place.ray_jobs is not None
    return RayTrainingExecutor(
        address=place.ray_jobs,
        **given(processes=environment.train_processes, gpus=place.gpus, sources=place.sources),
    )


EXECUTORS: Mapping[PlaceName, Callable[[Environment], ExecutorResource]] = {
    "local": _local,
    "ecs": _ecs,
    "ray": _ray,
}
