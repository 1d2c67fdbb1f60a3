"""The assistant's tokens are found in lists of offsets, as they are in the tensors that a processor takes by itself."""

import os
from collections.abc import Callable
from typing import Any

import pytest

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

import torch
from PIL import Image

from mmat_dagster.training.process.batches import OFFSETS, SEARCH, quick_masks
from mmat_dagster.training.process.templates import training_template
from mmat_dagster.training.process.tiny import make_processor
from mmat_dagster.training.spec import Student
from tests.tiny_students import RR, conversation, idefics3_processor, trl_template

PROCESSORS: dict[str, Callable[[], Any]] = {
    "tiny": make_processor,
    "idefics3": lambda: idefics3_processor(trl_template("idefics3"), "<|begin_of_text|>"),
}


def assistant_mask(processor: Any) -> torch.Tensor:
    """Return the mask of a dialogue of several turns beside a shorter one, both with a picture."""
    whole, short = conversation(RR, sees=True), conversation(RR[:3], sees=True)
    for part in (part for turn in [*whole, *short] for part in turn["content"] if part["type"] == "image"):
        part["image"] = Image.new("RGB", (60, 30), "white")
    made = processor.apply_chat_template(
        [whole, short],
        chat_template=training_template(processor, Student(name="seeing")),
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        return_assistant_tokens_mask=True,
        processor_kwargs={"padding": True, "padding_side": "right", "add_special_tokens": False},
    )
    return torch.as_tensor(made["assistant_masks"])


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_mask_is_what_the_processor_finds_by_itself(name: str) -> None:
    processor = PROCESSORS[name]()
    by_itself = assistant_mask(processor)
    with quick_masks(processor):
        quick = assistant_mask(processor)
    assert by_itself.sum() > 0
    assert torch.equal(quick, by_itself)


def test_the_processor_searches_lists_and_not_tensors() -> None:
    searched: list[Any] = []

    class Searching:
        def _adjust_assistant_masks_indices(self, made: dict[str, Any], turns: Any) -> dict[str, Any]:
            searched.append(made[OFFSETS])
            return made

    processor = Searching()
    with quick_masks(processor):
        getattr(processor, SEARCH)({OFFSETS: torch.tensor([[[0, 3], [3, 5]]])}, [])
    assert searched == [[[[0, 3], [3, 5]]]]


def test_nothing_of_it_stays_in_the_processor() -> None:
    processor = make_processor()
    with quick_masks(processor):
        assistant_mask(processor)
    assert SEARCH not in vars(processor)


def test_transformers_still_searches_where_it_is_made_quick() -> None:
    assert hasattr(make_processor(), SEARCH)


def test_a_tokenizer_is_left_alone() -> None:
    tokenizer = make_processor().tokenizer
    before = dict(vars(tokenizer))
    with quick_masks(tokenizer):
        assert vars(tokenizer) == before
