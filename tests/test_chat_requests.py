"""A request has one key for its reply whatever does not decide it, and a body in which images stand as base64."""

import base64
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.chat.requests import (
    ChatRequest,
    Parameters,
    ReplyFormat,
    pack_request,
    render_batch_line,
    render_body,
    request_key,
    unpack_request,
)
from mmat_dagster.chat.scaling import PreparedImage
from mmat_dagster.interfaces import ChatImage, ChatTurn, ReplySchema

PARAMETERS = Parameters(
    model="scripted",
    temperature=0.3,
    top_p=None,
    seed=42,
    max_tokens=1024,
    reasoning_effort=None,
    reply_format="json_object",
    image_detail="auto",
    max_image_side=2048,
    fits_tiles=False,
)
SCHEMA = ReplySchema(name="step", json_schema='{"type":"object","properties":{}}')
IMAGE = ChatImage(path=Path("a.png"), sha256="a" * 64, width=40, height=20, reference="tabmwp/a.png")
OTHER = replace(IMAGE, path=Path("b.png"), sha256="b" * 64)
REQUEST = ChatRequest(
    messages=(
        ChatTurn(role="system", text="Reply in JSON."),
        ChatTurn(role="user", text="How much?", images=(IMAGE, OTHER)),
    ),
    schema=SCHEMA,
)
PLACE = '"url":"mmat:image"'


def show_bytes(image: ChatImage) -> PreparedImage:
    """Show an image as the bytes of its hash."""
    return PreparedImage(media_type="image/png", content=image.sha256.encode(), width=1, height=1)


def data_url(image: ChatImage) -> str:
    return f"data:image/png;base64,{base64.b64encode(image.sha256.encode()).decode()}"


def body_of(request: ChatRequest, **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(
        render_body(replace(PARAMETERS, **changes), "max_completion_tokens", request, show_bytes)
    )
    return body


def with_text(text: str, *images: ChatImage) -> ChatRequest:
    return ChatRequest(messages=(ChatTurn(role="user", text=text, images=images),))


def test_a_key_is_never_changed_by_accident() -> None:
    # All replies that were ever paid for lie under such keys. A wanted change counts KEY_VERSION up.
    assert request_key(PARAMETERS, REQUEST).hex() == "63ec67c9c3e28d2a8ada827427ee7d4878436a34241fb0bed6812d11c4070323"


def reseen(image: ChatImage) -> ChatImage:
    return replace(image, path=Path("/elsewhere/c.png"), reference="images/aa/a.png")


def test_where_an_image_lies_and_where_a_server_finds_it_decides_no_reply() -> None:
    system, user = REQUEST.messages
    moved = replace(REQUEST, messages=(system, replace(user, images=tuple(map(reseen, user.images)))))
    assert request_key(PARAMETERS, moved) == request_key(PARAMETERS, REQUEST)


def test_whatever_decides_a_reply_gives_it_another_key() -> None:
    system, user = REQUEST.messages
    changed_requests = [
        REQUEST,
        replace(REQUEST, messages=(user, system)),
        replace(REQUEST, messages=(system, replace(user, text="How much? "))),
        replace(REQUEST, messages=(replace(system, role="user"), user)),
        replace(REQUEST, messages=(system, replace(user, images=(OTHER, IMAGE)))),
        replace(REQUEST, messages=(system, replace(user, images=(IMAGE,)))),
        replace(REQUEST, messages=(system, replace(user, images=(IMAGE, replace(OTHER, sha256="c" * 64))))),
        replace(REQUEST, messages=(replace(system, images=(IMAGE,)), replace(user, images=(OTHER,)))),
        replace(REQUEST, schema=None),
        replace(REQUEST, schema=replace(SCHEMA, name="other")),
        replace(REQUEST, schema=replace(SCHEMA, json_schema="{}")),
        replace(REQUEST, sample_number=1),
    ]
    changed_parameters: dict[str, Any] = {
        "model": "other",
        "temperature": None,
        "top_p": 0.5,
        "seed": 43,
        "max_tokens": 1023,
        "reasoning_effort": "none",
        "reply_format": "json_schema",
        "image_detail": "low",
        "max_image_side": 1024,
        "fits_tiles": True,
    }
    assert set(changed_parameters) == {field.name for field in fields(Parameters)}
    keys = {request_key(PARAMETERS, request) for request in changed_requests}
    keys |= {request_key(replace(PARAMETERS, **{name: value}), REQUEST) for name, value in changed_parameters.items()}
    assert len(keys) == len(changed_requests) + len(changed_parameters)
    assert {len(key) for key in keys} == {32}


def test_a_body_holds_the_messages_and_every_setting() -> None:
    body = body_of(REQUEST, temperature=0.5, top_p=0.9, seed=7, max_tokens=99, reasoning_effort="low")
    image = {"type": "image_url", "image_url": {"url": data_url(IMAGE), "detail": "auto"}}
    other = {"type": "image_url", "image_url": {"url": data_url(OTHER), "detail": "auto"}}
    assert body == {
        "model": "scripted",
        "messages": [
            {"role": "system", "content": "Reply in JSON."},
            {"role": "user", "content": [image, other, {"type": "text", "text": "How much?"}]},
        ],
        "response_format": {"type": "json_object"},
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "max_completion_tokens": 99,
        "reasoning_effort": "low",
    }


def test_what_the_model_is_not_told_is_not_in_the_body() -> None:
    body = body_of(with_text("?"), temperature=None, seed=None, reply_format="text")
    assert set(body) == {"model", "messages", "max_completion_tokens"}


def test_older_servers_get_the_older_name_of_the_longest_reply() -> None:
    body = orjson.loads(render_body(PARAMETERS, "max_tokens", with_text("?"), show_bytes))
    assert body["max_tokens"] == 1024
    assert "max_completion_tokens" not in body


@pytest.mark.parametrize(
    ("reply_format", "schema", "asked"),
    [
        (
            "json_schema",
            SCHEMA,
            {
                "type": "json_schema",
                "json_schema": {"name": "step", "strict": True, "schema": {"type": "object", "properties": {}}},
            },
        ),
        ("json_schema", None, {"type": "json_object"}),
        ("json_object", SCHEMA, {"type": "json_object"}),
        ("json_object_with_schema", SCHEMA, {"type": "json_object", "schema": {"type": "object", "properties": {}}}),
        ("json_object_with_schema", None, {"type": "json_object"}),
        ("text", SCHEMA, None),
    ],
)
def test_json_is_asked_for_as_the_server_takes_it(
    reply_format: ReplyFormat, schema: ReplySchema | None, asked: object
) -> None:
    body = body_of(replace(with_text("?"), schema=schema), reply_format=reply_format)
    assert body.get("response_format") == asked


tricky = st.sampled_from([PLACE, '"url":', "mmat:image", '\\"', "\\", '"', "\\u0022", "}]}", "\n", "ü", "😀", "a"])
texts = st.lists(tricky | st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=8).map("".join)
chat_images = st.builds(
    ChatImage,
    path=texts.map(Path),
    sha256=texts,
    width=st.integers(1, 9999),
    height=st.integers(1, 9999),
    reference=texts,
)
turns = st.builds(
    ChatTurn,
    role=st.sampled_from(["system", "user", "assistant"]),
    text=texts,
    images=st.lists(chat_images, max_size=3).map(tuple),
)
requests = st.builds(
    ChatRequest,
    messages=st.lists(turns, min_size=1, max_size=4).map(tuple),
    schema=st.none() | st.just(SCHEMA),
    sample_number=st.integers(0, 9),
)


def expected_messages(request: ChatRequest, url: Any) -> list[dict[str, Any]]:
    """Return the messages as they should be read out of a body."""
    messages: list[dict[str, Any]] = []
    for message in request.messages:
        parts: list[Any] = [
            {"type": "image_url", "image_url": {"url": url(image), "detail": "auto"}} for image in message.images
        ]
        text = {"type": "text", "text": message.text}
        messages.append({"role": message.role, "content": [*parts, text] if parts else message.text})
    return messages


@given(requests)
def test_every_image_stands_in_its_place_whatever_the_texts_say(request: ChatRequest) -> None:
    assert body_of(request)["messages"] == expected_messages(request, data_url)


@given(requests)
def test_a_server_that_fetches_images_gets_their_urls(request: ChatRequest) -> None:
    body = orjson.loads(render_body(PARAMETERS, "max_completion_tokens", request, lambda image: image.reference))
    assert body["messages"] == expected_messages(request, lambda image: image.reference)


@given(requests)
def test_a_line_of_a_batch_is_one_line_around_the_same_body(request: ChatRequest) -> None:
    line = render_batch_line("id-1", PARAMETERS, "max_completion_tokens", request, show_bytes)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "custom_id": "id-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body_of(request),
    }


@given(requests)
def test_a_packed_request_is_unpacked_as_it_was(request: ChatRequest) -> None:
    assert unpack_request(pack_request(request)) == request


@given(requests)
def test_a_request_that_waited_for_its_batch_has_the_same_key(request: ChatRequest) -> None:
    again = unpack_request(pack_request(request))
    assert request_key(PARAMETERS, again) == request_key(PARAMETERS, request)
