"""Chat templates that mark what carries loss: the assistant's words and the token that ends its turn, nothing else.

A template is taken from the first that has one: the student's own file; the model; TRL; this project. One of this
project's is taken for a model only where it writes, marks aside, what the model's own template writes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase, ProcessorMixin
from trl.chat_template_utils import (
    get_training_chat_template,
    has_generation_markers,
    is_chat_template_stop_token_trained,
)

from mmat_dagster.training.spec import BadRun, Modality, Student

FOLDER = Path(__file__).parent / "templates"

Processor: TypeAlias = ProcessorMixin | PreTrainedTokenizerBase
Conversation = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class OwnTemplate:
    """A template of this project; `published` tells what the model's own template writes of a conversation."""

    file: str
    published: Callable[[Processor, str, Conversation], str]

    @property
    def text(self) -> str:
        """The template."""
        return (FOLDER / self.file).read_text("utf-8")


def training_template(processor: Processor, student: Student) -> str:
    """Return the chat template to train `student` with; raise BadRun where none marks what carries loss.

    The processor's own template is left as it is.
    """
    if student.chat_template is not None:
        return _given(processor, Path(student.chat_template))
    own = _published(processor)
    if own is None:
        raise BadRun(f"{student.name} has no chat template: name a file that has one as its `chat_template`")
    for found in (own, _of_trl(processor), _of_this_project(processor, own, student.modality)):
        if found is not None and has_generation_markers(found) and _trains_to_stop(processor, found):
            return found
    raise BadRun(
        f"the chat template of {student.name} does not mark what carries loss, and no marked copy of it is known: "
        "write it to a file with {% generation %} before the assistant's text and {% endgeneration %} after the token "
        "that ends its turn, and name the file as the student's `chat_template`"
    )


def tokenizer_of(processor: Processor) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a processor, which for a text student it is itself."""
    return processor.tokenizer if isinstance(processor, ProcessorMixin) else processor


def special_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Return what a tokenizer takes for a command wherever it stands: far more than those that it has a role for."""
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return tuple(dict.fromkeys([*tokenizer.all_special_tokens, *added]))


def render(processor: Processor, template: str, conversation: Conversation, **variables: Any) -> str:
    """Return a conversation as `template` writes it, images as their marks."""
    text: str = processor.apply_chat_template(conversation, chat_template=template, tokenize=False, **variables)
    return text


def _given(processor: Processor, path: Path) -> str:
    try:
        template = path.read_text("utf-8")
    except OSError as error:
        raise BadRun(f"the chat template {path} cannot be read: {error.strerror}") from error
    if not has_generation_markers(template):
        raise BadRun(f"the chat template {path} has no {{% generation %}} marks: nothing would carry loss")
    if not _trains_to_stop(processor, template):
        raise BadRun(
            f"the chat template {path} does not put the token that ends the assistant's turn between its marks, "
            "or cannot write a conversation: the student would not learn to stop"
        )
    return template


def _trains_to_stop(processor: Processor, template: str) -> bool:
    return bool(is_chat_template_stop_token_trained(processor, template))


def _published(processor: Processor) -> str | None:
    template = processor.chat_template
    return template.get("default") if isinstance(template, dict) else template


def _of_trl(processor: Processor) -> str | None:
    try:
        found: str | None = get_training_chat_template(processor)
    except ValueError:  # it knows no such template
        return None
    return found


def _of_this_project(processor: Processor, own: str, modality: Modality) -> str | None:
    return next((each.text for each in OWN if _writes_the_same(processor, each, own, modality)), None)


def _writes_the_same(processor: Processor, ours: OwnTemplate, own: str, modality: Modality) -> bool:
    try:
        return all(
            render(processor, ours.text, probe) == ours.published(processor, own, probe) for probe in PROBES[modality]
        )
    except (TemplateError, TypeError):  # one of both cannot write our conversations
        return False


def _as_it_is(processor: Processor, own: str, conversation: Conversation) -> str:
    return render(processor, own, conversation)


def _with_end_tokens(processor: Processor, own: str, conversation: Conversation) -> str:
    """Return what LLaVA-1.5's template writes, with its end token for the space that ends an assistant's turn."""
    end = tokenizer_of(processor).eos_token
    rounds = [render(processor, own, [message]) for message in conversation]
    turns = zip(conversation, rounds, strict=True)
    return "".join(text.removesuffix(" ") + end if message["role"] == "assistant" else text for message, text in turns)


def _on_its_own_day(processor: Processor, own: str, conversation: Conversation) -> str:
    """Return what Llama 3.2 Vision's template writes of a system prompt in one piece, on the date that ours writes."""
    in_one_piece = [
        {**message, "content": _text(message)} if message["role"] == "system" else message for message in conversation
    ]
    return render(processor, own, in_one_piece, date_string="26 Jul 2024")


def _text(message: Mapping[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _message(role: str, text: str, images: int = 0) -> dict[str, Any]:
    return {"role": role, "content": [*[{"type": "image"}] * images, {"type": "text", "text": text}]}


def _plain(conversation: Conversation) -> Conversation:
    return [{**message, "content": _text(message)} for message in conversation]


# Our kinds of conversation: several rounds, images first; and those that a student meets where it is put to use.
_RR = (
    _message("system", "Be brief."),
    _message("user", "What is it?", images=2),
    _message("assistant", "<THOUGHT>I look.</THOUGHT>"),
    _message("user", "-ocr information: a | b\nPlease continue."),
    _message("assistant", "Two words."),
)
PROBES: Mapping[Modality, Sequence[Conversation]] = {
    "vision": (_RR, _RR[:3], _RR[1:]),
    "text": (_plain((_RR[0], _message("user", "What is it?"), *_RR[2:])), _plain((*_RR[3:],))),
}

OWN = (
    OwnTemplate(file="chatml.jinja", published=_as_it_is),
    OwnTemplate(file="smollm2.jinja", published=_as_it_is),
    OwnTemplate(file="llava_1_5.jinja", published=_with_end_tokens),
    OwnTemplate(file="llama_3_2_vision.jinja", published=_on_its_own_day),
)
