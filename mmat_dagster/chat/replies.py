"""Reading what a chat-completions server answered: a pure function of status and body, so that it may be asked again.

200, text                    ChatReply, also where it is empty or cut: whoever asked may ask to repair it
200, refusal or filter       RowError `teacher refused`
400, content policy          RowError `teacher refused`
400, 413, 422 otherwise      RowError `request not accepted` (context length, image too large, ...)
"""

from pydantic import BaseModel, Field, ValidationError

from mmat_dagster.interfaces import ChatReply, RowError
from mmat_dagster.ledger.accounts import Paid

OK = 200
DETAIL_CHARS = 300
REFUSED = frozenset({"content_filter", "content_policy_violation"})


class PromptDetails(BaseModel):
    """What a server tells of the tokens it read."""

    cached_tokens: int | None = None


class Usage(BaseModel):
    """The tokens that a server counted."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class Message(BaseModel):
    """What the model said, or why it would not."""

    content: str | None = None
    refusal: str | None = None


class Choice(BaseModel):
    """A message and why it ended there."""

    message: Message
    finish_reason: str | None = None


class Completion(BaseModel):
    """The body of a chat-completions response, as far as it is read here."""

    choices: list[Choice] = Field(min_length=1)
    usage: Usage | None = None


class Fault(BaseModel):
    """What an error response tells."""

    message: str | None = None
    code: str | int | None = None
    type: str | None = None


class ErrorBody(BaseModel):
    """The body of an error response; servers that are not OpenAI's also say `detail` or just text."""

    error: Fault | str | None = None
    message: str | None = None
    detail: object = None


def read_usage(body: bytes) -> Paid:
    """Return the tokens that a completion tells; zeros where it tells none. Raises ValidationError."""
    usage = Completion.model_validate_json(body).usage or Usage()
    details = usage.prompt_tokens_details
    return Paid(
        prompt_tokens=usage.prompt_tokens or 0,
        cached_tokens=(details.cached_tokens or 0) if details else 0,
        completion_tokens=usage.completion_tokens or 0,
    )


def parse_reply(status: int, body: bytes) -> ChatReply | RowError:
    """Read a stored reply; raise ValidationError where a 200 holds no chat completion."""
    if status != OK:
        return parse_refusal(body)
    completion = Completion.model_validate_json(body)
    choice, usage = completion.choices[0], completion.usage or Usage()
    if choice.message.refusal:
        return RowError(reason="teacher refused", detail=choice.message.refusal[:DETAIL_CHARS])
    if choice.finish_reason == "content_filter":
        return RowError(reason="teacher refused", detail="the server's content filter stopped the reply")
    return ChatReply(
        text=choice.message.content or "",
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        is_cut=choice.finish_reason == "length",
    )


def parse_refusal(body: bytes) -> RowError:
    """Read why a server did not take a request."""
    code, said = parse_error(body)
    return RowError(reason="teacher refused" if code in REFUSED else "request not accepted", detail=said)


def parse_error(body: bytes) -> tuple[str | None, str]:
    """Return an error response's code and what it says, at most DETAIL_CHARS of it."""
    try:
        told = ErrorBody.model_validate_json(body)
    except ValidationError:
        return None, body.decode(errors="replace").strip()[:DETAIL_CHARS]
    fault = told.error
    if isinstance(fault, Fault):
        code = fault.code if fault.code is not None else fault.type
        return None if code is None else str(code), (fault.message or "")[:DETAIL_CHARS]
    return None, str(fault or told.message or told.detail or "")[:DETAIL_CHARS]
