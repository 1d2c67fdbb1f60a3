"""How a training process ended, for a person: from its outcome, its exit code and the last lines that it wrote."""

import re
import signal

from mmat_dagster.training.executor import TrainingFailed
from mmat_dagster.training.spec import OUTCOME, Outcome

# How torchrun tells of a process that was killed; its own exit code is 1 then.
KILLED = re.compile(r"Signal 9 \(SIGKILL\)")
OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemoryError|DefaultCPUAllocator: can't allocate memory", re.IGNORECASE)
MEMORY_HINT = (
    "Use less memory: gradient_checkpointing, batch_per_device 1, a smaller max_length, method lora, or several "
    "processes with accelerate (fsdp2, zero2)."
)


def failure(name: str, why: str, tail: str, log: str) -> TrainingFailed:
    """Return the failure of a training, with the last lines of `log`, wherever that is."""
    hint = f" {MEMORY_HINT}" if OUT_OF_MEMORY.search(why + tail) and MEMORY_HINT not in why else ""
    last = f"\n\nThe last lines of {log}:\n{tail}" if tail else ""
    return TrainingFailed(f"The training of {name} failed: {why}{hint}{last}")


def why_of(outcome: Outcome | None, code: int, tail: str) -> str:
    """Return why a process failed: as it says itself, or as its exit code does."""
    if outcome is not None and outcome.error:
        return outcome.error
    if code == -signal.SIGKILL or KILLED.search(tail):
        return (
            "a process of it was killed (SIGKILL), as the kernel does when memory runs out: see dmesg, or the "
            f"container's memory limit. {MEMORY_HINT}"
        )
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}, without a word"
    if code:
        return f"its process ended with exit code {code}, without a word"
    return f"its process ended well, and left no {OUTCOME} that says so"


def interrupted(name: str, outcome: Outcome | None) -> str:
    """Return what is told of a training whose run was ended."""
    if outcome is None:
        return f"{name} was ended before it could say how far it is; a training begun again resumes what it kept."
    return f"{name} was ended at step {outcome.step}; a training begun again goes on from there."
