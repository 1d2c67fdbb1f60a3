"""What the prompted teacher reads: its replies as pydantic models, and a `parse_` function for each kind of call.

A reply that cannot be used is a RowError; its detail says what is wrong, then how the reply begins.
"""

from collections.abc import Collection
from typing import Literal

from pydantic import BaseModel, ConfigDict

from mmat_dagster import wire
from mmat_dagster.chat.asking import malformed, parse_json
from mmat_dagster.chat.schemas import reply_schema
from mmat_dagster.interfaces import Finding, Reply, RowError
from mmat_dagster.schema import Step

_REPLY = ConfigDict(strict=True, extra="ignore", frozen=True)


class RagReply(BaseModel):
    """The part of a step's reply that asks for a search."""

    model_config = _REPLY

    needed: bool
    query: str | None


class StepReply(BaseModel):
    """One step as the teacher writes it."""

    model_config = _REPLY

    thought: str
    operators: list[str]
    rag: RagReply
    next_action: Literal["continue", "final_answer"]


class PretenceReply(BaseModel):
    """The judgement on a dialogue; without a reason it is sound."""

    model_config = _REPLY

    reason: str | None = None


class RewriteReply(BaseModel):
    """The thought that replaces a pretending one."""

    model_config = _REPLY

    thought: str


class CalculationReply(BaseModel):
    """The judgement on a dialogue's calculations; without a thought none is skipped."""

    model_config = _REPLY

    reason: str = ""
    thought: str | None = None


STEP, PRETENCE, REWRITE, CALCULATION = (
    reply_schema(name, model)
    for name, model in (
        ("step", StepReply),
        ("pretence", PretenceReply),
        ("rewrite", RewriteReply),
        ("calculation", CalculationReply),
    )
)


def parse_reply(text: str, offered: Collection[str]) -> Reply | RowError:
    """Read a step and keep the raw words next to it; `offered` are the operators that it may call."""
    step = parse_step(text, offered)
    return step if isinstance(step, RowError) else Reply(step=step, raw_reply=text)


def parse_step(text: str, offered: Collection[str]) -> Step | RowError:
    """Read a step from the teacher's reply; `offered` are the operators that it may call."""
    reply = parse_json(text, StepReply)
    if isinstance(reply, RowError):
        return reply
    fault = _fault(reply)
    if fault is not None:
        return malformed(text, fault)
    unknown = [name for name in reply.operators if name not in offered]
    if unknown:
        return RowError(reason="operator not offered", detail=f"the step calls {', '.join(unknown)}")
    return _writable(_step(reply))


def parse_pretence(text: str) -> str | RowError | None:
    """Read why the dialogue pretends; None where it is sound."""
    reply = parse_json(text, PretenceReply)
    if isinstance(reply, RowError):
        return reply
    return (reply.reason or "").strip() or None


def parse_rewrite(text: str) -> str | RowError:
    """Read the rewritten thought."""
    reply = parse_json(text, RewriteReply)
    return reply if isinstance(reply, RowError) else _final_thought(text, reply.thought)


def parse_skipped_calculation(text: str) -> Finding | RowError | None:
    """Read which calculation is skipped and the thought that makes up for it; None where none is."""
    reply = parse_json(text, CalculationReply)
    if isinstance(reply, RowError) or reply.thought is None:
        return reply if isinstance(reply, RowError) else None
    if not reply.reason.strip():
        return malformed(text, "a thought without a reason")
    thought = _final_thought(text, reply.thought)
    return thought if isinstance(thought, RowError) else Finding(reason=reply.reason.strip(), thought=thought)


def _fault(reply: StepReply) -> str | None:
    calls = bool(reply.operators) or reply.rag.needed
    if not reply.thought.strip():
        return "empty thought"
    if reply.rag.needed and not (reply.rag.query or "").strip():
        return "a search without a query"
    if calls and reply.next_action == "final_answer":
        return "a final step that calls a tool"
    return None


def _step(reply: StepReply) -> Step:
    query = " ".join((reply.rag.query or "").split())
    return Step(
        thought=reply.thought.strip(),
        operators=tuple(dict.fromkeys(reply.operators)),
        rag_query=query if reply.rag.needed else None,
        signal="end" if reply.next_action == "final_answer" else "continue",
    )


def _final_thought(text: str, thought: str) -> str | RowError:
    if not thought.strip():
        return malformed(text, "empty thought")
    step = _writable(Step(thought=thought.strip(), signal="end"))
    return step if isinstance(step, RowError) else step.thought


def _writable(step: Step) -> Step | RowError:
    try:
        wire.render_step(step)
    except wire.WireError as broken:
        return RowError(reason="wire form broken", detail=str(broken))
    return step
