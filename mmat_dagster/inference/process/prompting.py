"""From messages to what a student reads: tokens, pixels, and a key that tells equal beginnings.

What a text says is text: `<|im_end|>` in a page or in an image ends no turn, since it is written `< |im_end|>`.
"""

import hashlib
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jinja2 import TemplateError
from PIL import Image

from mmat_dagster.inference.process.opening import OpenStudent
from mmat_dagster.inference.protocol import BadRequest, Spoken
from mmat_dagster.pixels import read_rgb
from mmat_dagster.training.process.batches import REFUSALS
from mmat_dagster.training.process.templates import special_tokens, tokenizer_of

Key: TypeAlias = npt.NDArray[np.int64]
# What a plain model takes of its images.
PIXELS = ("pixel_values", "pixel_attention_mask", "image_sizes")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What is read before the first token of a reply.

    `key` holds the tokens, and in the place of an image's tokens what the images are: where two keys begin alike, so do
    the keys and values of their tokens. `inputs` is all that the processor has made, `image_span` from the first
    token of an image to behind the last one, None without images.
    """

    tokens: torch.Tensor
    key: Key
    inputs: dict[str, torch.Tensor]
    image_span: tuple[int, int] | None

    @property
    def length(self) -> int:
        """The number of its tokens."""
        return len(self.key)

    @property
    def pixels(self) -> dict[str, torch.Tensor]:
        """What a plain model takes of the images."""
        return {name: value for name, value in self.inputs.items() if name in PIXELS}


class Prompter:
    """Makes prompts for one student; to be called from any thread."""

    def __init__(self, opened: OpenStudent) -> None:
        self._opened = opened
        # Tokenizers change their settings while they work.
        self._one_at_a_time = threading.Lock()
        self._tamed = Taming(special_tokens(tokenizer_of(opened.processor)))

    def prompt(self, messages: Sequence[Spoken]) -> Prompt:
        """Return the prompt of a dialogue; raise BadRequest."""
        images = [image for message in messages for image in message.images]
        self._check_images(len(images))
        pictures = [_picture(image) for image in images]
        inputs = self._inputs(messages, pictures)
        tokens = inputs["input_ids"][0]
        longest = self._opened.longest
        if len(tokens) >= longest:
            raise BadRequest(
                f"this model's maximum context length is {longest} tokens, and the messages have {len(tokens)}",
                code="context_length_exceeded",
                param="messages",
            )
        key = tokens.numpy().astype(np.int64)
        span = self._mark(key, images)
        return Prompt(tokens=tokens, key=key, inputs=inputs, image_span=span)

    def _check_images(self, images: int) -> None:
        student = self._opened.student
        if images and student.modality == "text":
            raise BadRequest("this model reads text only, and sees no images", code="invalid_image", param="messages")
        if student.max_images is not None and images > student.max_images:
            raise BadRequest(f"{images} images, and this model takes {student.max_images}", param="messages")

    def _inputs(self, messages: Sequence[Spoken], pictures: Sequence[Image.Image]) -> dict[str, torch.Tensor]:
        is_text = self._opened.student.modality == "text"
        shown = iter(pictures)
        tamed = [self._tamed.message(each) for each in messages]
        chat = [_plain(each) if is_text else _in_parts(each, shown) for each in tamed]
        # The template writes the special tokens itself; a tokenizer's own method knows that, a processor's does not.
        options: dict[str, Any] = {} if is_text else {"processor_kwargs": {"add_special_tokens": False}}
        try:
            with self._one_at_a_time:
                made = self._opened.processor.apply_chat_template(
                    [chat],
                    chat_template=self._opened.chat_template,
                    add_generation_prompt=True,
                    tokenize=True,
                    return_dict=True,
                    return_tensors="pt",
                    **options,
                )
        except (TemplateError, *REFUSALS) as error:
            told = " ".join(str(error).split())[:300]
            raise BadRequest(f"the model cannot be shown these messages: {told}", param="messages") from error
        return dict(made)

    def _mark(self, key: Key, images: Sequence[bytes]) -> tuple[int, int] | None:
        """Write into `key` what the images are, and return where they stand."""
        image_token = self._opened.image_token
        if not images or image_token is None:
            return None
        (places,) = np.nonzero(key == image_token)
        digest = hashlib.sha256(b"".join(hashlib.sha256(image).digest() for image in images)).digest()
        key[places] = -1 - int.from_bytes(digest[:7], "big")
        return int(places[0]), int(places[-1]) + 1


class Taming:
    """Writes what a tokenizer takes for a command so that it is a text like any other."""

    def __init__(self, commands: Sequence[str]) -> None:
        # A command of one character cannot be written otherwise; the longest first, since one may begin like another.
        named = sorted((each for each in commands if len(each) > 1), key=len, reverse=True)
        self._command = re.compile("|".join(map(re.escape, named))) if named else None

    def message(self, message: Spoken) -> Spoken:
        """Return `message` with commands in its texts taken apart behind their first character."""
        parts = (self.text(part) if isinstance(part, str) else part for part in message.parts)
        return Spoken(role=message.role, parts=tuple(parts))

    def text(self, text: str) -> str:
        """Return `text` likewise; what is taken apart may leave another command behind."""
        while self._command is not None and self._command.search(text):
            text = self._command.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
        return text


def _picture(content: bytes) -> Image.Image:
    try:
        return read_rgb(content)
    except OSError as error:
        raise BadRequest(f"an image cannot be read: {error}", code="invalid_image", param="messages") from error


def _plain(message: Spoken) -> dict[str, Any]:
    return {"role": message.role, "content": message.text}


def _in_parts(message: Spoken, shown: Any) -> dict[str, Any]:
    parts = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": next(shown)}
        for part in message.parts
    ]
    return {"role": message.role, "content": parts}
