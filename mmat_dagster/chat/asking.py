"""One question to a chat model and its parsed reply; a reply that cannot be used is told so and asked for once more."""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from mmat_dagster import prompts
from mmat_dagster.interfaces import ChatModel, ChatReply, ChatTurn, ReplySchema, RowError

# So much of a malformed reply is kept for the person who reads the rejection.
EXCERPT_CHARS = 300
BEGINS = "; the reply begins: "

_FENCE = re.compile(r"```(?:json)?[^\S\n]*\n(.*)\n\s*```", re.DOTALL)

ReplyModel = TypeVar("ReplyModel", bound=BaseModel)
T = TypeVar("T")


async def ask(
    model: ChatModel,
    messages: Sequence[ChatTurn],
    schema: ReplySchema | None,
    parse: Callable[[str], T | RowError],
    on_repair: Callable[[], None] = lambda: None,
) -> T | RowError:
    """Return the parsed reply; `on_repair` is told where it was asked for twice. Raises what `complete` raises."""
    reply = await model.complete(messages, schema)
    if isinstance(reply, RowError):
        return reply
    parsed = parse_with(reply, parse)
    if not isinstance(parsed, RowError):
        return parsed
    on_repair()
    again = await model.complete((*messages, *render_repair(reply, parsed)), schema)
    return again if isinstance(again, RowError) else parse_with(again, parse)


def render_repair(reply: ChatReply, error: RowError) -> tuple[ChatTurn, ...]:
    """Render the request to send `reply` again without its fault."""
    asked = ChatTurn(role="user", text=prompts.render("repair", fault=error.detail.partition(BEGINS)[0]))
    return (ChatTurn(role="assistant", text=reply.text), asked) if reply.text.strip() else (asked,)


def parse_with(reply: ChatReply, parse: Callable[[str], T | RowError]) -> T | RowError:
    """Read a reply with `parse`, unless it is cut or empty."""
    if reply.is_cut:
        return malformed(reply.text, f"cut at {reply.completion_tokens} tokens")
    if not reply.text.strip():
        return RowError(reason="malformed teacher reply", detail="an empty reply")
    return parse(reply.text)


def parse_json(text: str, model: type[ReplyModel]) -> ReplyModel | RowError:
    """Read a reply as `model`; a code fence around it does no harm."""
    fenced = _FENCE.fullmatch(text.strip())
    try:
        return model.model_validate_json(fenced[1] if fenced else text.strip())
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return malformed(text, f"{where}: {first['msg']}" if where else first["msg"])


def malformed(text: str, fault: str) -> RowError:
    """Return the error of a reply that cannot be used: its fault, then how it begins."""
    return RowError(reason="malformed teacher reply", detail=f"{fault}{BEGINS}{text[:EXCERPT_CHARS]}")
