"""Chat templates for training: where they come from, and that they write what the models' own templates write.

tests/data/templates holds what the published templates of InternVL3-1B-hf, llava-1.5-7b-hf, Llama-3.2-11B-Vision and
SmolLM2-135M-Instruct write of one RR dialogue.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

from mmat_dagster.training.process.templates import FOLDER, OWN, render, training_template
from mmat_dagster.training.spec import BadRun, Student
from tests.tiny_students import RR, byte_tokenizer, conversation, llava_processor, trl_template

PUBLISHED = Path(__file__).parent / "data" / "templates"
VISION = Student(name="some-model")
TEXT = Student(name="some-model", modality="text")
OWN_TEXTS = {each.file: each.text for each in OWN}


def unmarked(template: str) -> str:
    """Return a template without its marks, as a model is published with it."""
    return re.sub(r"\{%-? (?:end)?generation -?%\}", "", template)


def chatml(template: str | None) -> Any:
    return byte_tokenizer(["<|im_start|>", "<IMG_CONTEXT>"], "<|im_end|>", template)


def llama(template: str | None) -> Any:
    heads = ["<|start_header_id|>", "<|end_header_id|>", "<|image|>"]
    return byte_tokenizer(heads, "<|eot_id|>", template, bos_token="<|begin_of_text|>")


def test_all_templates_of_the_folder_are_known() -> None:
    assert {path.name for path in FOLDER.glob("*.jinja")} == {*OWN_TEXTS, "tiny.jinja"}


@pytest.mark.parametrize(
    ("file", "make", "sees"),
    [
        ("chatml.jinja", chatml, True),
        ("smollm2.jinja", chatml, False),
        ("llama_3_2_vision.jinja", llama, True),
    ],
)
def test_ours_write_byte_for_byte_what_the_published_ones_write(file: str, make: Any, sees: bool) -> None:
    expected = (PUBLISHED / f"{Path(file).stem}.txt").read_text("utf-8")
    assert render(make(None), OWN_TEXTS[file], conversation(RR, sees=sees)) == expected


def test_llava_1_5s_differs_from_the_published_one_by_the_end_token_of_the_assistants_turns_only() -> None:
    ours = render(llava_processor(None), OWN_TEXTS["llava_1_5.jinja"], conversation(RR, sees=True))
    assert ours.count("</s>") == sum(message.role == "assistant" for message in RR)
    assert ours.replace("</s>", " ") == (PUBLISHED / "llava_1_5.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("file", "make", "student"),
    [
        ("chatml.jinja", chatml, VISION),
        ("chatml.jinja", chatml, TEXT),
        ("smollm2.jinja", chatml, TEXT),
        ("llama_3_2_vision.jinja", llama, VISION),
    ],
)
def test_a_model_that_writes_the_same_is_given_ours(file: str, make: Any, student: Student) -> None:
    assert training_template(make(unmarked(OWN_TEXTS[file])), student) == OWN_TEXTS[file]


def test_llava_1_5_is_given_ours_though_its_own_has_marks() -> None:
    own = OWN_TEXTS["llava_1_5.jinja"].replace("eos_token", "' '")
    assert training_template(llava_processor(own), VISION) == OWN_TEXTS["llava_1_5.jinja"]


def test_one_that_says_more_than_ours_is_not_taken_for_it() -> None:
    own = unmarked(OWN_TEXTS["chatml.jinja"]).replace("|>' + message['role']", "|>' + message['role'] + ':'")
    with pytest.raises(BadRun, match="name the file as the student's `chat_template`"):
        training_template(chatml(own), VISION)


def test_a_template_that_trl_knows_is_given_trls_marked_copy() -> None:
    tokenizer = byte_tokenizer(["<|im_start|>"], "<|im_end|>", trl_template("qwen2_5_vl"))
    assert training_template(tokenizer, VISION) == trl_template("qwen2_5_vl_training")


def test_a_template_with_marks_is_kept() -> None:
    own = OWN_TEXTS["chatml.jinja"] + "{# by its makers #}"
    assert training_template(chatml(own), VISION) == own


def test_the_students_own_file_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text(OWN_TEXTS["chatml.jinja"] + "{# mine #}")
    student = Student(name="some-model", chat_template=str(file))
    assert training_template(chatml("{{ 'anything' }}"), student) == file.read_text()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{{ messages[0]['content'] }}", "no {% generation %} marks"),
        (
            "{% for m in messages %}{% generation %}{{ m['role'] }}{% endgeneration %}<|im_end|>{% endfor %}",
            "would not learn to stop",
        ),
        ("{% generation %}{% endfor %}", "cannot write a conversation"),
    ],
)
def test_a_file_that_would_train_nothing_or_no_end_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text(text)
    with pytest.raises(BadRun, match=complaint):
        training_template(chatml(None), Student(name="some-model", chat_template=str(file)))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRun, match=r"absent\.jinja cannot be read"):
        training_template(chatml(None), Student(name="some-model", chat_template=str(tmp_path / "absent.jinja")))


def test_a_model_without_a_template_is_asked_for_one() -> None:
    with pytest.raises(BadRun, match="some-model has no chat template"):
        training_template(chatml(None), VISION)
