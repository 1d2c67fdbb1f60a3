"""Batches: from places in the order to tensors with labels on the assistant's tokens, and on nothing else.

A dialogue that cannot be learned from after all (its picture is gone, its tokens do not fit) is named in dropped.jsonl,
and the next one in the order takes its place: deterministic, so that a resumed run sees the same batches.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmat_dagster.training.process.conversations import Conversation, Shelf, as_chat
from mmat_dagster.training.process.order import Order
from mmat_dagster.training.process.pictures import Album, Unusable
from mmat_dagster.training.spec import DROPPED, BadRun, Dropped, TrainingRun, dump_dropped

IGNORED = -100
PLACES = "places"
# ProcessorMixin's search for the assistant's tokens, and what it reads, as of transformers 5.24.
SEARCH, OFFSETS = "_adjust_assistant_masks_indices", "offset_mapping"
# What processors raise where images, placeholders or sizes do not go together.
REFUSALS = (ValueError, TypeError, IndexError, KeyError, RuntimeError)


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    place: int
    conversation: Conversation
    chat: list[dict[str, Any]]


class Batches:
    """Makes batches; called by the trainer's loader with rows {"place": int}."""

    def __init__(
        self, run: TrainingRun, shelf: Shelf, order: Order, processor: Any, chat_template: str, folder: Path
    ) -> None:
        self._run = run
        self._shelf = shelf
        self._order = order
        self._processor = processor
        self._template = chat_template
        self._album = Album(run.data, run.store_images)
        self._refused: set[tuple[int, int]] = set()
        self._dropped = folder / DROPPED

    def __call__(self, examples: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
        """Return one batch: what the processor makes of the dialogues, `labels`, and their `places`."""
        places = [example["place"] for example in examples]
        loaded = [self._load(place) for place in places]
        try:
            return self._batch(loaded)
        except (*REFUSALS, Unusable):
            # One of them is at fault: each alone tells which.
            usable = [self._usable(place) for place in places]
            return self._batch(usable)

    def name(self, place: int) -> str:
        """Return the id of the dialogue at a place."""
        return self._shelf.conversation(*self._order.locate(place)).id

    def _usable(self, place: int) -> _Loaded:
        """Return the dialogue at `place`, or the next one that makes a batch of its own."""
        while True:
            loaded = self._load(place)
            try:
                self._batch([loaded])
            except Unusable as error:
                self._refuse(loaded.place, loaded.conversation, error)
            except REFUSALS as error:
                told = Unusable("refused by the student's processor", f"{type(error).__name__}: {error}")
                self._refuse(loaded.place, loaded.conversation, told)
            else:
                return loaded

    def _load(self, place: int) -> _Loaded:
        """Return the dialogue at `place`, or the next one whose pictures can be opened."""
        for at in range(place, place + self._order.per_epoch):
            if self._order.locate(at) in self._refused:
                continue
            conversation = self._shelf.conversation(*self._order.locate(at))
            try:
                images = [self._album.open(conversation.source, image) for image in conversation.images]
            except Unusable as error:
                self._refuse(at, conversation, error)
                continue
            return _Loaded(
                place=at,
                conversation=conversation,
                chat=as_chat(conversation, self._run.student.modality, images),
            )
        raise BadRun(f"no dialogue of {self._run.mixture} can be learned from: see {DROPPED}")

    def _refuse(self, place: int, conversation: Conversation, error: Unusable) -> None:
        at = self._order.locate(place)
        if at in self._refused:
            return
        self._refused.add(at)
        if len(self._refused) > self._run.max_dropped * self._order.per_epoch:
            raise BadRun(
                f"more dialogues of {self._run.mixture} cannot be learned from than max_dropped allows "
                f"({self._run.max_dropped:.0%}); the last one is {conversation.id}: {error.reason}: {error.detail}"
            )
        dropped = Dropped(id=conversation.id, source=conversation.source, reason=error.reason, detail=error.detail)
        with self._dropped.open("ab") as file:
            file.write(dump_dropped(dropped))

    def _batch(self, loaded: Sequence[_Loaded]) -> dict[str, torch.Tensor]:
        # Some processors die on a batch whose first row has no image and another one has.
        ordered = sorted(loaded, key=lambda each: not each.conversation.images)
        batch = self._process([each.chat for each in ordered])
        mask, attention = batch.pop("assistant_masks"), batch["attention_mask"]
        batch["labels"] = batch["input_ids"].masked_fill((torch.as_tensor(mask) == 0) | (attention == 0), IGNORED)
        _check(batch, self._run.hyper.max_length)
        batch[PLACES] = torch.tensor([each.place for each in ordered])
        return batch

    def _process(self, chats: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
        padded = {"padding": True, "padding_side": "right"}
        is_text = self._run.student.modality == "text"
        # The template writes the special tokens itself; a tokenizer's own method knows that, a processor's does not.
        options = padded if is_text else {"processor_kwargs": {**padded, "add_special_tokens": False}}
        with quick_masks(self._processor):
            made = self._processor.apply_chat_template(
                list(chats),
                chat_template=self._template,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                return_assistant_tokens_mask=True,
                **options,
            )
        return dict(made)


@contextmanager
def quick_masks(processor: Any) -> Iterator[None]:
    """Have `processor` look for the assistant's tokens in lists; one that goes about it otherwise is left alone.

    ProcessorMixin visits the offsets of all tokens once for each assistant's turn. It does so in a tensor, whose
    elements take a hundred times as long: 80 ms for a dialogue of 900 tokens, which is more than all else of a batch.
    """
    adjust = getattr(processor, SEARCH, None)
    if adjust is None:
        yield
        return

    def adjust_lists(made: Any, turns: Any) -> Any:
        made[OFFSETS] = torch.as_tensor(made[OFFSETS]).tolist()
        return adjust(made, turns)

    # Only for now: what stays in a processor is saved with it.
    setattr(processor, SEARCH, adjust_lists)
    try:
        yield
    finally:
        delattr(processor, SEARCH)


def _check(batch: dict[str, Any], max_length: int) -> None:
    """Raise Unusable where the batch is nothing to learn from; with one dialogue in it, that is the one."""
    tokens = int(batch["attention_mask"].sum(dim=1).max())
    if tokens > max_length:
        raise Unusable("longer than max_length", f"{tokens:,} tokens; max_length is {max_length:,}")
    if not (batch["labels"] != IGNORED).any(dim=1).all():
        raise Unusable("no answer to learn", "no token of it carries loss")
    for name, tensor in batch.items():
        if torch.is_tensor(tensor) and tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise Unusable("pixels are not finite", f"{name} holds NaN or infinity")
