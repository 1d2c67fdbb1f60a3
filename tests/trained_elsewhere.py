"""A tiny student that is really trained on another machine, on dialogues of a store in a bucket."""

import os
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mmat_dagster.training.checkpoints import Checkpoint, read_current
from mmat_dagster.training.executor import TrainingExecutor
from mmat_dagster.training.students import STUDENTS
from tests.s3_building import bucket_store, make_pipeline
from tests.test_checkpoint_assets import TRAINED

STEPS = 4


def require_training() -> None:
    """Skip where there is nothing to train with, unless the environment asks for it."""
    if not os.environ.get("MMAT_REQUIRE_TRAINING"):
        for needed in ("torch", "trl", "peft"):
            pytest.importorskip(needed)


def train_elsewhere(
    url: str, sources: Path, mirror: Path, executor: TrainingExecutor[dg.AssetExecutionContext]
) -> Checkpoint:
    """Materialize the checkpoint of all sources, with all that stands before it, and return it."""
    store = bucket_store(url, mirror)
    config: dict[str, Any] = {"max_steps": STEPS, "save_every_steps": 2}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            TRAINED,
            instance=instance,
            selection=dg.AssetSelection.assets("rr_checkpoint"),
            partition_key="mmat_1m",
            resources={
                "pipeline": make_pipeline(sources, store),
                "training_executor": executor,
                "student": STUDENTS["tiny"],
            },
            run_config={"ops": {"rr_checkpoint": {"config": config}}},
        )
    assert result.success
    shutil.rmtree(mirror)
    checkpoint = read_current(store, "rr_checkpoint", "mmat_1m")
    assert checkpoint is not None
    for file in checkpoint.files:
        assert len(store.read(f"{checkpoint.folder}/{file.path}")) == file.bytes
    return checkpoint


def assert_learned_from_both_homes_of_images(checkpoint: Checkpoint) -> None:
    """Assert that all dialogues were learned from, with images that lie beside their source and with stored ones."""
    assert {*checkpoint.data} == {"tabmwp", "the_cauldron"}
    assert (checkpoint.outcome.state, checkpoint.outcome.step) == ("done", STEPS)
    assert checkpoint.outcome.dropped == {}
    assert {file.path for file in checkpoint.files} >= {"adapter_model.safetensors", "README.md", "metrics.jsonl"}
    assert checkpoint.first_loss is not None
