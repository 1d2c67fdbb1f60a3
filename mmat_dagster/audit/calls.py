"""Were the operators that steps name really called, and does what they said stand where the reader finds it?"""

from collections.abc import Iterator

from mmat_dagster import wire
from mmat_dagster.audit.check import shown
from mmat_dagster.schema import Dialogue, Message, Turn

# System, question, then a step and the reaction to it by turns.
FIRST_REACTION = 3


def find_uncalled(dialogue: Dialogue) -> Iterator[str]:
    """Yield each call without a result, each result without a call, and each result that no reader is told."""
    for number, turn in enumerate(dialogue.transcript.turns, start=1):
        at = FIRST_REACTION + 2 * (number - 1)
        reaction = dialogue.messages[at] if at < len(dialogue.messages) else None
        yield from (f"step {number}: {fault}" for fault in _faults(turn, reaction))


def _faults(turn: Turn, reaction: Message | None) -> Iterator[str]:
    called = _called(turn)
    told = {item.tool for item in turn.observations}
    yield from (f"{tool} is named, and has no result" for tool in called if tool not in told)
    yield from (f"{tool} has a result, and was not called" for tool in sorted(told) if tool not in called)
    lines = reaction.content.split("\n") if reaction is not None and reaction.role == "user" else []
    for item in turn.observations:
        if f"-{item.tool} information: {item.text}" not in lines:
            yield f"what {item.tool} said is not told: {shown(item.text)}"


def _called(turn: Turn) -> tuple[str, ...]:
    step = turn.step
    return (*step.operators, *((wire.RAG,) if step.rag_query is not None else ()))
