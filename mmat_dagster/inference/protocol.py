"""The OpenAI protocol as far as a student speaks it: chat completions in, one choice out, no streaming."""

import base64
import binascii
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FinishReason = Literal["stop", "length"]
Role = Literal["system", "user", "assistant"]
# What would change a reply, and is not done here: to leave it out in silence would be worse than to refuse it.
REFUSED = ("tools", "functions", "stop", "logit_bias", "top_k", "frequency_penalty", "presence_penalty")


class BadRequest(Exception):
    """One request has something wrong, which is told; others are answered."""

    def __init__(self, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen; a temperature of 0 takes the likeliest."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """A message: texts, and images as the bytes of their files, in their order."""

    role: Role
    parts: tuple[str | bytes, ...]

    @property
    def text(self) -> str:
        """The texts, one behind the other."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def images(self) -> tuple[bytes, ...]:
        """The images."""
        return tuple(part for part in self.parts if isinstance(part, bytes))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A chat completion that is asked for; without `max_tokens` a reply may be as long as the context allows."""

    model: str
    messages: tuple[Spoken, ...]
    sampling: Sampling
    max_tokens: int | None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the student said; of the prompt's tokens `cached_tokens` had been read before."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class _ImageUrl(BaseModel):
    url: str


class _Part(BaseModel):
    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: _ImageUrl | None = None


class _Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part]


class _Format(BaseModel):
    type: str


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[_Message] = Field(min_length=1)
    temperature: float | None = Field(default=None, ge=0, le=100, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    max_tokens: int | None = Field(default=None, gt=0)
    max_completion_tokens: int | None = Field(default=None, gt=0)
    n: int | None = Field(default=None)
    stream: bool | None = None
    logprobs: bool | None = None
    response_format: _Format | None = None


def parse_request(body: bytes) -> Asked:
    """Return what is asked for; raise BadRequest."""
    try:
        read = _Body.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise BadRequest(f"{at}: {first['msg']}" if at else first["msg"], param=at or None) from error
    _refuse(read)
    return Asked(
        model=read.model,
        messages=tuple(_spoken(message) for message in read.messages),
        sampling=Sampling(
            temperature=read.temperature or 0.0, top_p=1.0 if read.top_p is None else read.top_p, seed=read.seed
        ),
        max_tokens=read.max_completion_tokens or read.max_tokens,
    )


def render_answer(answer: Answer, model: str) -> dict[str, Any]:
    """Return the body of a chat completion."""
    return {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text, "refusal": None},
                "finish_reason": answer.finish_reason,
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "total_tokens": answer.prompt_tokens + answer.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
        },
    }


def render_error(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """Return the body of an error response."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def render_models(names: Sequence[str]) -> dict[str, Any]:
    """Return the body that lists models."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "mmat_dagster"} for name in names]
    return {"object": "list", "data": data}


def _refuse(read: _Body) -> None:
    """Raise BadRequest for what would change the reply and is not done here."""
    given = read.model_extra or {}
    unknown = next((name for name in REFUSED if given.get(name)), None)
    if unknown is not None:
        raise BadRequest(f"{unknown} is not done here", code="unsupported_parameter", param=unknown)
    wanted = {
        "n": read.n in (None, 1),
        "stream": not read.stream,
        "logprobs": not read.logprobs,
        "response_format": read.response_format is None or read.response_format.type == "text",
    }
    for name, is_usual in wanted.items():
        if not is_usual:
            raise BadRequest(f"{name} may only be what it is by default", code="unsupported_value", param=name)


def _spoken(message: _Message) -> Spoken:
    role: Role = "system" if message.role == "developer" else message.role
    if isinstance(message.content, str):
        return Spoken(role=role, parts=(message.content,))
    return Spoken(role=role, parts=tuple(map(_part, message.content)))


def _part(part: _Part) -> str | bytes:
    if part.type == "text" and part.text is not None:
        return part.text
    if part.type == "image_url" and part.image_url is not None:
        return _image(part.image_url.url)
    raise BadRequest(f"a part of type {part.type} without its {part.type}", param="messages")


def _image(url: str) -> bytes:
    """Return the bytes that a data URL holds."""
    head, _, data = url.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64")):
        raise BadRequest(
            "an image must come as a data URL in base64: nothing is fetched here", code="invalid_image_url", param="url"
        )
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise BadRequest(f"an image's base64 is damaged: {error}", code="invalid_image", param="url") from error
