"""What a run may ask of an evaluation."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from mmat_dagster.evaluation.board import Plan
from mmat_dagster.evaluation.variants import USUAL, VARIANTS
from mmat_dagster.training.spec import Student


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
    max_turns: int = Field(default=6, ge=1, description="Turns of an agent before its answer is asked for.")
    concurrency: int = Field(default=16, ge=1, description="Questions under way at once.")

    def plan(self, mixture: str, student: Student, folder: Path) -> Plan:
        """Return what is to be examined for `mixture`."""
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
            concurrency=self.concurrency,
        )
