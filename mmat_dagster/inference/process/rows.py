"""Replies of a plain model: rows decoded together, each going on from the longest beginning that was read before."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from mmat_dagster.inference.process.kept import Kept
from mmat_dagster.inference.process.opening import OpenStudent
from mmat_dagster.inference.process.prompting import Key, Prompt
from mmat_dagster.inference.process.sampling import Chooser
from mmat_dagster.inference.process.slots import KeysValues, Slots, common

Owner = TypeVar("Owner")


@dataclass(kw_only=True, eq=False)
class Row(Generic[Owner]):
    """A reply that is being written: `said` are its tokens so far, `owner` is whose it is."""

    owner: Owner
    prompt: Prompt
    chooser: Chooser
    most: int
    cached: int
    said: list[int] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """The tokens whose keys and values are there: all but the last one that was said."""
        return np.concatenate([self.prompt.key, np.asarray(self.said[:-1], dtype=np.int64)])


class Rows(Generic[Owner]):
    """The replies that are being written, at most `most` of them."""

    def __init__(self, opened: OpenStudent, most: int, kept: Kept) -> None:
        self._opened = opened
        self._kept = kept
        layers = opened.model.config.get_text_config(decoder=True).num_hidden_layers
        self._slots = Slots(layers, most, opened.device)
        self._rows: list[Row[Owner]] = []
        self._names = inspect.signature(opened.model.forward).parameters
        # Its name since transformers 5.2x, and before.
        self._cache_name = "cache" if "cache" in self._names else "past_key_values"

    @property
    def is_empty(self) -> bool:
        """Say whether no reply is being written."""
        return not self._rows

    @property
    def is_full(self) -> bool:
        """Say whether no further one can be begun."""
        return len(self._rows) >= self._slots.most

    def begin(self, owner: Owner, prompt: Prompt, chooser: Chooser, most: int) -> list[Row[Owner]]:
        """Read a prompt and say the first token; return the row where that ends it."""
        known, states = self._known(prompt)
        tokens = prompt.tokens[known:].to(self._opened.device)
        slot = self._slots.open(states, known, len(tokens))
        try:
            logits = self._forward(
                input_ids=tokens[None],
                attention_mask=torch.ones(1, prompt.length, dtype=torch.long, device=tokens.device),
                position_ids=torch.arange(known, prompt.length, device=tokens.device)[None],
                **self._pixels(prompt, known),
            )
        except BaseException:
            self._slots.close(slot)
            raise
        row = Row(owner=owner, prompt=prompt, chooser=chooser, most=most, cached=known)
        self._rows.append(row)
        row.said.append(chooser.choose(logits[0]))
        return self._finish()

    def step(self) -> list[Row[Owner]]:
        """Say one more token of every reply; return the rows that end with it."""
        mask, positions = self._slots.advance()
        tokens = torch.tensor([[row.said[-1]] for row in self._rows], device=self._opened.device)
        logits = self._forward(input_ids=tokens, attention_mask=mask, position_ids=positions)
        likeliest = logits.argmax(-1).tolist()
        for row, token, scores in zip(self._rows, likeliest, logits, strict=True):
            row.said.append(token if row.chooser.is_greedy else row.chooser.choose(scores))
        return self._finish()

    def give_up(self) -> list[Row[Owner]]:
        """Leave all replies as they are, and return their rows."""
        left, self._rows = self._rows, []
        while self._slots.used:
            self._slots.close(self._slots.used - 1)
        return left

    def _finish(self) -> list[Row[Owner]]:
        ended = [row for row in self._rows if row.said[-1] in self._opened.ends or len(row.said) >= row.most]
        for row in ended:
            slot = self._rows.index(row)
            key = row.key
            self._kept.keep(key, self._slots.take(slot, len(key)))
            self._slots.close(slot)
            # As in the slots, the last one takes its place.
            self._rows[slot] = self._rows[-1]
            self._rows.pop()
        return ended

    def _known(self, prompt: Prompt) -> tuple[int, KeysValues | None]:
        """Return how much of a prompt's beginning was read before, and where that is: kept, or in a row at work."""
        length, states = self._kept.find(prompt.key)
        for slot, row in enumerate(self._rows):
            alike = common(row.key, prompt.key)
            if alike > length:
                length, states = alike, self._slots.look(slot)
        length = min(length, prompt.length - 1)  # the last token's logits are wanted
        if prompt.image_span is not None:
            first, end = prompt.image_span
            length = length if length >= end else min(length, first)
        return length, states if length else None

    def _pixels(self, prompt: Prompt, known: int) -> dict[str, torch.Tensor]:
        """Return what shows the images, where their tokens have not been read before."""
        if prompt.image_span is None or known >= prompt.image_span[1]:
            return {}
        model = self._opened.model
        return {
            name: value.to(model.device, model.dtype if value.is_floating_point() else None)
            for name, value in prompt.pixels.items()
            if name in self._names
        }

    def _forward(self, **inputs: Any) -> torch.Tensor:
        """Return the logits behind the last token of each row."""
        if "logits_to_keep" in self._names:
            inputs["logits_to_keep"] = 1
        made = self._opened.model(**inputs, **{self._cache_name: self._slots.cache}, use_cache=True)
        logits: torch.Tensor = made.logits[:, -1]
        return logits


def said_text(row_tokens: Sequence[int], ends: frozenset[int]) -> Sequence[int]:
    """Return a reply's tokens without the one that ends it."""
    return row_tokens[:-1] if row_tokens and row_tokens[-1] in ends else row_tokens
