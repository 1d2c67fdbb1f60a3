"""What dialogues measure: known to the token before the first step, and what cannot be learned from is named."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

import pyarrow.parquet as pq
from accelerate import PartialState

from mmat_dagster.schema import Dialogue
from mmat_dagster.training.process.conversations import Reading, Shelf
from mmat_dagster.training.process.measuring import Plan, Ruler, make_plan
from mmat_dagster.training.spec import PLAN, BadRun, TrainingRun
from tests.learnable import HYPER, learnable, learnable_run
from tests.student_parts import READERS, about_photos, reader_named, saying
from tests.tiny_students import byte_tokenizer


def run_of(folder: Path, name: str, *dialogues: Dialogue, max_length: int = 100_000) -> TrainingRun:
    hyper = replace(HYPER, max_length=max_length)
    return learnable_run(folder, dialogues, student=reader_named(name).student, hyper=hyper, max_dropped=1.0)


def silent(dialogue: Dialogue) -> Dialogue:
    """Return a dialogue in which no operator says anything."""
    system, asked, *_, request, answer = dialogue.messages
    return replace(dialogue, messages=(system, asked, dialogue.messages[4], request, answer))


def losses(plan: Plan) -> dict[str, tuple[str, str]]:
    return {each.id: (each.reason, each.detail) for each in plan.dropped}


@pytest.mark.parametrize("name", READERS)
def test_what_is_measured_is_what_a_batch_holds_to_the_token(tmp_path: Path, name: str) -> None:
    sizes = [(), ((40, 30),), ((120, 30), (20, 200), (57, 57))]
    dialogues = [about_photos(tmp_path, number, *each) for number, each in enumerate(sizes)]
    run = run_of(tmp_path, name, *dialogues)
    plan = reader_named(name).plan(run, tmp_path)
    batches = reader_named(name).batches(run, plan, tmp_path)
    measured = pq.read_table(next((tmp_path / PLAN).iterdir()))["tokens"].to_pylist()
    held = {}
    for place in range(3):
        batch = batches([{"place": place}])
        held[batches.name(place)] = int(batch["attention_mask"].sum())
    assert [held[each.id] for each in dialogues] == measured
    assert plan.tokens == sum(measured)


def test_what_is_too_long_is_named_with_its_images(tmp_path: Path) -> None:
    many, two = learnable(tmp_path, 1, pictures=100), learnable(tmp_path, 2, pictures=2)
    plan = reader_named("tiny").plan(run_of(tmp_path, "tiny", many, two, max_length=1000), tmp_path)
    reason, detail = losses(plan)[many.id]
    assert reason == "longer than max_length"
    assert detail.endswith("tokens, 1,500 of them for images; max_length is 1,000")
    assert [each.tolist() for each in plan.rows] == [[1]]


def test_more_images_than_the_student_takes_are_counted(tmp_path: Path) -> None:
    run = run_of(tmp_path, "tiny", learnable(tmp_path, 1, pictures=100), learnable(tmp_path, 2, pictures=3))
    plan = reader_named("tiny").plan(replace(run, student=replace(run.student, max_images=3)), tmp_path)
    assert losses(plan) == {"tabmwp/1": ("more images than the student takes", "100 images, and tiny takes 3")}


def test_a_text_student_is_not_asked_about_what_it_cannot_see(tmp_path: Path) -> None:
    told, untold = learnable(tmp_path, 1), silent(learnable(tmp_path, 2))
    plan = reader_named("reader").plan(run_of(tmp_path, "reader", told, untold), tmp_path)
    assert losses(plan) == {"tabmwp/2": ("nothing tells a text student what the image shows", "")}
    assert reader_named("tiny").plan(run_of(tmp_path, "tiny", told, untold), tmp_path).dialogues == 2


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("tiny", "<|end|>"),
        ("tiny", "<|assistant|>"),
        ("tiny", "<image>"),
        ("tiler", "<end_of_utterance>"),
        ("tiler", "<row_1_col_2>"),
        ("reader", "<|im_start|>"),
    ],
)
def test_text_that_would_steer_the_student_is_not_learned_from(tmp_path: Path, name: str, mark: str) -> None:
    good, steering = learnable(tmp_path, 1), saying(learnable(tmp_path, 2), f" so {mark} it")
    plan = reader_named(name).plan(run_of(tmp_path, name, good, steering), tmp_path)
    detail = f"its text holds {mark}, which steers the student"
    assert losses(plan) == {"tabmwp/2": ("refused by the student's processor", detail)}


def test_what_was_measured_once_is_not_measured_again(tmp_path: Path) -> None:
    run, told = run_of(tmp_path, "tiny", learnable(tmp_path, 1), learnable(tmp_path, 2)), list[str]()
    first = reader_named("tiny").plan(run, tmp_path, told)
    shorter = replace(run, hyper=replace(run.hyper, max_length=10, learning_rate=1.0))
    assert told == ["measuring part 1 of 1: 2 dialogues"]
    assert reader_named("tiny").plan(run, tmp_path, told).tokens == first.tokens
    with pytest.raises(BadRun, match="no dialogue of tabmwp can be learned from: 2 longer than max_length"):
        reader_named("tiny").plan(shorter, tmp_path, told)
    assert len(told) == 1


def test_another_template_student_or_tokenizer_measures_anew(tmp_path: Path) -> None:
    run = run_of(tmp_path, "reader", learnable(tmp_path, 1))
    smol = reader_named("reader")
    longer = smol.template.replace("<|im_start|>", "<|im_start|><|im_start|>")
    other = byte_tokenizer(["<|im_start|>", "prices"], "<|im_end|>", smol.processor.chat_template)
    versions = {
        smol.ruler(run).version,
        Ruler(smol.processor, longer, run).version,
        Ruler(other, smol.template, run).version,
        smol.ruler(replace(run, student=replace(run.student, max_images=1))).version,
    }
    assert len(versions) == 4
    first = smol.plan(run, tmp_path)
    again = make_plan(
        run,
        Ruler(smol.processor, longer, run),
        tmp_path / PLAN,
        PartialState(cpu=True),
        lambda line: None,
    )
    assert again.tokens == first.tokens + len(learnable(tmp_path, 1).messages)


@pytest.mark.parametrize("is_measured", [False, True])
def test_a_part_that_is_gone_or_another_one_ends_the_run(tmp_path: Path, is_measured: bool) -> None:
    run = run_of(tmp_path, "tiny", learnable(tmp_path, 1))
    part = Path(run.data[0].shards[0].path)
    if is_measured:
        reader_named("tiny").plan(run, tmp_path)
    part.write_bytes(part.read_bytes() + b" ")
    with pytest.raises(BadRun, match=r"part.parquet are not those that this run was planned with: plan it anew"):
        reader_named("tiny").plan(run, tmp_path)
    part.unlink()
    with pytest.raises(BadRun, match=r"part.parquet cannot be read"):
        reader_named("tiny").plan(run, tmp_path)


def test_a_run_that_loses_more_than_it_may_is_ended_with_the_reasons(tmp_path: Path) -> None:
    marked = [saying(learnable(tmp_path, number), "<image>") for number in (1, 2)]
    run = run_of(tmp_path, "tiny", *marked, learnable(tmp_path, 3, pictures=50), max_length=600)
    run = replace(run, data=(run.data[0],), max_dropped=0.6)
    with pytest.raises(BadRun, match=r"no dialogue of tabmwp .*: 2 refused by the student's processor, 1 longer"):
        reader_named("tiny").plan(run, tmp_path)
    good = [learnable(tmp_path, number) for number in (4, 5)]
    run = replace(run_of(tmp_path, "tiny", *marked, *good), max_dropped=0.4)
    with pytest.raises(
        BadRun, match=r"2 of 4 dialogues of tabmwp cannot .* \(2 refused .*\).* max_dropped allows \(40%\)"
    ):
        reader_named("tiny").plan(run, tmp_path)
    assert reader_named("tiny").plan(replace(run, max_dropped=0.5), tmp_path).dialogues == 2


def test_a_mixture_without_dialogues_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadRun, match="no dialogue of tabmwp can be learned from: there is none"):
        reader_named("tiny").plan(run_of(tmp_path, "tiny"), tmp_path)


class Process:
    """Stands for one of several processes; the others have done their share before it waits."""

    def __init__(self, process_index: int, num_processes: int) -> None:
        self.process_index = process_index
        self.num_processes = num_processes
        self.waited = 0

    def wait_for_everyone(self) -> None:
        self.waited += 1


def test_several_processes_share_the_measuring_and_agree(tmp_path: Path) -> None:
    runs = []
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        runs.append(run_of(tmp_path / str(number), "tiny", learnable(tmp_path, number), learnable(tmp_path, 9)))
    shards = tuple(run.data[0].shards[0] for run in runs)
    run = replace(runs[0], data=(replace(runs[0].data[0], shards=shards),))
    alone = reader_named("tiny").plan(run, tmp_path / "alone")
    told: list[list[str]] = [[], []]
    second, first = Process(1, 2), Process(0, 2)
    ruler = reader_named("tiny").ruler(run)
    with pytest.raises(FileNotFoundError):  # it has waited, and here the other one has not measured yet
        make_plan(run, ruler, tmp_path / PLAN, second, told[1].append)
    shared = make_plan(run, ruler, tmp_path / PLAN, first, told[0].append)
    assert told == [
        [f"measuring part {number} of 3: 2 dialogues" for number in (1, 3)],
        ["measuring part 2 of 3: 2 dialogues"],
    ]
    assert (first.waited, second.waited) == (1, 1)
    assert (shared.tokens, shared.licences, shared.dialogues) == (alone.tokens, alone.licences, 6)


def test_licences_are_counted_of_what_is_learned_from(tmp_path: Path) -> None:
    run = run_of(tmp_path, "tiny", learnable(tmp_path, 1), saying(learnable(tmp_path, 2), "<image>"))
    assert dict(reader_named("tiny").plan(run, tmp_path).licences) == {"CC BY-NC-SA 4.0": 1}


def test_measures_keep_their_order_whatever_is_refused(tmp_path: Path) -> None:
    run = run_of(tmp_path, "tiny", *[learnable(tmp_path, number) for number in range(70)])
    folder = tmp_path / "plan"
    plan = reader_named("tiny").plan(run, tmp_path)
    (cache,) = folder.iterdir()
    shelf = Shelf(run.data, Reading(format="rr", modality="vision"), kept=1)
    alone = [reader_named("tiny").ruler(run).measure([each])[0] for each in shelf.conversations(0)]
    assert pq.read_table(cache)["tokens"].to_pylist() == [measure.tokens for measure in alone]
    assert plan.dialogues == 70
