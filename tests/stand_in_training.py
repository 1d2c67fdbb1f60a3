"""A process that behaves like a training as far as an executor can tell.

    python -m tests.stand_in_training --config <folder>/run.json

What it does stands in the file `behaviour` beside its run.json, or in the variable STAND_IN; without them it finishes.
It writes what spec.py says, without importing that, which takes longer than all it does, and learns nothing.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

STEPS = 4
PREEMPTED = 75
STAND_IN, KEEPER = "STAND_IN", "MMAT_TRAINING_KEEPER"
BEHAVIOUR, READY, COMMAND, ENVIRONMENT = "behaviour", "ready", "command", "environment"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def log_step(folder: Path, step: int) -> None:
    metrics = {
        "step": step,
        "epoch": step / STEPS,
        "loss": 5.0 / step,
        "learning_rate": 1e-4,
        "tokens": 100 * step,
        "tokens_per_second": 123.0,
        "memory_gb": 0.5,
        "seconds": step,
    }
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(metrics) + "\n")


def end(folder: Path, state: str, **outcome: float | str) -> None:
    (folder / "outcome.json").write_text(json.dumps({"state": state, **outcome}))


def finish(folder: Path) -> int:
    for step in range(1, STEPS + 1):
        log_step(folder, step)
        say(f"step {step}")
    (folder / "result").mkdir(exist_ok=True)
    (folder / "result" / "adapter_model.safetensors").write_bytes(b"weights")
    end(folder, "done", step=STEPS, max_steps=STEPS, final_loss=5.0 / STEPS)
    return 0


def slowly(folder: Path) -> int:
    """Write a step, and go on when somebody has removed `ready`."""
    log_step(folder, 1)
    (folder / READY).touch()
    while (folder / READY).exists():
        time.sleep(0.02)
    return finish(folder)


def fail(folder: Path) -> int:
    say("\n".join(f"line {number}" for number in range(100)))
    sys.stderr.write("ValueError: the tokenizer knows no <image>\n")
    return 1


def fail_with_reason(folder: Path) -> int:
    end(folder, "failed", error="more than half of the dialogues were dropped: 7 missing image")
    return fail(folder)


def run_out_of_memory(folder: Path) -> int:
    say("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
    return 1


def be_killed(folder: Path) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def say_nothing(folder: Path) -> int:
    return 0


def be_preempted(folder: Path) -> int:
    log_step(folder, 3)
    return PREEMPTED


def wait_to_be_ended(folder: Path) -> int:
    """Wait for a signal, write a checkpoint as long as a real one takes, and end like one."""

    def write_checkpoint(number: int, frame: object) -> None:
        time.sleep(0.5)
        end(folder, "preempted", step=7, max_steps=9)
        say("checkpoint written")
        sys.exit(PREEMPTED)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, write_checkpoint)
    log_step(folder, 7)
    (folder / READY).touch()
    return linger()


def lose_its_machine(folder: Path) -> int:
    """Write a checkpoint, and wait for the machine to be taken; where there is one already, go on from there."""
    checkpoint = folder / "checkpoints" / "checkpoint-3"
    if checkpoint.exists():
        say("going on behind step 3")
        return finish(folder)
    log_step(folder, 3)
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights").write_bytes(b"3")
    (checkpoint / "whole").touch()
    (folder / READY).write_text(str(os.getpid()))
    return linger()


def linger() -> NoReturn:
    """Wait for a signal, as long as whoever keeps this process is there."""
    keeper = os.environ.get(KEEPER)
    while keeper is None or Path(f"/proc/{keeper}").exists():
        time.sleep(0.05)
    sys.exit(1)


def heed_nobody(folder: Path) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    (folder / READY).write_text(str(os.getpid()))
    return linger()


def train_together(folder: Path) -> int:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    (folder / f"rank-{rank}").write_text(f"{rank} of {world}, {os.environ['OMP_NUM_THREADS']} threads")
    return finish(folder) if rank == 0 else 0


def be_killed_together(folder: Path) -> int:
    return be_killed(folder) if os.environ["RANK"] == "1" else heed_nobody(folder)


BEHAVIOURS: Mapping[str, Callable[[Path], int]] = {
    each.__name__: each
    for each in (
        finish,
        slowly,
        fail,
        fail_with_reason,
        run_out_of_memory,
        be_killed,
        say_nothing,
        be_preempted,
        wait_to_be_ended,
        lose_its_machine,
        heed_nobody,
        train_together,
        be_killed_together,
    )
}


def main() -> int:
    folder = Path(sys.argv[sys.argv.index("--config") + 1]).parent
    (folder / COMMAND).write_bytes(Path("/proc/self/cmdline").read_bytes())
    (folder / ENVIRONMENT).write_text("\n".join(os.environ))
    told = folder / BEHAVIOUR
    usual = os.environ.get(STAND_IN, finish.__name__)
    return BEHAVIOURS[told.read_text() if told.exists() else usual](folder)


if __name__ == "__main__":
    sys.exit(main())
