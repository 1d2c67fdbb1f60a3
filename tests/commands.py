"""Commands of the project in this process, where they would have one of their own, and their environment."""

import os
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest

from mmat_dagster import accounting, runs
from mmat_dagster.environment import read_environment
from resources.deployments import DEPLOYMENTS
from tests.test_assets import ASSETS, CHECKS

OURS = ("MMAT_", "OPENAI_", "DAGSTER", "HF_")


def make_home(folder: Path) -> Path:
    """Make a new home of Dagster's below `folder`."""
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return folder / "home"


def forget_environment(patch: pytest.MonkeyPatch) -> None:
    """Take out of the environment whatever the project or Dagster would read there."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        patch.delenv(name)


def set_environment(patch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Have the project read `variables` and no others."""
    forget_environment(patch)
    for name, value in variables.items():
        patch.setenv(name, value)


def compose(patch: pytest.MonkeyPatch) -> None:
    """Let commands work with what the environment names now, and not with what it named when they were imported."""
    resources = DEPLOYMENTS["local"](read_environment(os.environ))
    patch.setattr(accounting, "RESOURCES", resources)
    made = dg.Definitions(assets=[*ASSETS, *CHECKS], resources=resources, executor=dg.in_process_executor)
    patch.setattr(runs, "defs", made)
