"""Where a student answers: whoever can serve its weights gives a chat model, asked as the teacher is.

A reply is kept in the reply ledger under the student's name and all that it was asked, so `ServedStudent.name` must
name the weights: two checkpoints never have the same one.
"""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from mmat_dagster.interfaces import ChatModel
from mmat_dagster.training.spec import Student


class HostingFailed(Exception):
    """A student cannot be served; the text says why, with the last lines of the server where there was one."""


@dataclass(frozen=True, kw_only=True)
class ServedStudent:
    """A student to be asked.

    `checkpoint` is the folder of its fine-tuned weights (LoRA adapter or model, processor, chat template) on this
    machine, None for the weights that it starts from. `cache` is the folder where weights that need no network are
    made, the store's `students`.
    """

    name: str
    student: Student
    checkpoint: Path | None
    cache: Path


class StudentHost(ABC):
    """Serves students, one at a time."""

    @property
    @abstractmethod
    def version(self) -> str:
        """What decides a student's replies besides its weights and what it is asked: engine, precision, sampling."""

    @abstractmethod
    def serve(self, student: ServedStudent) -> AbstractContextManager[ChatModel]:
        """Serve `student` while the context is open, and give the model to ask; raise HostingFailed."""
