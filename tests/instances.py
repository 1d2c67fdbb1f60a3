"""Dagster's history in a folder of its own; in a test file: `instance, work = instances.instance, instances.work`."""

import atexit
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import dagster as dg
import pytest

from mmat_dagster.pipeline import Pipeline
from tests.layouts import write_tabmwp
from tests.test_pipeline import pipeline


@cache
def _empty_history() -> Path:
    """Return a folder with a history without runs: its tables take longer to make than most tests with them."""
    folder = Path(mkdtemp())
    atexit.register(shutil.rmtree, folder)
    with dg.DagsterInstance.local_temp(str(folder), overrides={"telemetry": {"enabled": False}}):
        return folder


def begin_history(folder: Path) -> None:
    """Lay an empty history into `folder`, where there is none yet."""
    if not (folder / "history").exists():
        shutil.copytree(_empty_history(), folder, dirs_exist_ok=True)


def local_instance(folder: Path) -> AbstractContextManager[dg.DagsterInstance]:
    """Open a history below `folder`."""
    begin_history(folder)
    return dg.DagsterInstance.local_temp(str(folder), overrides={"telemetry": {"enabled": False}})


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Give a test a history of its own."""
    with local_instance(tmp_path) as local:
        yield local


@pytest.fixture
def ephemeral() -> Iterator[dg.DagsterInstance]:
    """Give a test a history of its own, in memory."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def work(tmp_path: Path) -> Pipeline:
    """Give a test the pipeline of a source with three problems."""
    write_tabmwp(tmp_path / "sources", 3)
    return pipeline(tmp_path)
