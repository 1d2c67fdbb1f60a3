"""The offline teacher: writes the steps from what the source's annotations and the operators' real results hold.

It is deterministic and invents nothing: where the evidence does not lead to the gold answer, the sample is rejected.
A long calculation is left out of its thoughts, as GPT-4o does now and then, and comes back in a math reflection; a
conclusion that the results do not show to the letter is admitted and mended in a general reflection.
"""

from collections.abc import Sequence

from mmat_dagster import answers
from mmat_dagster.fingerprints import code_fingerprint
from mmat_dagster.interfaces import Finding, Reply, Teacher
from mmat_dagster.schema import DatasetName, Rejection, RejectionReason, Sample, Step, Transcript, Turn
from mmat_dagster.teachers import working
from mmat_dagster.teachers.strategies import STRATEGIES, Gap, Strategy
from mmat_dagster.tools import Operator

CODE = ("annotations", "evidence", "strategies", "working")


class AnnotationsTeacher(Teacher):
    """Reasons from the source's own annotations; needs no key, no network and no accelerator."""

    @property
    def name(self) -> str:
        """The teacher's name in every record that it wrote."""
        return "annotations"

    def version(self, dataset: DatasetName) -> str:  # noqa: ARG002
        """The fingerprint of the code that decides its replies."""
        return code_fingerprint(*(f"teachers/{name}.py" for name in CODE), "answers.py")

    async def next_step(self, sample: Sample, turns: Sequence[Turn], offered: Sequence[Operator]) -> Reply | Rejection:
        """Return the next planned step, or the conclusion once the tools have spoken."""
        chosen = _choose(sample, frozenset(operator.name for operator in offered))
        if chosen is None:
            return _reject(
                sample, "annotations hold no reasoning", "the source gives an answer, but nothing to reason from"
            )
        strategy, steps = chosen
        if len(turns) < len(steps):
            return Reply(step=steps[len(turns)])
        thought = strategy.conclude(sample, turns)
        if isinstance(thought, Gap):
            return _reject(sample, thought.reason, thought.detail)
        return Reply(step=Step(thought=thought, signal="end"))

    async def find_pretence(self, sample: Sample, transcript: Transcript) -> Finding | Rejection | None:
        """Return what the conclusion claims although no result shows it to the letter."""
        called = frozenset(name for turn in transcript.turns for name in turn.step.operators)
        chosen = _choose(sample, called)
        return None if chosen is None else chosen[0].find_pretence(sample, transcript.turns)

    async def find_skipped_calculation(self, sample: Sample, transcript: Transcript) -> Finding | Rejection | None:
        """Return the calculation of the worked solution that stands in no thought."""
        solution = sample.annotations.reasoning
        if solution is None or not answers.states_gold(solution, sample):
            return None
        thoughts = "\n".join(turn.step.thought for turn in transcript.turns)
        calculation = working.calculations(solution)
        missing = [line for line in calculation if line not in thoughts]
        if not missing:
            return None
        written_out = "\n".join(["Written out, the calculation is:", *calculation, working.conclusion(solution)])
        return Finding(reason=f"the calculation is left out: {missing[0]}", thought=written_out)


def _choose(sample: Sample, offered: frozenset[str]) -> tuple[Strategy, tuple[Step, ...]] | None:
    """Return the first strategy that fits, and its steps."""
    for strategy in STRATEGIES:
        steps = strategy.plan(sample, offered)
        if steps is not None:
            return strategy, steps
    return None


def _reject(sample: Sample, reason: RejectionReason, detail: str) -> Rejection:
    return Rejection(source=sample.source, record_id=sample.id, stage="rationales", reason=reason, detail=detail)
