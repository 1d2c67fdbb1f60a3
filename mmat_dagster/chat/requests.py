"""A request to a chat model: the key of its reply, and its body as bytes.

key    SHA-256 over all that decides a reply: model, parameters, messages with their images' hashes, schema, sample
       number; and over nothing else, so that row order, run, folder and server may change
body   chat completions, images spliced in as base64: no copy of them ever passes through a JSON encoder
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import orjson

from mmat_dagster.chat.models import ImageDetail, MaxTokensField
from mmat_dagster.chat.scaling import PreparedImage
from mmat_dagster.interfaces import ChatImage, ChatTurn, ReplySchema

# How a model is told to answer in JSON: by schema (OpenAI, vLLM), as any JSON object, as llama.cpp takes a schema, or
# by the prompt alone.
ReplyFormat = Literal["json_schema", "json_object", "json_object_with_schema", "text"]

# Counts up when the same parameters come to mean another request.
KEY_VERSION = 1
# Where the bytes of an image go. A quote within a JSON string is escaped: no text of a message can hold this.
_PLACE = b'"url":"mmat:image"'
# The characters of base64 for one byte, and what surrounds them.
_BASE64_SHARE = 4 / 3


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What decides a reply besides the messages; None for what the model is not told."""

    model: str
    temperature: float | None
    top_p: float | None
    seed: int | None
    max_tokens: int
    reasoning_effort: str | None
    reply_format: ReplyFormat
    image_detail: ImageDetail
    max_image_side: int
    fits_tiles: bool


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """What is asked: `sample_number` tells repeated samples of the same messages apart."""

    messages: tuple[ChatTurn, ...]
    schema: ReplySchema | None = None
    sample_number: int = 0

    @property
    def images(self) -> tuple[ChatImage, ...]:
        """All images, in their order."""
        return tuple(image for message in self.messages for image in message.images)

    @property
    def text_bytes(self) -> int:
        """The UTF-8 bytes of all texts: no tokenizer makes more tokens of them."""
        texts = sum(len(message.text.encode()) for message in self.messages)
        return texts + (len(self.schema.json_schema) if self.schema else 0)


# Returns the URL at which the server can fetch the image itself, or its bytes.
Show = Callable[[ChatImage], str | PreparedImage]


def request_key(parameters: Parameters, request: ChatRequest) -> bytes:
    """Return the 32 bytes under which the reply is kept."""
    messages = [
        [message.role, message.text, [image.sha256 for image in message.images]] for message in request.messages
    ]
    schema = [request.schema.name, request.schema.json_schema] if request.schema else None
    asked = orjson.dumps([messages, schema, request.sample_number])
    return hashlib.sha256(_decides(parameters) + asked).digest()


@lru_cache(maxsize=64)
def _decides(parameters: Parameters) -> bytes:
    return orjson.dumps([KEY_VERSION, asdict(parameters)])


def render_body(parameters: Parameters, max_tokens_field: MaxTokensField, request: ChatRequest, show: Show) -> bytes:
    """Return the request's JSON body."""
    return _spliced(orjson.dumps(_body(parameters, max_tokens_field, request)), request, show)


def render_batch_line(
    custom_id: str, parameters: Parameters, max_tokens_field: MaxTokensField, request: ChatRequest, show: Show
) -> bytes:
    """Return the request as a line of a batch's input file."""
    line = {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": _body(parameters, max_tokens_field, request),
    }
    return _spliced(orjson.dumps(line), request, show) + b"\n"


def pack_request(request: ChatRequest) -> bytes:
    """Return the request as JSON without its images' bytes, for `unpack_request`."""
    return orjson.dumps(asdict(request), default=str)


def unpack_request(packed: bytes) -> ChatRequest:
    """Return the request that `pack_request` was given."""
    raw: dict[str, Any] = orjson.loads(packed)
    messages = tuple(
        ChatTurn(role=each["role"], text=each["text"], images=tuple(map(_image, each["images"])))
        for each in raw["messages"]
    )
    schema = ReplySchema(**raw["schema"]) if raw["schema"] else None
    return ChatRequest(messages=messages, schema=schema, sample_number=raw["sample_number"])


def body_bytes(request: ChatRequest, image_bytes: int) -> int:
    """Return about how long the body is where its images have `image_bytes` in all."""
    return request.text_bytes + int(image_bytes * _BASE64_SHARE) + 1024


def _image(raw: dict[str, Any]) -> ChatImage:
    return ChatImage(**{**raw, "path": Path(raw["path"])})


def _body(parameters: Parameters, max_tokens_field: MaxTokensField, request: ChatRequest) -> dict[str, Any]:
    settings = {
        "response_format": _reply_format(parameters.reply_format, request.schema),
        "temperature": parameters.temperature,
        "top_p": parameters.top_p,
        "seed": parameters.seed,
        max_tokens_field: parameters.max_tokens,
        "reasoning_effort": parameters.reasoning_effort,
    }
    return {
        "model": parameters.model,
        "messages": [_message(message, parameters.image_detail) for message in request.messages],
        **{name: value for name, value in settings.items() if value is not None},
    }


def _reply_format(reply_format: ReplyFormat, schema: ReplySchema | None) -> dict[str, Any] | None:
    if reply_format == "text":
        return None
    if schema is None or reply_format == "json_object":
        return {"type": "json_object"}
    json_schema = orjson.Fragment(schema.json_schema)
    if reply_format == "json_object_with_schema":
        return {"type": "json_object", "schema": json_schema}
    return {"type": "json_schema", "json_schema": {"name": schema.name, "strict": True, "schema": json_schema}}


def _message(message: ChatTurn, detail: ImageDetail) -> dict[str, Any]:
    if not message.images:
        return {"role": message.role, "content": message.text}
    image = {"type": "image_url", "image_url": {"url": "mmat:image", "detail": detail}}
    return {"role": message.role, "content": [*[image] * len(message.images), {"type": "text", "text": message.text}]}


def _spliced(body: bytes, request: ChatRequest, show: Show) -> bytes:
    images = request.images
    if not images:
        return body
    pieces = body.split(_PLACE)
    filled = [pieces[0]]
    for image, piece in zip(images, pieces[1:], strict=True):
        filled += [*_url(show(image)), piece]
    return b"".join(filled)


def _url(shown: str | PreparedImage) -> tuple[bytes, ...]:
    if isinstance(shown, str):
        return (b'"url":', orjson.dumps(shown))
    return (b'"url":"data:', shown.media_type.encode(), b";base64,", base64.b64encode(shown.content), b'"')
