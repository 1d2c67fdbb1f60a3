"""What servers answer is read as it is: replies, refusals, and errors in whatever form they come."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mmat_dagster.chat.replies import DETAIL_CHARS, parse_error, parse_reply, read_usage
from mmat_dagster.interfaces import ChatReply, RowError
from mmat_dagster.ledger.accounts import Paid


def completion(message: dict[str, Any], finish_reason: str | None = "stop", usage: object = None) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": finish_reason}], "usage": usage}).encode()


USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 5}}


def test_a_reply_is_read_with_its_tokens() -> None:
    body = completion({"content": "{}"}, usage=USAGE)
    assert parse_reply(200, body) == ChatReply(text="{}", prompt_tokens=11, completion_tokens=7)
    assert read_usage(body) == Paid(prompt_tokens=11, cached_tokens=5, completion_tokens=7)


@pytest.mark.parametrize("text", ["", " \n", None])
def test_a_reply_without_a_text_is_an_empty_one(text: str | None) -> None:
    reply = parse_reply(200, completion({"content": text}))
    assert isinstance(reply, ChatReply)
    assert reply.text == (text or "")


def test_a_reply_at_its_limit_is_cut() -> None:
    reply = parse_reply(200, completion({"content": '{"th'}, "length"))
    assert isinstance(reply, ChatReply)
    assert (reply.text, reply.is_cut) == ('{"th', True)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": 3},
        {"prompt_tokens_details": None},
        {"prompt_tokens_details": {"cached_tokens": None}},
    ],
)
def test_tokens_that_a_server_does_not_tell_are_zero(usage: object) -> None:
    paid = read_usage(completion({"content": "{}"}, usage=usage))
    assert (paid.cached_tokens, paid.completion_tokens, paid.cost_usd) == (0, 0, None)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (completion({"content": None, "refusal": "I cannot identify people."}), "I cannot identify people."),
        (completion({"content": "{", "refusal": None}, "content_filter"), "content filter"),
    ],
)
def test_a_model_that_refuses_is_not_asked_again(body: bytes, detail: str) -> None:
    error = parse_reply(200, body)
    assert isinstance(error, RowError)
    assert error.reason == "teacher refused"
    assert detail in error.detail


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("content_policy_violation", "teacher refused"),
        ("content_filter", "teacher refused"),
        ("context_length_exceeded", "request not accepted"),
        ("invalid_image_format", "request not accepted"),
        (None, "request not accepted"),
    ],
)
@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_error_of_the_request_is_told_with_its_words(status: int, code: str | None, reason: str) -> None:
    body = json.dumps({"error": {"message": "So it is.", "type": None, "param": None, "code": code}}).encode()
    assert parse_reply(status, body) == RowError(reason=reason, detail="So it is.")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ('{"error": {"message": "No.", "type": "insufficient_quota", "code": null}}', "insufficient_quota", "No."),
        ('{"error": {"message": "No.", "type": "error", "code": "bad"}}', "bad", "No."),
        ('{"error": {"message": "Rate limited", "code": 429}}', "429", "Rate limited"),  # OpenRouter
        ('{"object": "error", "message": "Too long.", "type": "BadRequestError", "code": 400}', None, "Too long."),
        ('{"error": "model is loading"}', None, "model is loading"),  # llama.cpp, Ollama
        ('{"detail": "Not Found"}', None, "Not Found"),  # FastAPI
        ('{"detail": [{"loc": ["body"], "msg": "Field required"}]}', None, "Field required"),
        ("<html>Bad Gateway</html>", None, "<html>Bad Gateway</html>"),
        ('{"error": {"message": null}}', None, ""),
        ("", None, ""),
        ("[]", None, "[]"),
        ("{}", None, ""),
    ],
)
def test_an_error_is_read_in_the_form_of_any_server(body: str, code: str | None, said: str) -> None:
    found, words = parse_error(body.encode())
    assert found == code
    assert said in words


@given(
    st.binary(max_size=600) | st.text(min_size=400, max_size=600).map(lambda text: json.dumps({"error": text}).encode())
)
def test_whatever_a_server_says_of_an_error_is_told_in_short(body: bytes) -> None:
    _, said = parse_error(body)
    assert len(said) <= DETAIL_CHARS


@pytest.mark.parametrize(
    "body", [b"", b"<html>Welcome</html>", b"{}", b'{"choices": []}', b'{"choices": [{}]}', b'{"error": "loading"}']
)
def test_a_body_that_is_no_completion_is_refused(body: bytes) -> None:
    with pytest.raises(ValidationError):
        read_usage(body)
    with pytest.raises(ValidationError):
        parse_reply(200, body)
