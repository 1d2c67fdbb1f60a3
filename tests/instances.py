"""Dagster's history in a folder of its own; in a test file: `instance, work = instances.instance, instances.work`."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import dagster as dg
import pytest

from mmat_dagster.pipeline import Pipeline
from tests.layouts import write_tabmwp
from tests.test_pipeline import pipeline


def local_instance(folder: Path) -> AbstractContextManager[dg.DagsterInstance]:
    """Open a history below `folder`."""
    return dg.DagsterInstance.local_temp(str(folder), overrides={"telemetry": {"enabled": False}})


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Give a test a history of its own."""
    with local_instance(tmp_path) as local:
        yield local


@pytest.fixture
def work(tmp_path: Path) -> Pipeline:
    """Give a test the pipeline of a source with three problems."""
    write_tabmwp(tmp_path / "sources", 3)
    return pipeline(tmp_path)
