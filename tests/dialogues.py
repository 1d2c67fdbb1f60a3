"""A dialogue for tests of the prompted teacher, and replies as a chat model writes them."""

import json
from typing import Any

from mmat_dagster.schema import Observation, Step, Transcript, Turn
from tests.builders import SAMPLE
from tests.fakes import PicturesInFolder, ToldOperator

PICTURES = PicturesInFolder()
OFFERED = (ToldOperator(),)
LOOK = Step(thought="I need the print.", operators=("ocr",), signal="continue")
SAID = """{"thought": "I need the print.", "operators": ["ocr"],
 "rag": {"needed": false, "query": null}, "next_action": "continue"}"""
READ = Observation(tool="ocr", text="sand $2.00")
TURNS = (
    Turn(step=LOOK, observations=(READ,), raw_reply=SAID),
    Turn(step=Step(thought="The price is on the tag.", signal="continue")),
)
END = Turn(step=Step(thought="It costs 2 dollars.", signal="end"))
TRANSCRIPT = Transcript(question=SAMPLE.question, image_count=1, turns=(*TURNS, END), answer="the-gold-answer")


def step_reply(**changes: Any) -> str:
    """Return the reply that says LOOK, with `changes`."""
    reply = {
        "thought": "I need the print.",
        "operators": ["ocr"],
        "rag": {"needed": False, "query": None},
        "next_action": "continue",
    }
    return json.dumps({**reply, **changes})


def final_reply(**changes: Any) -> str:
    """Return the reply that says END, with `changes`."""
    return step_reply(**{"thought": "It costs 2 dollars.", "operators": [], "next_action": "final_answer", **changes})
