"""Keys and values of the rows that are decoded together: one slot a row, its tokens from the first column on.

A row's next token goes into its own next column, so rows of any lengths stand together without padding before them, and
one that joins or leaves moves nothing but itself. What lies behind a row's end is masked, and never read.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from transformers.cache_utils import Cache, DynamicLayer

from mmat_dagster.inference.process.prompting import Key

# One layer's keys and values, of shape (heads, tokens, width of a head).
KeysValues: TypeAlias = list[tuple[torch.Tensor, torch.Tensor]]

FIRST_COLUMNS = 512
GROWTH = 1.5


@dataclass(kw_only=True)
class _Window:
    """Where the next tokens go: into `rows`, each from its column in `starts` on, `new` of them."""

    rows: slice
    starts: torch.Tensor
    before: int
    new: int


class _SlotLayer(DynamicLayer):  # type: ignore[misc]
    """A layer's memory; `window` is shared by all of them."""

    def __init__(self, slots: "Slots") -> None:
        super().__init__()
        self._slots = slots
        self.all_keys = self.all_values = torch.empty(0)

    def get_seq_length(self) -> int:
        """Return how many columns stand before the new tokens."""
        return self._slots.window.before

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: Any,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new tokens' keys and values where they belong, and return all that may be looked at."""
        window = self._slots.window
        self.fit(key_states, value_states)
        keys, values = self.all_keys[window.rows], self.all_values[window.rows]
        end = window.before + window.new
        if len(window.starts) == 1:
            keys[0, :, window.before : end] = key_states[0]
            values[0, :, window.before : end] = value_states[0]
        else:
            rows = torch.arange(len(window.starts), device=keys.device)
            keys[rows, :, window.starts] = key_states[:, :, 0]
            values[rows, :, window.starts] = value_states[:, :, 0]
        self.keys, self.values, self.is_initialized = keys[:, :, :end], values[:, :, :end], True
        return self.keys, self.values

    def fit(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Have the memory that the slots ask for, for keys and values like these."""
        rows, columns = self._slots.rows, self._slots.columns
        if self.all_keys.dim() == 4 and self.all_keys.shape[0] >= rows and self.all_keys.shape[2] >= columns:
            return
        self.all_keys = _grown(self.all_keys, key_states, rows, columns)
        self.all_values = _grown(self.all_values, value_states, rows, columns)


class Slots:
    """The memory of at most `most` rows; the ones in use are the first `used`."""

    def __init__(self, layers: int, most: int, device: torch.device) -> None:
        self.most, self.used = most, 0
        self.rows = self.columns = 0
        self.window = _Window(rows=slice(0, 0), starts=torch.empty(0), before=0, new=0)
        self._device = device
        self._layers = [_SlotLayer(self) for _ in range(layers)]
        self._lengths: list[int] = []
        self.cache = Cache(layers=self._layers)

    def open(self, prefix: KeysValues | None, length: int, new: int) -> int:
        """Take a slot, copy `length` tokens of `prefix` into it, make ready for `new` ones behind them; return it."""
        slot = self.used
        self.used += 1
        self._lengths.append(length)
        self._reserve(length + new)
        if prefix is not None and length:
            self._fill(slot, prefix, length)
        starts = torch.tensor([length], device=self._device)
        self.window = _Window(rows=slice(slot, slot + 1), starts=starts, before=length, new=new)
        self._lengths[slot] = length + new
        return slot

    def advance(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Make ready for one token of every row; return the mask of what it may look at, and its position."""
        starts = torch.tensor(self._lengths, device=self._device)
        before = max(self._lengths)
        self._reserve(before + 1)
        self.window = _Window(rows=slice(0, self.used), starts=starts, before=before, new=1)
        self._lengths = [length + 1 for length in self._lengths]
        columns = torch.arange(before + 1, device=self._device)
        return (columns[None] <= starts[:, None]).long(), starts[:, None]

    def look(self, slot: int) -> KeysValues:
        """Return a row's keys and values, as they lie: for a copy to be made of them at once."""
        length = self._lengths[slot]
        return [(each.all_keys[slot, :, :length], each.all_values[slot, :, :length]) for each in self._layers]

    def take(self, slot: int, length: int) -> KeysValues:
        """Return a copy of a row's first `length` keys and values."""
        return [(keys[:, :length].clone(), values[:, :length].clone()) for keys, values in self.look(slot)]

    def close(self, slot: int) -> None:
        """Give a slot back; the last row moves into it."""
        last = self.used - 1
        if slot != last and self._layers[0].is_initialized:
            length = self._lengths[last]
            for layer in self._layers:
                layer.all_keys[slot, :, :length] = layer.all_keys[last, :, :length]
                layer.all_values[slot, :, :length] = layer.all_values[last, :, :length]
        self._lengths[slot] = self._lengths[last]
        self._lengths.pop()
        self.used = last

    def _reserve(self, columns: int) -> None:
        """Say how much memory is needed; layers grow when they are next written."""
        while self.rows < self.used:
            self.rows = min(self.most, max(1, 2 * self.rows))
        if self.columns < columns:
            self.columns = max(FIRST_COLUMNS, columns, int(self.columns * GROWTH))

    def _fill(self, slot: int, prefix: KeysValues, length: int) -> None:
        for layer, (keys, values) in zip(self._layers, prefix, strict=True):
            layer.fit(keys[None], values[None])
            layer.all_keys[slot, :, :length] = keys[:, :length]
            layer.all_values[slot, :, :length] = values[:, :length]


def bytes_of(held: KeysValues) -> int:
    """Return how much memory keys and values take."""
    return sum(each.numel() * each.element_size() for pair in held for each in pair)


def _grown(before: torch.Tensor, like: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return a larger memory with the same content; zeros behind it, since no mask hides what is not a number."""
    grown = torch.zeros(rows, like.shape[1], columns, like.shape[3], dtype=like.dtype, device=like.device)
    if before.dim() == 4:
        grown[: before.shape[0], :, : before.shape[2]] = before
    return grown


def common(first: Key, second: Key) -> int:
    """Return how many tokens two keys begin with alike."""
    length = min(len(first), len(second))
    different = np.nonzero(first[:length] != second[:length])[0]
    return int(different[0]) if len(different) else length
