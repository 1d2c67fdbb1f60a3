"""A run as plain data: read strictly, known by what decides its weights, its logs readable at any time."""

import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from mmat_dagster.training.spec import (
    DROPPED,
    METRICS,
    BadRun,
    Dropped,
    HyperParameters,
    Metrics,
    Shard,
    TrainingRun,
    check_run,
    dump_dropped,
    dump_metrics,
    dump_run,
    read_dropped,
    read_last_metrics,
    read_metrics,
    read_run,
)
from tests.training_runs import training_run

RUN = training_run()
ELSEWHERE = Shard(path="s3://bucket/part.parquet", rows=3, sha256="1" * 64)


def written(folder: Path, change: Callable[[Any], object] = lambda told: None) -> Path:
    """Write run.json with what `change` makes of it, and return its path."""
    told = json.loads(dump_run(RUN))
    change(told)
    path = folder / "run.json"
    path.write_text(json.dumps(told))
    return path


def with_hyper(**changes: Any) -> TrainingRun:
    return replace(RUN, hyper=replace(RUN.hyper, **changes))


def test_a_run_survives_the_round_trip(tmp_path: Path) -> None:
    assert read_run(written(tmp_path)) == RUN


STRANGE: dict[str, tuple[Callable[[Any], object], str]] = {
    "unknown key": (lambda told: told.update(epoch=1), "epoch: Unexpected keyword argument"),
    "unknown hyper-parameter": (lambda told: told["hyper"].update(lr=1), "hyper.lr: Unexpected keyword argument"),
    "unknown student's key": (lambda told: told["student"].update(size=1), "student.size: Unexpected"),
    "unknown shard's key": (lambda told: told["data"][0]["shards"][0].update(x=1), r"data.0.shards.0.x: Unexpected"),
    "missing key": (lambda told: told.pop("store_images"), "store_images: Field required"),
    "text for a number": (lambda told: told["hyper"].update(learning_rate="1e-3"), "hyper.learning_rate: Input should"),
    "truth for a number": (lambda told: told["hyper"].update(lora_rank=True), "hyper.lora_rank: Input should"),
    "half a row": (lambda told: told["hyper"].update(batch_per_device=1.5), "hyper.batch_per_device: Input should"),
    "unknown method": (lambda told: told["hyper"].update(method="qlora"), "hyper.method: Input should be 'lora' or"),
    "unknown source": (lambda told: told["data"][0].update(source="vqa"), r"data.0.source: Input should"),
    "text for a list": (lambda told: told.update(data="tabmwp"), "data: Input should"),
    "no number": (lambda told: told["hyper"].update(learning_rate=math.nan), "learning_rate is nan"),
    "negative": (lambda told: told["hyper"].update(learning_rate=-1.0), "learning_rate is -1.0"),
}


@pytest.mark.parametrize("what", STRANGE)
def test_what_is_no_run_is_told_by_its_place(tmp_path: Path, what: str) -> None:
    change, complaint = STRANGE[what]
    with pytest.raises(BadRun, match=complaint):
        read_run(written(tmp_path, change))


def test_a_file_that_is_not_there_or_torn_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadRun, match=r"run.json cannot be read: No such file"):
        read_run(tmp_path / "run.json")
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadRun, match=r"describes no training run: .*EOF"):
        read_run(path)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
@pytest.mark.parametrize("name", ["epochs", "learning_rate", "max_grad_norm", "lora_rank", "batch_per_device"])
def test_numbers_that_must_be_above_zero_are_named(name: str, value: float) -> None:
    with pytest.raises(BadRun, match=f"{name} is {value}; it must be a number above 0"):
        check_run(with_hyper(**{name: value}))


@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
@pytest.mark.parametrize("name", ["weight_decay", "frobenius_lambda", "lora_dropout", "warmup_ratio"])
def test_numbers_that_must_not_be_below_zero_are_named(name: str, value: float) -> None:
    with pytest.raises(BadRun, match=f"{name} is {value}; it must be"):
        check_run(with_hyper(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("max_steps", 0),
        ("max_steps", -1),
        ("global_batch", 0),
        ("global_batch", -2),
        ("lora_dropout", 1.0),
        ("warmup_ratio", 1.0),
        ("adam_beta1", 1.0),
        ("adam_beta2", -0.1),
    ],
)
def test_numbers_that_a_trainer_would_take_for_something_else_are_refused(name: str, value: float) -> None:
    with pytest.raises(BadRun, match=f"{name} is {value}; it must be"):
        check_run(with_hyper(**{name: value}))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"max_dropped": -0.1}, "max_dropped is -0.1"),
        ({"max_dropped": math.nan}, "max_dropped is nan"),
        ({"max_dropped": 1.1}, "max_dropped is 1.1"),
        ({"loader_workers": -1}, "loader_workers is -1"),
        ({"world_size": 0}, "world_size is 0"),
        ({"save_every_steps": 0}, "save_every_steps is 0"),
        ({"log_every_steps": 0}, "log_every_steps is 0"),
        ({"keep_checkpoints": 1}, "keep_checkpoints must be at least 2"),
        ({"data": ()}, "the mixture tabmwp is empty"),
        ({"data": (replace(RUN.data[0], weight=0.0),)}, "the mixture tabmwp is empty"),
        ({"data": (replace(RUN.data[0], shards=()),)}, "the mixture tabmwp is empty"),
        ({"data": (replace(RUN.data[0], weight=-1.0),)}, "the weight of tabmwp is -1.0"),
    ],
)
def test_a_run_that_cannot_be_meant_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadRun, match=complaint):
        check_run(replace(RUN, **changes))


def test_a_global_batch_that_processes_cannot_share_is_refused() -> None:
    run = replace(with_hyper(global_batch=6, batch_per_device=2), world_size=2)
    with pytest.raises(BadRun, match=r"6 cannot be made of 2 processes with 2 dialogues each: .* a multiple of 4"):
        check_run(run)


@pytest.mark.parametrize(("world_size", "per_device", "accumulation"), [(1, 1, 8), (2, 1, 4), (2, 4, 1), (1, 2, 4)])
def test_accumulation_is_solved_from_the_global_batch(world_size: int, per_device: int, accumulation: int) -> None:
    run = replace(with_hyper(global_batch=8, batch_per_device=per_device, accumulation=3), world_size=world_size)
    assert (run.accumulation, run.batch) == (accumulation, 8)
    assert run.key == with_hyper(global_batch=8).key


OTHER_HYPER: dict[str, Any] = {
    "method": "full",
    "epochs": 2.0,
    "max_steps": 7,
    "learning_rate": 1e-5,
    "weight_decay": 0.2,
    "schedule": "linear",
    "warmup_ratio": 0.1,
    "adam_beta1": 0.8,
    "adam_beta2": 0.99,
    "max_grad_norm": 2.0,
    "max_length": 1024,
    "precision": "fp32",
    "batch_per_device": 2,
    "accumulation": 2,
    "global_batch": 4,
    "seed": 1,
    "lora_rank": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "trains_vision": True,
    "frobenius_lambda": 0.1,
}
DECIDES_NOTHING = {"gradient_checkpointing", "liger"}


def test_all_hyper_parameters_are_asked_about() -> None:
    assert {each.name for each in fields(HyperParameters)} == {*OTHER_HYPER} | DECIDES_NOTHING


@pytest.mark.parametrize("name", OTHER_HYPER)
def test_another_hyper_parameter_makes_another_checkpoint(name: str) -> None:
    assert with_hyper(**{name: OTHER_HYPER[name]}).key != RUN.key


@pytest.mark.parametrize("name", sorted(DECIDES_NOTHING))
def test_how_memory_is_saved_makes_no_other_checkpoint(name: str) -> None:
    assert with_hyper(**{name: False}).key == RUN.key


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "orr"},
        {"world_size": 2},
        {"student": replace(RUN.student, revision="abc")},
        {"student": replace(RUN.student, max_images=3)},
        {"data": (replace(RUN.data[0], fingerprint="other"),)},
        {"data": (replace(RUN.data[0], weight=0.5),)},
        {"data": (replace(RUN.data[0], source="infoseek"),)},
        {"data": (replace(RUN.data[0], dataset="orr_dialogues"),)},
        {"data": (*RUN.data, *RUN.data)},
    ],
)
def test_other_data_or_another_student_makes_another_checkpoint(changes: dict[str, Any]) -> None:
    assert replace(RUN, **changes).key != RUN.key


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another", "store_images": "/elsewhere"},
        {"data": (replace(RUN.data[0], images="/elsewhere", shards=(ELSEWHERE,)),)},
        {"save_every_steps": 1, "keep_checkpoints": 3, "log_every_steps": 5},
        {"loader_workers": 2, "accelerator": "cpu"},
    ],
)
def test_where_things_lie_and_what_is_logged_makes_no_other_checkpoint(changes: dict[str, Any]) -> None:
    assert replace(RUN, **changes).key == RUN.key


def test_the_order_of_data_makes_another_checkpoint() -> None:
    other = replace(RUN.data[0], source="infoseek")
    there, back = replace(RUN, data=(*RUN.data, other)), replace(RUN, data=(other, *RUN.data))
    assert there.key != back.key


def told(step: int) -> Metrics:
    return Metrics(
        step=step, epoch=0.5, loss=1.5, learning_rate=1e-4, tokens=9, tokens_per_second=3.0, memory_gb=1.0, seconds=2.0
    )


def test_a_line_of_metrics_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    lines = [dump_metrics(told(step)) for step in (1, 2)]
    for cut in range(len(lines[1])):
        path.write_bytes(lines[0] + lines[1][:cut])
        assert read_metrics(tmp_path) == [told(1)]
        assert read_last_metrics(tmp_path) == told(1)
    path.write_bytes(b"".join(lines))
    assert (read_metrics(tmp_path), read_last_metrics(tmp_path)) == ([told(1), told(2)], told(2))


def test_before_the_first_line_there_are_no_metrics(tmp_path: Path) -> None:
    assert (read_metrics(tmp_path), read_last_metrics(tmp_path), read_dropped(tmp_path)) == ([], None, [])
    for begun in (b"", b'{"step":1'):
        (tmp_path / METRICS).write_bytes(begun)
        assert (read_metrics(tmp_path), read_last_metrics(tmp_path)) == ([], None)


def test_the_last_metrics_of_a_long_log_are_found(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_bytes(b"".join(dump_metrics(told(step)) for step in range(1, 500)))
    assert read_last_metrics(tmp_path) == told(499)


def test_a_norm_that_is_no_number_can_be_read_back(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_bytes(dump_metrics(replace(told(1), grad_norm=math.inf)))
    assert [each.grad_norm for each in read_metrics(tmp_path)] == [None]


def test_dropped_dialogues_are_told_once_and_a_torn_line_is_left_for_later(tmp_path: Path) -> None:
    lost = [
        Dropped(id=f"tabmwp/{number}", source="tabmwp", reason="missing image", detail="gone\r\n\x85")
        for number in (1, 2)
    ]
    lines = list(map(dump_dropped, lost))
    (tmp_path / DROPPED).write_bytes(lines[0] + lines[1] + lines[0] + lines[1][:-9])
    assert read_dropped(tmp_path) == lost
