"""A checkpoint is kept whole or not at all, trained once, and found again by what decided it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mmat_dagster.interfaces import StoreError
from mmat_dagster.training.checkpoints import Trained, TrainingPreempted, obtain_checkpoint, read_current
from mmat_dagster.training.executor import TrainingFailed, TrainingJob
from mmat_dagster.training.mixtures import MIXTURES, Order
from mmat_dagster.training.spec import (
    DROPPED,
    METRICS,
    OUTCOME,
    RESULT,
    RUN,
    BadRun,
    Dropped,
    HyperParameters,
    Outcome,
    TrainingRun,
    dump_dropped,
    dump_metrics,
    dump_outcome,
    read_run,
)
from mmat_dagster.training.students import STUDENTS, defaults_of, find_student
from resources.store import LocalStore
from tests.fakes import told_metrics
from tests.training_runs import training_run

DONE = Outcome(state="done", step=2, max_steps=2, final_loss=0.5)
ORDER = Order(checkpoint="rr_checkpoint", mixture="tabmwp", student=STUDENTS["tiny"], hyper=HyperParameters())


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(root=str(tmp_path / "store"))


def leave_result(folder: Path) -> None:
    (folder / RESULT / "processor").mkdir(parents=True, exist_ok=True)
    (folder / RESULT / "model.safetensors").write_bytes(b"weights")
    (folder / RESULT / "processor" / "tokenizer.json").write_bytes(b"{}")
    (folder / METRICS).write_bytes(dump_metrics(told_metrics(1)) + dump_metrics(told_metrics(2)))
    (folder / DROPPED).write_bytes(
        dump_dropped(Dropped(id="tabmwp/1", source="tabmwp", reason="missing image", detail="x"))
    )


def finish(job: TrainingJob) -> Outcome:
    leave_result(Path(job.folder))
    return DONE


def never(job: TrainingJob) -> Outcome:
    raise AssertionError("nobody should train this again")


def obtain(
    store: LocalStore, train: Callable[[TrainingJob], Outcome], run: TrainingRun | None = None, order: Order = ORDER
) -> Trained:
    return obtain_checkpoint(store, order, run or training_run(), train)


def working_folder(store: LocalStore) -> Path:
    return Path(store.root) / "training" / f"tabmwp-{training_run().key}"


def test_every_file_of_a_training_is_kept_with_its_hash(store: LocalStore) -> None:
    checkpoint = obtain(store, finish).checkpoint
    assert checkpoint.folder == f"rr_checkpoint/tabmwp/tiny-{training_run().key}"
    kept = Path(store.locate(checkpoint.folder))
    assert [file.path for file in checkpoint.files] == [
        "model.safetensors",
        "processor/tokenizer.json",
        METRICS,
        DROPPED,
        RUN,
    ]
    for file in checkpoint.files:
        data = (kept / file.path).read_bytes()
        assert (file.bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert read_run(kept / RUN) == training_run()
    assert (checkpoint.first_loss, checkpoint.tokens_per_second, checkpoint.memory_gb) == (1.0, 100.0, 2.0)
    assert (checkpoint.data, checkpoint.weights, checkpoint.outcome) == ({"tabmwp": "f"}, {"tabmwp": 1.0}, DONE)
    assert not working_folder(store).exists()


def test_the_manifest_points_at_the_checkpoint_that_was_asked_for_last(store: LocalStore) -> None:
    tiny = obtain(store, finish).checkpoint
    small = obtain(store, finish, replace(training_run(), student=STUDENTS["smollm2"])).checkpoint
    assert read_current(store, "rr_checkpoint", "tabmwp") == small
    again = obtain(store, never)
    assert (again.checkpoint, again.is_reused) == (tiny, True)
    assert read_current(store, "rr_checkpoint", "tabmwp") == tiny
    pointer = json.loads(store.read("rr_checkpoint/tabmwp/manifest.json"))
    assert pointer == {
        "student": "tiny",
        "key": tiny.key,
        "folder": tiny.folder,
        "fingerprint": tiny.fingerprint,
    }
    assert read_current(store, "orr_checkpoint", "tabmwp") is None


def test_a_training_that_is_stopped_keeps_its_folder_and_goes_on_in_it(store: LocalStore) -> None:
    def stop(job: TrainingJob) -> Outcome:
        (Path(job.folder) / "checkpoints").mkdir()
        return Outcome(state="preempted", step=7, max_steps=9)

    def go_on(job: TrainingJob) -> Outcome:
        assert (Path(job.folder) / "checkpoints").is_dir()
        return finish(job)

    with pytest.raises(TrainingPreempted, match="stopped from outside at step 7 of 9"):
        obtain(store, stop)
    assert read_current(store, "rr_checkpoint", "tabmwp") is None
    assert not obtain(store, go_on).is_reused


def test_a_training_that_nobody_was_left_to_keep_is_kept_by_the_next(store: LocalStore) -> None:
    folder = working_folder(store)
    leave_result(folder)
    (folder / RUN).write_bytes(b"")
    (folder / OUTCOME).write_bytes(dump_outcome(DONE))
    assert obtain(store, never).checkpoint.outcome == DONE


def test_a_checkpoint_is_there_only_when_all_of_it_is(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put = LocalStore.put

    def full(self: LocalStore, key: str, path: Path) -> None:
        if key.endswith(RUN):
            raise StoreError("no space left")
        put(self, key, path)

    monkeypatch.setattr(LocalStore, "put", full)
    with pytest.raises(StoreError, match="no space left"):
        obtain(store, finish)
    assert read_current(store, "rr_checkpoint", "tabmwp") is None
    monkeypatch.setattr(LocalStore, "put", put)
    (working_folder(store) / OUTCOME).write_bytes(dump_outcome(DONE))
    assert obtain(store, never).checkpoint == read_current(store, "rr_checkpoint", "tabmwp")


@pytest.mark.parametrize(
    ("outcome", "complaint"),
    [
        (Outcome(state="failed", error="loss is nan"), "^loss is nan$"),
        (DONE, "says that it is done, and left nothing in .*result"),
    ],
)
def test_a_training_without_a_result_has_failed(outcome: Outcome, complaint: str, store: LocalStore) -> None:
    with pytest.raises(TrainingFailed, match=complaint):
        obtain(store, lambda job: outcome)


def test_a_mixture_consists_of_one_source_or_of_all() -> None:
    assert MIXTURES["tabmwp"] == ("tabmwp",)
    assert MIXTURES["mmat_1m"] == ("visual_cot", "llava_cot", "the_cauldron", "tabmwp", "infoseek")
    whole = replace(ORDER, mixture="mmat_1m", weights={"tabmwp": 0.0, "infoseek": 0.5})
    assert whole.sources == ("visual_cot", "llava_cot", "the_cauldron", "infoseek")
    with pytest.raises(BadRun, match="infoseek has a weight and is not in the mixture tabmwp"):
        _ = replace(ORDER, weights={"infoseek": 1.0}).sources


def test_what_the_paper_trains_is_trained_as_in_the_paper() -> None:
    assert defaults_of(find_student("OpenGVLab/InternVL3-1B-hf")) == HyperParameters()
    assert defaults_of(STUDENTS["tiny"]).precision == "fp32"
