"""What carries loss, shown: golden files with every trained stretch in ⟦ ⟧, one RR and one ORR dialogue a student.

Rewrite them with MMAT_WRITE_GOLDEN=1. Where a processor asks for torchvision, its tokenizer alone stands for it.
"""

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

from mmat_dagster.fingerprints import ENGINE
from mmat_dagster.training.process.templates import training_template
from mmat_dagster.training.process.tiny import make_processor
from mmat_dagster.training.spec import Student
from tests.tiny_students import (
    DIALOGUES,
    byte_tokenizer,
    idefics3_processor,
    llava_processor,
    loss_marked,
    trl_template,
)

GOLDEN = Path(__file__).parent / "data" / "golden" / "masks"


def own_template(name: str) -> str:
    """Return one of this project's templates, as a student's `chat_template` or as the one saved with a checkpoint."""
    return (ENGINE / "training" / "process" / "templates" / f"{name}.jinja").read_text("utf-8")


CHATML = ("<|im_start|>", "<|im_end|>")
LLAMA = ("<|start_header_id|>", "<|end_header_id|>", "<|image|>")
QWEN_VL = (CHATML[0], "<|vision_start|>", "<|image_pad|>", "<|vision_end|>")
END = {
    "tiny": "<|end|>",
    "llava_1_5": "</s>",
    "idefics3": "<end_of_utterance>",
    "smolvlm": "<end_of_utterance>",
    "qwen2_5_vl": "<|im_end|>",
    "internvl": "<|im_end|>",
    "llama_3_2_vision": "<|eot_id|>",
    "smollm2": "<|im_end|>",
    "qwen2_5": "<|im_end|>",
}
PROCESSORS: dict[str, Callable[[], Any]] = {
    "tiny": make_processor,
    "llava_1_5": lambda: llava_processor(own_template("llava_1_5")),
    "idefics3": lambda: idefics3_processor(trl_template("idefics3"), "<|begin_of_text|>"),
    "smolvlm": lambda: idefics3_processor(trl_template("smolvlm"), "<|im_start|>"),
    "qwen2_5_vl": lambda: byte_tokenizer(QWEN_VL, CHATML[1], trl_template("qwen2_5_vl")),
    "internvl": lambda: byte_tokenizer([CHATML[0], "<IMG_CONTEXT>"], CHATML[1], own_template("chatml")),
    "llama_3_2_vision": lambda: byte_tokenizer(
        LLAMA, "<|eot_id|>", own_template("llama_3_2_vision"), bos_token="<|begin_of_text|>"
    ),
    "smollm2": lambda: byte_tokenizer([CHATML[0]], CHATML[1], own_template("smollm2")),
    "qwen2_5": lambda: byte_tokenizer([CHATML[0]], CHATML[1], trl_template("qwen2_5")),
}
READS_ONLY = ("smollm2", "qwen2_5")


@cache
def shown(name: str, form: str) -> str:
    processor = PROCESSORS[name]()
    student = Student(name=name, modality="text" if name in READS_ONLY else "vision")
    template = training_template(processor, student)
    return loss_marked(processor, template, DIALOGUES[form], sees=name not in READS_ONLY)


@pytest.mark.parametrize("form", DIALOGUES)
@pytest.mark.parametrize("name", PROCESSORS)
def test_what_carries_loss_is_what_the_golden_file_shows(name: str, form: str) -> None:
    path = GOLDEN / f"{name}.{form}.txt"
    text = shown(name, form)
    if os.environ.get("MMAT_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8"), (
        f"{path.name} differs; if that is meant, rewrite it with MMAT_WRITE_GOLDEN=1"
    )


@pytest.mark.parametrize("form", DIALOGUES)
@pytest.mark.parametrize("name", PROCESSORS)
def test_every_turn_of_the_assistant_carries_loss_to_its_end_token_and_nothing_else_does(name: str, form: str) -> None:
    said = [message.content + END[name] for message in DIALOGUES[form] if message.role == "assistant"]
    assert [stretch.strip() for stretch in re.findall(r"⟦(.*?)⟧", shown(name, form), re.DOTALL)] == said


def test_the_results_of_tools_carry_no_loss() -> None:
    trained = "".join(re.findall(r"⟦(.*?)⟧", shown("tiny", "rr"), re.DOTALL))
    assert "sand $2.00" in shown("tiny", "rr")
    assert "sand $2.00" not in trained
