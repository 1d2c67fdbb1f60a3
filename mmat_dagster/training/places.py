"""Where students are trained, as the environment says.

MMAT_TRAINING          local (default): processes of this machine; ecs: tasks of AWS; ray: jobs of a cluster
MMAT_TRAIN_SOURCES     where the job's machine finds the sources: a folder there, or s3://...; default the path here
MMAT_TRAIN_GPUS        GPUs that a job asks for; default: as the task definition has it, none of a cluster
MMAT_ECS_CLUSTER       the cluster of AWS
MMAT_ECS_TASK          the task definition: family, or family:revision
MMAT_ECS_CONTAINER     the container of it that trains; default training
MMAT_ECS_CAPACITY      the capacity provider; default the cluster's own
MMAT_ECS_SPOT          the one for trainings that may be taken back; default the same
MMAT_ECS_SUBNETS       subnets of a task with a network of its own
MMAT_ECS_SECURITY_GROUPS  its security groups
MMAT_RAY_JOBS          the job server of the cluster: http://host:8265
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from mmat_dagster.addresses import FORM, is_bare
from mmat_dagster.training.spec import BadRun

PlaceName = Literal["local", "ecs", "ray"]
PLACES: Mapping[str, PlaceName] = {name: name for name in get_args(PlaceName)}


@dataclass(frozen=True, kw_only=True)
class EcsPlace:
    """What is known of a cluster of AWS."""

    cluster: str
    task_definition: str
    container: str | None
    capacity_provider: str | None
    spot_capacity_provider: str | None
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingPlace:
    """Where students are trained; `ecs` and `ray_jobs` are there where `name` says so."""

    name: PlaceName
    sources: str | None
    gpus: int | None
    ecs: EcsPlace | None
    ray_jobs: str | None


def read_training_place(variables: Mapping[str, str], *, is_in_bucket: bool) -> TrainingPlace:
    """Return where students are trained; raise BadRun where a variable holds what cannot be used."""
    name = _text(variables, "MMAT_TRAINING") or "local"
    if name not in PLACES:
        raise BadRun(f"MMAT_TRAINING is {name!r}; it may be {', '.join(PLACES)}")
    if name == "ecs" and not is_in_bucket:
        raise BadRun("MMAT_TRAINING is ecs, whose tasks reach no folder of this machine: set MMAT_STORE to s3://...")
    return TrainingPlace(
        name=PLACES[name],
        sources=_text(variables, "MMAT_TRAIN_SOURCES"),
        gpus=_count(variables, "MMAT_TRAIN_GPUS"),
        ecs=_ecs(variables) if name == "ecs" else None,
        ray_jobs=_ray_jobs(variables) if name == "ray" else None,
    )


def _ecs(variables: Mapping[str, str]) -> EcsPlace:
    return EcsPlace(
        cluster=_needed(variables, "MMAT_ECS_CLUSTER"),
        task_definition=_needed(variables, "MMAT_ECS_TASK"),
        container=_text(variables, "MMAT_ECS_CONTAINER"),
        capacity_provider=_text(variables, "MMAT_ECS_CAPACITY"),
        spot_capacity_provider=_text(variables, "MMAT_ECS_SPOT"),
        subnets=_words(variables, "MMAT_ECS_SUBNETS"),
        security_groups=_words(variables, "MMAT_ECS_SECURITY_GROUPS"),
    )


def _ray_jobs(variables: Mapping[str, str]) -> str:
    address = _needed(variables, "MMAT_RAY_JOBS")
    if not is_bare(address):
        # It may hold a secret, and so it is not told.
        raise BadRun(f"MMAT_RAY_JOBS must be like {FORM}")
    return address


def _text(variables: Mapping[str, str], name: str) -> str | None:
    return variables.get(name, "").strip() or None


def _needed(variables: Mapping[str, str], name: str) -> str:
    text = _text(variables, name)
    if text is None:
        raise BadRun(f"MMAT_TRAINING is {_text(variables, 'MMAT_TRAINING')}: set {name}, too")
    return text


def _words(variables: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(variables.get(name, "").replace(",", " ").split())


def _count(variables: Mapping[str, str], name: str) -> int | None:
    text = _text(variables, name)
    if text is None:
        return None
    if not text.isdecimal():
        raise BadRun(f"{name} is {text!r}; it must be a whole number")
    return int(text)
