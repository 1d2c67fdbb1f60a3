"""Students for tests of training: processors as published ones are, with tokenizers of single bytes."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trl
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import Idefics3Processor, LlavaProcessor, PreTrainedTokenizerFast, ProcessorMixin
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from mmat_dagster.schema import IntegratedTranscript, Message, Observation
from mmat_dagster.wire import IMAGE, render_orr, render_rr
from tests.dialogues import READ, TRANSCRIPT

SYSTEM = "You reason step by step."
RR = render_rr(TRANSCRIPT, SYSTEM)
ORR = render_orr(
    IntegratedTranscript(
        question=TRANSCRIPT.question,
        image_count=1,
        calls=(READ, Observation(tool="face_detection", text="no face")),
        thought="The price is on the tag × 1.\nIt costs 2 dollars.",
        answer="2",
    ),
    SYSTEM,
)
DIALOGUES = {"rr": RR, "orr": ORR}


def conversation(messages: Sequence[Message], *, sees: bool) -> list[dict[str, Any]]:
    """Return a dialogue as a processor takes it, or in plain text without its images."""
    if not sees:
        return [{"role": each.role, "content": each.content.replace(IMAGE, "")} for each in messages]
    return [{"role": each.role, "content": _parts(each)} for each in messages]


def _parts(message: Message) -> list[dict[str, Any]]:
    images = message.content.count(IMAGE) if message.role == "user" else 0
    return [*[{"type": "image"}] * images, {"type": "text", "text": message.content.replace(IMAGE, "")}]


def byte_tokenizer(special: Sequence[str], end: str, template: str | None = None, **named: str) -> Any:
    """Return a tokenizer of single bytes and `special` tokens; `end` ends a turn."""

    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bpe = Tokenizer(models.BPE(vocab=letters, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    marks = list(dict.fromkeys([*special, end, *named.values()]))
    bpe.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=end, pad_token=end, extra_special_tokens=list(special), **named
    )
    tokenizer.chat_template = template
    return tokenizer


def llava_processor(template: str | None) -> Any:
    """Return a processor as LLaVA-1.5 has one, four tokens an image."""

    size = {"height": 28, "width": 28}
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=size, crop_size=size),
        tokenizer=byte_tokenizer(["<image>"], "</s>", bos_token="<s>"),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )


def idefics3_processor(template: str, begin: str) -> Any:
    """Return a processor as Idefics3 and SmolVLM have one, two tokens a tile."""

    tiles = [f"<row_{row}_col_{column}>" for row in (1, 2, 3, 4) for column in (1, 2, 3, 4)]
    special = ["<image>", "<fake_token_around_image>", "<global-img>", *tiles]
    return Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil(size={"longest_edge": 56}, max_image_size={"longest_edge": 28}),
        tokenizer=byte_tokenizer(special, "<end_of_utterance>", bos_token=begin),
        image_seq_len=2,
        chat_template=template,
    )


def loss_marked(processor: Any, template: str, messages: Sequence[Message], *, sees: bool) -> str:
    """Return a dialogue as it is trained on, in ⟦ ⟧ what carries loss; images by the number of their tokens."""

    talk = conversation(messages, sees=sees)
    common: dict[str, Any] = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True}
    if isinstance(processor, ProcessorMixin):
        for part in (part for turn in talk for part in turn["content"] if part["type"] == "image"):
            part["image"] = Image.new("RGB", (60, 30), "white")
        told = processor.apply_chat_template(
            [talk], chat_template=template, processor_kwargs={"add_special_tokens": False}, **common
        )
        tokens, mask, tokenizer = told["input_ids"][0], told["assistant_masks"][0], processor.tokenizer
    else:
        told = processor.apply_chat_template(talk, chat_template=template, **common)
        tokens, mask, tokenizer = told["input_ids"], told["assistant_masks"], processor
    return _marked(tokenizer, list(tokens), list(mask))


def _marked(tokenizer: Any, tokens: list[int], mask: list[int]) -> str:
    text, start = "", 0
    for at in range(1, len(tokens) + 1):
        if at == len(tokens) or mask[at] != mask[start]:
            stretch = tokenizer.decode(tokens[start:at], skip_special_tokens=False)
            text += f"⟦{stretch}⟧" if mask[start] else stretch
            start = at
    return re.sub(r"(?:<image>){2,}", lambda images: f"<image>×{len(images[0]) // len(IMAGE)}", text)


def trl_template(name: str) -> str:
    """Return a template as TRL ships it: the published one of the models that it names."""

    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text("utf-8")
