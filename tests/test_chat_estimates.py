"""What a request will take is learned from what earlier ones took; what it can take at most is never exceeded."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.chat.estimates import (
    MARGIN,
    USUAL_COMPLETION_TOKENS,
    MovingAverage,
    TokenEstimator,
    image_tokens,
    most_prompt_tokens,
)
from mmat_dagster.chat.models import facts
from mmat_dagster.chat.requests import ChatRequest
from mmat_dagster.interfaces import ChatImage, ChatTurn, ReplySchema

IMAGE = ChatImage(path=Path("a.png"), sha256="a" * 64, width=1024, height=1024, reference="tabmwp/a.png")
STEP = ReplySchema(name="step", json_schema="{}")


def make_request(text: str, *images: ChatImage, schema: ReplySchema | None = None) -> ChatRequest:
    return ChatRequest(messages=(ChatTurn(role="user", text=text, images=images),), schema=schema)


def test_before_the_first_reply_english_text_and_a_usual_reply_are_assumed() -> None:
    expected = TokenEstimator(max_tokens=1024).expect(make_request("x" * 400), 765)
    assert expected == pytest.approx(MARGIN * (100 + 765 + USUAL_COMPLETION_TOKENS))
    assert TokenEstimator(max_tokens=10).expect(make_request(""), 0) == pytest.approx(MARGIN * 10)


def test_it_learns_tokens_per_byte_without_the_images_and_the_length_of_each_kind_of_reply() -> None:
    estimator = TokenEstimator(max_tokens=1024)
    for _ in range(3):
        estimator.learn(make_request("x" * 98, schema=STEP), 765, prompt_tokens=815, completion_tokens=40)
    assert estimator.expect(make_request("x" * 198, schema=STEP), 0) == pytest.approx(MARGIN * (100 + 40))
    assert estimator.expect(make_request("x" * 200), 0) == pytest.approx(MARGIN * (100 + USUAL_COMPLETION_TOKENS))


def test_a_server_that_tells_no_tokens_teaches_nothing() -> None:
    estimator, request = TokenEstimator(max_tokens=1024), make_request("x" * 400)
    before = estimator.expect(request, 0)
    estimator.learn(request, 0, prompt_tokens=0, completion_tokens=0)
    assert estimator.expect(request, 0) == before


def test_an_average_follows_what_comes_and_forgets_what_was() -> None:
    average = MovingAverage(value=1000.0)
    for value in (10.0, 20.0):
        average.add(value)
    assert average.value == pytest.approx(15.0)
    for _ in range(1000):
        average.add(7.0)
    assert average.value == pytest.approx(7.0)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), st.integers(0, 5000))
def test_the_bound_covers_a_token_for_every_byte_and_all_images(text: str, images: int) -> None:
    bound = most_prompt_tokens(make_request(text, schema=STEP), images)
    assert bound >= len(text.encode()) + len(STEP.json_schema) + images


def test_images_of_a_known_model_are_counted_as_they_are_sent() -> None:
    known, images = facts("gpt-4o-2024-11-20"), (IMAGE, replace(IMAGE, width=500, height=500))
    assert image_tokens(known, images, "auto", 2048) == 765 + 255
    assert image_tokens(known, images, "low", 2048) == 2 * 85
    assert image_tokens(known, images, "auto", 512) == 2 * 255
    assert image_tokens(known, (), "auto", 2048) == 0


def test_images_of_an_unknown_model_are_not_guessed_but_none_are_none() -> None:
    assert image_tokens(facts("tiny"), (IMAGE,), "auto", 2048) is None
    assert image_tokens(facts("tiny"), (), "auto", 2048) == 0
