"""What a run may ask of an evaluation."""

from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field

from mmat_dagster.evaluation.board import Plan
from mmat_dagster.evaluation.variants import USUAL, VARIANTS
from mmat_dagster.interfaces import Teacher
from mmat_dagster.training.spec import BadRun, Student


class EvaluationConfig(dg.Config):
    """Which students are asked which benchmarks, and how."""

    variants: list[str] = Field(default=[*USUAL], description=f"Students to examine: {', '.join(VARIANTS)}.")
    benchmarks: list[str] = Field(default=[], description="Benchmarks to ask; none named: all whose files are there.")
    rules: dict[str, str] = Field(default={}, description="By benchmark: another version of its rule than the usual.")
    checkpoints: dict[str, str] = Field(
        default={}, description="Further students by name: a folder as a training leaves it, run.json included."
    )
    limit: int | None = Field(default=None, ge=1, description="At most so many questions of each benchmark.")
    shown_operators: list[str] | None = Field(
        default=None,
        description="Operators whose results stand in the prompts of ORR students, and of text students that are asked "
        "directly; null for all.",
    )
    extraction: Literal["rule", "teacher"] = Field(
        default="rule",
        description="Who takes the answer out of what a student says: the benchmark's rule, or the teacher's model, "
        "as MathVista's publisher has GPT-4 do; it is asked through the ledger and its budget.",
    )
    max_turns: int = Field(default=6, ge=1, description="Turns of an agent before its answer is asked for.")
    concurrency: int = Field(default=16, ge=1, description="Questions under way at once.")

    def plan(self, mixture: str, student: Student, folder: Path, teacher: Teacher) -> Plan:
        """Return what is to be examined for `mixture`; raise BadRun for a teacher without a model to extract."""
        if self.extraction == "teacher" and teacher.model is None:
            raise BadRun(f"the teacher {teacher.name} asks no chat model that could extract answers: set MMAT_TEACHER")
        return Plan(
            mixture=mixture,
            student=student,
            folder=folder,
            variants=self.variants,
            benchmarks=self.benchmarks,
            rules=self.rules,
            others={name: Path(place).expanduser() for name, place in self.checkpoints.items()},
            limit=self.limit,
            shown=self.shown_operators,
            max_turns=self.max_turns,
            extractor=teacher.model if self.extraction == "teacher" else None,
            concurrency=self.concurrency,
        )
