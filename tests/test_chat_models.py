"""Costs are those of the price list, image tokens those of the guide, and nothing is guessed of a model."""

from dataclasses import fields
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.chat.models import AS_OF, MODELS, ImageDetail, ModelFacts, Prices, facts, patches, tiles

GPT4O = ["gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20"]
LISTED = Prices(input=2.50, cached_input=1.25, output=10.00)
# A dialogue of four calls: a shared prefix, a question and an image each, the earlier turns, then the replies.
DIALOGUE_IN, DIALOGUE_OUT = 4 * (1200 + 120 + 765) + 500 * (1 + 2 + 3), 4 * 300

sides = st.integers(1, 20_000)
details = st.sampled_from(["auto", "low", "high"])


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        (1, 1, 255),
        (512, 512, 255),
        (513, 512, 425),
        (513, 513, 765),
        (640, 480, 425),
        (1024, 768, 765),
        (1920, 1080, 1105),
        (1080, 1920, 1105),
        (2048, 4096, 1105),
        (4096, 4096, 765),
    ],
)
def test_gpt4o_counts_the_tiles_of_an_image_as_it_scales_it(width: int, height: int, tokens: int) -> None:
    assert tiles(width, height, "high") == tokens


@given(sides, sides)
def test_an_image_costs_the_same_at_low_detail_whatever_its_size_and_auto_is_counted_as_high(
    width: int, height: int
) -> None:
    assert tiles(width, height, "low") == 85
    assert tiles(width, height, "auto") == tiles(width, height, "high")


@given(sides, sides)
def test_no_image_fills_more_than_eight_tiles_nor_less_than_one(width: int, height: int) -> None:
    assert 85 + 170 <= tiles(width, height, "high") <= 85 + 8 * 170


@pytest.mark.parametrize(("width", "height", "count"), [(1, 1, 1), (32, 32, 1), (33, 32, 2), (640, 480, 300)])
def test_a_patch_that_is_begun_counts(width: int, height: int, count: int) -> None:
    assert patches(width, height) == count


def test_a_dialogue_costs_what_the_price_list_says() -> None:
    assert LISTED.cost(DIALOGUE_IN, 0, DIALOGUE_OUT) == pytest.approx(0.04035)
    assert LISTED.cost(DIALOGUE_IN, 0, DIALOGUE_OUT, batch=True) == pytest.approx(0.020175)
    assert LISTED.cost(DIALOGUE_IN - 4 * (765 - 85), 0, DIALOGUE_OUT) == pytest.approx(0.03355)


def test_cached_tokens_are_part_of_the_prompt_and_cost_less() -> None:
    assert LISTED.cost(1_000_000, 400_000, 0) == pytest.approx(0.6 * 2.50 + 0.4 * 1.25)


def test_anyone_can_name_prices_and_what_a_batch_pays() -> None:
    own = Prices(input=1.0, cached_input=1.0, output=4.0, batch_share=0.25)
    assert own.cost(1_000_000, 0, 500_000, batch=True) == pytest.approx(0.75)


@pytest.mark.parametrize("name", GPT4O)
def test_gpt4o_is_known_under_its_names(name: str) -> None:
    known = facts(name)
    assert (known.name, known.prices, known.json_schema, known.temperature) == (name, LISTED, True, True)
    assert (known.shutdown, known.successor) == (date(2027, 1, 14), "gpt-6-luna")
    assert known.fits == "tiles"
    assert known.tokens_of_image(1024, 768, "auto") == 765


def test_the_successor_takes_a_temperature_only_when_told_not_to_reason() -> None:
    luna = facts("gpt-6-luna")
    assert (luna.temperature, luna.reasoning_effort) == (True, "none")
    assert luna.prices == Prices(input=0.10, cached_input=0.01, output=0.50)
    assert luna.json_schema is None
    assert luna.fits is None
    assert luna.tokens_of_image(1024, 768, "high") == 32 * 24


@pytest.mark.parametrize("name", ["", "gpt-4o-mini", "GPT-4o", "gpt-4o-2024-05-13", "ft:gpt-4o-2024-08-06:x", "llava"])
@given(width=sides, height=sides, detail=details)
def test_nothing_is_guessed_of_a_model_that_is_not_in_the_table(
    name: str, width: int, height: int, detail: ImageDetail
) -> None:
    unknown = facts(name)
    assert unknown == ModelFacts(name=name)
    assert unknown.tokens_of_image(width, height, detail) is None
    assert (unknown.temperature, unknown.seed) == (True, True)
    told = {field.name for field in fields(unknown) if getattr(unknown, field.name) is not None}
    assert told == {"name", "temperature", "seed", "max_tokens_field"}


def test_every_row_lies_under_its_own_name_and_every_successor_is_a_row() -> None:
    assert all(row.name == name for name, row in MODELS.items())
    assert {row.successor for row in MODELS.values() if row.successor is not None} <= set(MODELS)
    assert all(row.shutdown > AS_OF for row in MODELS.values() if row.shutdown is not None)
