"""What a training goes on from is data: a pickle that somebody has put in its place is refused, and runs nothing."""

import os
import pickle
from pathlib import Path

import pytest

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

import torch
from transformers import Trainer, TrainingArguments

from mmat_dagster.training.process.trainer import StudentTrainer

READS = ("_load_optimizer_and_scheduler", "_load_rng_state", "_load_from_checkpoint")


class Harm:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    found = Trainer(
        model=torch.nn.Linear(1, 1),
        args=TrainingArguments(output_dir=str(tmp_path / "out"), use_cpu=True, report_to=[]),
    )
    found.create_optimizer_and_scheduler(1)
    return found


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "pytorch_model.bin"])
def test_a_pickle_among_the_states_of_a_checkpoint_runs_nothing(trainer: Trainer, tmp_path: Path, name: str) -> None:
    folder, mark = tmp_path / "checkpoint-1", tmp_path / "harmed"
    folder.mkdir()
    torch.save({"state": {}, "param_groups": []}, folder / "optimizer.pt")
    torch.save({}, folder / "scheduler.pt")
    (folder / name).write_bytes(pickle.dumps(Harm(mark), protocol=2))
    with pytest.raises(pickle.UnpicklingError, match=r"[Ww]eights.only"):
        _go_on(trainer, folder, name)
    assert not mark.exists()
    pickle.loads((folder / name).read_bytes())  # noqa: S301  it would have
    assert mark.is_dir()


def _go_on(trainer: Trainer, folder: Path, name: str) -> None:
    if name == "rng_state.pth":
        trainer._load_rng_state(str(folder))
    elif name == "pytorch_model.bin":
        trainer._load_from_checkpoint(str(folder))
    else:
        # The optimizer is read first, and its own is too little to be one.
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(trainer.optimizer, "load_state_dict", lambda state: None)
            trainer._load_optimizer_and_scheduler(str(folder))


@pytest.mark.parametrize("name", READS)
def test_students_are_gone_on_from_by_the_trainer_that_refuses_these(name: str) -> None:
    assert getattr(StudentTrainer, name) is getattr(Trainer, name)
