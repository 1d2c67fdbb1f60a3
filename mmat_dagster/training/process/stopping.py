"""Ending early without loss: SIGTERM or SIGINT lets the step end, then a checkpoint is written, then the process ends.

A second signal that comes later ends the process at once, as it would have without this. One that comes within seconds
is the same wish once more: a launcher passes on what the terminal has told all of its processes.
"""

import os
import signal
import time
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SAME_WISH_S = 5.0


class Stopping:
    """Whether this process was asked to end; `watch` before anything slow is done."""

    def __init__(self) -> None:
        self.is_asked = False
        self._asked_at = 0.0
        self._before: dict[int, Any] = {}

    def watch(self) -> None:
        """Take note of signals from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        now = time.monotonic()
        if not self.is_asked:
            self.is_asked, self._asked_at = True, now
        elif now - self._asked_at > SAME_WISH_S:
            signal.signal(number, self._before[number])
            os.kill(os.getpid(), number)


class StopWithCheckpoint(TrainerCallback):  # type: ignore[misc]
    """Ends training after the step in which any of the processes was asked to."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ARG002
    ) -> TrainerControl:
        """Have the checkpoint written and the loop left."""
        if _any_process(self._stopping.is_asked, args) and state.global_step < state.max_steps:
            control.should_save = True
            control.should_training_stop = True
        return control


def _any_process(is_asked: bool, args: TrainingArguments) -> bool:
    """Agree: each process may have been asked in another step, and all must leave the loop in the same one."""
    if args.world_size == 1:
        return is_asked
    asked = torch.tensor([int(is_asked)], device=args.device)
    torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
    return bool(asked.item())
