"""Dialogues for tests of the audit: a sound one that called tools and reflected, and its damages."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mmat_dagster.schema import Dialogue, Observation, OrrDialogue, Rejection, Sample, Step, Transcript, Turn
from mmat_dagster.stages.integration import integrate
from tests.builders import SAMPLE, render_dialogue

READ = Observation(tool="ocr", text="sand | $2; gravel | $3")
FOUND = Observation(tool="rag", text="Sand: a loose material")
TURNS = (
    Turn(
        step=Step(thought="I read the table.", operators=("ocr",), rag_query="what is sand", signal="continue"),
        observations=(READ, FOUND),
    ),
    Turn(step=Step(thought="The sand costs as much as it says.", signal="continue")),
    Turn(step=Step(thought="This needs more care.", signal="reflection")),
    Turn(step=Step(thought="The row of the sand says $2, so it costs 2.", signal="end")),
)


def make_dialogue(
    turns: tuple[Turn, ...] = TURNS, answer: str = "2", sample: Sample = SAMPLE, **changes: Any
) -> Dialogue:
    """Return a dialogue of `turns` in the wire form, with `changes`."""
    transcript = Transcript(question=sample.question, image_count=len(sample.images), turns=turns, answer=answer)
    reflected = any(turn.step.signal == "reflection" for turn in turns)
    of_reflection = {"reflection": "general", "reflection_reason": "never read"} if reflected else {}
    return render_dialogue(sample, transcript, **{**of_reflection, **changes})


def thinking(thought: str, at: int = -1) -> Dialogue:
    """Return the dialogue with another thought at step number `at`."""
    turns = list(TURNS)
    turns[at] = replace(turns[at], step=replace(turns[at].step, thought=thought))
    return make_dialogue(tuple(turns))


def make_integrated(dialogue: Dialogue) -> OrrDialogue:
    """Return the ORR dialogue of `dialogue`."""
    record = integrate(dialogue, "system")
    assert not isinstance(record, Rejection)
    return record


def saying(dialogue: Dialogue, at: int, reword: Callable[[str], str]) -> Dialogue:
    """Return `dialogue` with message number `at` reworded, and nothing else."""
    messages = list(dialogue.messages)
    messages[at] = replace(messages[at], content=reword(messages[at].content))
    return replace(dialogue, messages=tuple(messages))
