"""The pipeline of a test's job, as Ray's workers open it: the job is told by their environment."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from mmat_dagster.pipeline import Pipeline
from resources.ray_engine import RayEngine
from resources.store import LocalStore
from tests.teaching import Job, make_pipeline

JOB = "MMAT_TEST_JOB"


def variables_of(job: Job) -> dict[str, str]:
    """Return what a worker's environment holds for a job."""
    return {JOB: json.dumps(asdict(job))}


@contextmanager
def open_pipeline(resource_config: Mapping[str, Any], run_id: str) -> Iterator[Pipeline]:
    """Open the pipeline of the job."""
    yield with_ray(Job(**json.loads(os.environ[JOB])))


@contextmanager
def open_elsewhere(resource_config: Mapping[str, Any], run_id: str) -> Iterator[Pipeline]:
    """Open a pipeline that keeps its replies in another ledger than the job says."""
    job = Job(**json.loads(os.environ[JOB]))
    yield with_ray(replace(job, ledger=f"{job.ledger}.other"))


@contextmanager
def open_otherwise(resource_config: Mapping[str, Any], run_id: str) -> Iterator[Pipeline]:
    """Open a pipeline whose model is asked with another temperature."""
    yield with_ray(Job(**json.loads(os.environ[JOB])).but(temperature=0.9))


def with_ray(job: Job, opens: str = "open_pipeline", **settings: Any) -> Pipeline:
    """Return a job's pipeline whose parts Ray makes."""
    engine = RayEngine(
        store=LocalStore(root=job.store), ledger=job.ledger, pipeline=f"tests.ray_pipelines:{opens}", **settings
    )
    return replace(make_pipeline(job), engine=engine)
