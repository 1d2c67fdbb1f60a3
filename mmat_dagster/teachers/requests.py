"""What the prompted teacher asks: a `render_` function for each kind of call.

What requests share stands first, byte for byte: a server reuses the instructions for all samples, and images and
dialogue for the checks of one sample.
"""

import json
from collections.abc import Sequence

from mmat_dagster import prompts, wire
from mmat_dagster.interfaces import ChatImage, ChatTurn, Pictures
from mmat_dagster.schema import ImageRef, Observation, Round, Sample, Step, Transcript, Turn
from mmat_dagster.teachers.replies import RagReply, StepReply
from mmat_dagster.tools import Operator

LAST_ROUNDS = 2


def render_next_step(
    sample: Sample, turns: Sequence[Turn], offered: Sequence[Operator], pictures: Pictures, max_turns: int
) -> tuple[ChatTurn, ...]:
    """Render the conversation that asks for the step after `turns`; raise WireError where a result has no wire form."""
    messages = [
        ChatTurn(role="system", text=render_system(offered, max_turns)),
        with_images(sample, pictures, render_question(sample, max_turns)),
    ]
    for number, turn in enumerate(turns, start=1):
        messages.append(ChatTurn(role="assistant", text=turn.raw_reply or render_step(turn.step)))
        messages.append(ChatTurn(role="user", text=render_results(turn.observations, max_turns - number)))
    return tuple(messages)


def render_system(offered: Sequence[Operator], max_turns: int) -> str:
    """Render the system prompt of the rationale; the text before its slots is the same for every sample."""
    lines = [f"- {operator.name}: {operator.purpose}" for operator in offered]
    return prompts.render(
        "rationale_system", operators="\n".join(lines) or "none for these images", max_turns=str(max_turns)
    )


def render_question(sample: Sample, steps_left: int) -> str:
    """Render the first user turn: earlier rounds, question, reference answer."""
    return prompts.render(
        "rationale_question",
        question=sample.question,
        answer=sample.answers[0],
        context=render_context(sample),
        steps_left=str(steps_left),
    )


def render_results(observations: Sequence[Observation], steps_left: int) -> str:
    """Render the user turn after a step; raise WireError where an observation has no wire form."""
    results = wire.render_results(observations) if observations else wire.NO_CALL + wire.CONTINUE
    return prompts.render("rationale_results", results=results, steps_left=str(steps_left))


def render_step(step: Step) -> str:
    """Render a step in the JSON form of the teacher's replies, for turns that a chat model did not write."""
    reply = StepReply(
        thought=step.thought,
        operators=list(step.operators),
        rag=RagReply(needed=step.rag_query is not None, query=step.rag_query),
        next_action="final_answer" if step.signal == "end" else "continue",
    )
    return json.dumps(reply.model_dump(), ensure_ascii=False)


def render_pretence(sample: Sample, transcript: Transcript, pictures: Pictures) -> tuple[ChatTurn, ...]:
    """Render the request to judge whether the dialogue pretends."""
    return _render_check(sample, transcript, pictures, prompts.render("reflection_general"))


def render_rewrite(sample: Sample, transcript: Transcript, reason: str, pictures: Pictures) -> tuple[ChatTurn, ...]:
    """Render the request to rewrite the last thought, which pretends because of `reason`."""
    return _render_check(sample, transcript, pictures, prompts.render("reflection_rewrite", reason=reason))


def render_skipped_calculation(sample: Sample, transcript: Transcript, pictures: Pictures) -> tuple[ChatTurn, ...]:
    """Render the request to judge whether a calculation is skipped."""
    turns = transcript.turns
    last_rounds = render_dialogue(turns[-LAST_ROUNDS:], first=max(1, len(turns) - LAST_ROUNDS + 1))
    return _render_check(sample, transcript, pictures, prompts.render("reflection_math", last_rounds=last_rounds))


def render_dialogue(turns: Sequence[Turn], first: int = 1) -> str:
    """Render `turns` as plain text for a judge, numbered from `first`."""
    return "\n\n".join(_render_turn(number, turn) for number, turn in enumerate(turns, start=first))


def render_context(sample: Sample) -> str:
    """Render the earlier rounds over the same images as plain text."""
    return "\n".join(map(_render_round, sample.context)) or "none"


def with_images(sample: Sample, pictures: Pictures, text: str) -> ChatTurn:
    """Return a user turn that shows the sample's images before `text`."""
    return ChatTurn(role="user", text=text, images=tuple(_image(sample, image, pictures) for image in sample.images))


def _render_check(sample: Sample, transcript: Transcript, pictures: Pictures, task: str) -> tuple[ChatTurn, ...]:
    dialogue = render_dialogue(transcript.turns)
    material = prompts.render("reflection_dialogue", question=transcript.question, dialogue=dialogue)
    system = ChatTurn(role="system", text=prompts.render("reflection_system"))
    return (system, with_images(sample, pictures, f"{material}\n\n{task}"))


def _image(sample: Sample, image: ImageRef, pictures: Pictures) -> ChatImage:
    return ChatImage(
        path=pictures.locate(sample.source, image),
        sha256=image.sha256,
        width=image.width,
        height=image.height,
        reference=f"{sample.source}/{image.path}" if image.home == "source" else image.path,
    )


def _render_round(earlier: Round) -> str:
    return f"Question: {earlier.question}\nAnswer: {earlier.answer}"


def _render_turn(number: int, turn: Turn) -> str:
    step = turn.step
    lines = [f"Step {number}: {step.thought}"]
    if step.operators:
        lines.append(f"Called: {', '.join(step.operators)}")
    if step.rag_query is not None:
        lines.append(f"Searched for: {step.rag_query}")
    lines += [f"Result of {item.tool}: {item.text}" for item in turn.observations]
    return "\n".join(lines)
