"""One process of bench/training.py: `python -m bench.training_loops KIND FOLDER STARTED_AT`; prints a Measured.

    layout   measure the dialogues of FOLDER/run.json, and write them in the order of the run for the bare script
    ours     the training process of this project        bare   the script of training_bare.py

Time counts from the end of step SETTLED, with the tokens that TRL counts, to the end of the last step: neither loading
nor the final checkpoint is in it. STARTED_AT is when the process was started, in seconds since the epoch.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SETTLED = 10


@dataclass(kw_only=True)
class Measured:
    """What a process took: its loop (`tokens`, `cpu_s`, `wall_s`), its start, its plan, and all of it.

    `loss` is the mean of all steps.
    """

    tokens: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    startup_s: float = 0.0
    startup_cpu_s: float = 0.0
    plan_s: float = 0.0
    plan_cpu_s: float = 0.0
    dialogues: int = 0
    all_cpu_s: float = 0.0
    loss: float = 0.0
    peak_mb: float = 0.0


MEASURED = Measured()


class Clock(TrainerCallback):  # type: ignore[misc]
    """Takes the time of the loop; the trainer makes one for itself, before all other callbacks."""

    started_at = 0.0

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, *rest: Any, **more: Any) -> None:  # noqa: ARG002
        """Take note of the first step."""
        if not MEASURED.startup_s:
            MEASURED.startup_s = time.time() - self.started_at
            MEASURED.startup_cpu_s = time.process_time()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:  # noqa: ARG002
        """Begin with step SETTLED, end with the last one."""
        logs = more["logs"]
        sign = {SETTLED: -1, state.max_steps: 1}.get(state.global_step, 0)
        if sign and "loss" in logs:
            MEASURED.tokens += sign * int(logs["num_tokens"])
            MEASURED.cpu_s += sign * time.process_time()
            MEASURED.wall_s += sign * time.monotonic()
        MEASURED.loss = logs.get("train_loss", 0.0)


def lay_out(folder: Path) -> None:
    """Time the plan of the run, then write what the bare script is given."""
    from accelerate import PartialState  # noqa: PLC0415

    from mmat_dagster.training.process.conversations import Conversation, Reading, Shelf  # noqa: PLC0415
    from mmat_dagster.training.process.loading import VISION, load_processor, prepare_base  # noqa: PLC0415
    from mmat_dagster.training.process.measuring import Ruler, make_plan  # noqa: PLC0415
    from mmat_dagster.training.process.order import order_of  # noqa: PLC0415
    from mmat_dagster.training.spec import PLAN, RUN, read_run  # noqa: PLC0415

    run = read_run(folder / RUN)
    base = prepare_base(run.student, Path(run.store_images) / "students")
    processor, template = load_processor(run.student, base)
    ruler = Ruler(processor, template, run)
    plan = _timed(make_plan)(run, ruler, folder / PLAN, PartialState(cpu=True), lambda _: None)
    order, sees = order_of(run, plan), run.student.modality == "vision"
    shelf = Shelf(run.data, Reading(format=run.format, modality=run.student.modality), kept=order.window_shards())

    def row(conversation: Conversation) -> dict[str, Any]:
        told: dict[str, Any] = {"messages": [asdict(each) for each in conversation.messages]}
        paths = [str(Path(run.data[0].images) / image.path) for image in conversation.images]
        return {**told, "images": paths} if sees else told

    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for place in range(max(order.per_epoch, (run.hyper.max_steps or 0) * run.batch)):
            file.write(json.dumps(row(shelf.conversation(*order.locate(place)))) + "\n")
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    job = {
        "model": base,
        "sees": sees,
        "hyper": asdict(run.hyper),
        "steps": run.hyper.max_steps,
        "accumulation": run.accumulation,
        "save_steps": run.save_every_steps,
        "exclude": VISION if sees else None,
    }
    (folder / "bare.json").write_text(json.dumps(job))


def train_ours(folder: Path) -> None:
    """Carry out the run as `python -m mmat_dagster.training` does."""
    from mmat_dagster.training.process.stopping import Stopping  # noqa: PLC0415

    stopping = Stopping()
    stopping.watch()
    from mmat_dagster.training.process import running, telling  # noqa: PLC0415
    from mmat_dagster.training.process.measuring import make_plan  # noqa: PLC0415
    from mmat_dagster.training.spec import RUN  # noqa: PLC0415

    running.make_plan = _timed(make_plan)  # type: ignore[attr-defined]
    if telling.carry_out(folder / RUN, stopping, Clock.started_at):
        sys.exit("the training failed")


def train_bare(folder: Path) -> None:
    """Carry out the bare script."""
    from bench.training_bare import train  # noqa: PLC0415

    train(folder)


KINDS: dict[str, Callable[[Path], None]] = {"layout": lay_out, "ours": train_ours, "bare": train_bare}


def _timed(make_plan: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        begun, cpu = time.monotonic(), time.process_time()
        plan = make_plan(*arguments)
        MEASURED.plan_s, MEASURED.plan_cpu_s = time.monotonic() - begun, time.process_time() - cpu
        MEASURED.dialogues = plan.dialogues
        return plan

    return timed


def _peak_mb() -> float:
    """Return the peak of this program alone: that of getrusage begins with what its parent held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main(kind: str, folder: str, started_at: str) -> None:
    """Carry out one kind and print what it took."""
    Clock.started_at = float(started_at)
    transformers.trainer.DEFAULT_CALLBACKS.insert(0, Clock)
    KINDS[kind](Path(folder))
    MEASURED.all_cpu_s, MEASURED.peak_mb = time.process_time(), _peak_mb()
    print(json.dumps(asdict(MEASURED)))


if __name__ == "__main__":
    main(*sys.argv[1:])
