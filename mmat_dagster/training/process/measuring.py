"""What every dialogue measures in the student's tokens, known before the first step: what fits, and what does not.

    plan/<part's sha256>-<key>.parquet    a row a dialogue, in the part's order: Measure

A cache: `key` holds processor, template and code, so that a resumed run and a second one measure nothing again. Image
tokens come from the processor's own count by image size, where it has one; every batch is checked again when it is
made, to the token.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import jinja2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from accelerate import PartialState

from mmat_dagster.fingerprints import code_fingerprint, fingerprint
from mmat_dagster.training.process.conversations import Conversation, Reading, Shelf, as_chat, read_shard
from mmat_dagster.training.process.templates import special_tokens
from mmat_dagster.training.spec import BadRun, Dropped, DropReason, TrainingRun

AT_ONCE = 64
SUFFIX = ".parquet"
REASONS: tuple[DropReason, ...] = get_args(DropReason)
_FIELDS: dict[str, pa.DataType] = {
    "tokens": pa.int32(),
    "image_tokens": pa.int32(),
    "reason": pa.int8(),
    "detail": pa.string(),
}
_SCHEMA = pa.schema(_FIELDS)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One dialogue's length in tokens, those of its images included; `reason` where the student cannot take it."""

    tokens: int
    image_tokens: int
    reason: DropReason | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is learned from: `rows[i]` are the usable rows of shard number i, the mean of their tokens in `tokens`."""

    rows: tuple[npt.NDArray[np.int32], ...]
    tokens: int
    dropped: tuple[Dropped, ...]
    licences: Counter[str] = field(default_factory=Counter)

    @property
    def dialogues(self) -> int:
        """The number of usable dialogues."""
        return sum(len(rows) for rows in self.rows)


class Ruler:
    """Measures conversations with a student's processor."""

    def __init__(self, processor: Any, chat_template: str, run: TrainingRun) -> None:
        self._processor = processor
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self._template = chat_template
        self._student = run.student
        self._special = special_tokens(self._tokenizer)

    @property
    def version(self) -> str:
        """What decides the measures besides the dialogues."""
        tokenizer = self._tokenizer.backend_tokenizer.to_str()
        images = getattr(self._processor, "image_processor", None)
        settings = images.to_json_string() if images is not None else ""
        code = code_fingerprint("training/process/conversations.py", "training/process/measuring.py")
        return fingerprint([code, *REASONS, self._template, tokenizer, settings, repr(self._student)])

    def measure(self, conversations: Sequence[Conversation]) -> list[Measure]:
        """Return one measure a conversation, in order."""
        measures = [self._unusable(each) for each in conversations]
        usable = [each for each, measure in zip(conversations, measures, strict=True) if measure is None]
        measured = iter(self._lengths(usable))
        return [measure or next(measured) for measure in measures]

    def _unusable(self, conversation: Conversation) -> Measure | None:
        if self._student.modality == "text" and not conversation.has_results:
            return Measure(tokens=0, image_tokens=0, reason="nothing tells a text student what the image shows")
        mark = next((mark for mark in self._special for each in conversation.messages if mark in each.content), None)
        if mark is not None:
            detail = f"its text holds {mark}, which steers the student"
            return Measure(tokens=0, image_tokens=0, reason="refused by the student's processor", detail=detail)
        most = self._student.max_images
        if most is not None and len(conversation.images) > most:
            detail = f"{len(conversation.images)} images, and {self._student.name} takes {most}"
            return Measure(tokens=0, image_tokens=0, reason="more images than the student takes", detail=detail)
        return None

    def _lengths(self, conversations: Sequence[Conversation]) -> Iterator[Measure]:
        rendered = [self._render(each) for each in conversations]
        texts = [text for text in rendered if isinstance(text, str)]
        ids = self._tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        lengths = iter(map(len, ids))
        for conversation, text in zip(conversations, rendered, strict=True):
            if isinstance(text, Measure):
                yield text
            else:
                image_tokens = self._image_tokens(conversation)
                yield Measure(tokens=next(lengths) + image_tokens, image_tokens=image_tokens)

    def _render(self, conversation: Conversation) -> str | Measure:
        chat = as_chat(conversation, self._student.modality)
        try:
            return str(self._processor.apply_chat_template(chat, chat_template=self._template, tokenize=False))
        except jinja2.TemplateError as error:
            return Measure(tokens=0, image_tokens=0, reason="refused by the student's processor", detail=str(error))

    def _image_tokens(self, conversation: Conversation) -> int:
        """Return what the images add to their placeholders."""
        count = getattr(self._processor, "_get_num_multimodal_tokens", None)
        if not conversation.images or count is None:
            return 0
        counted = count(image_sizes=[[image.height, image.width] for image in conversation.images])
        return int(sum(counted["num_image_tokens"])) - len(conversation.images)


def make_plan(run: TrainingRun, ruler: Ruler, folder: Path, state: PartialState, tell: Callable[[str], None]) -> Plan:
    """Return what can be learned from, measuring what has not been measured; raise BadRun where it is too little.

    Each of several processes measures its share of the parts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    version = ruler.version
    shards = [shard for item in run.data for shard in item.shards]
    caches = [folder / f"{shard.sha256[:16]}-{version}{SUFFIX}" for shard in shards]
    shelf = Shelf(run.data, Reading(format=run.format, modality=run.student.modality), kept=1)
    for number in range(state.process_index, len(shards), state.num_processes):
        if not caches[number].exists():
            tell(f"measuring part {number + 1} of {len(shards)}: {shards[number].rows:,} dialogues")
            batches = _batches(shelf.conversations(number))
            _write(caches[number], [each for batch in batches for each in ruler.measure(batch)])
    state.wait_for_everyone()
    rows, dropped, tokens, licences = [], [], 0, Counter[str]()
    for shard, cache in zip(shards, caches, strict=True):
        table = pq.read_table(cache, use_threads=False)
        fitting, lost = _fit(run, table)
        rows.append(fitting)
        tokens += int(table["tokens"].to_numpy()[fitting].sum())
        facts = read_shard(shard, columns=["id", "source", "sample.licence"])
        dropped += _name(lost, facts)
        carried = [each["licence"] for each in facts.to_pydict()["sample"]]
        licences.update(carried[row] for row in fitting)
    plan = Plan(rows=tuple(rows), tokens=tokens, dropped=tuple(dropped), licences=licences)
    _check(run, plan)
    return plan


def _batches(conversations: Iterator[Conversation]) -> Iterator[list[Conversation]]:
    batch: list[Conversation] = []
    for conversation in conversations:
        batch.append(conversation)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _write(path: Path, measures: Sequence[Measure]) -> None:
    columns: dict[str, list[Any]] = {
        "tokens": [each.tokens for each in measures],
        "image_tokens": [each.image_tokens for each in measures],
        "reason": [REASONS.index(each.reason) if each.reason else None for each in measures],
        "detail": [each.detail for each in measures],
    }
    beside = path.with_suffix(f".{os.getpid()}.writing")
    pq.write_table(pa.table(columns, schema=_SCHEMA), beside)
    beside.replace(path)


def _fit(run: TrainingRun, table: pa.Table) -> tuple[npt.NDArray[np.int32], dict[int, tuple[DropReason, str]]]:
    """Return the rows that the student can take, and of the others why not."""
    longest = run.hyper.max_length
    tokens, images = table["tokens"].to_numpy(), table["image_tokens"].to_numpy()
    lost: dict[int, tuple[DropReason, str]] = {}
    for row, (reason, detail) in enumerate(zip(table["reason"].to_pylist(), table["detail"].to_pylist(), strict=True)):
        if reason is not None:
            lost[row] = (REASONS[reason], detail or "")
        elif tokens[row] > longest:
            of_images = f", {images[row]:,} of them for images" if images[row] else ""
            lost[row] = ("longer than max_length", f"{tokens[row]:,} tokens{of_images}; max_length is {longest:,}")
    kept = [row for row in range(len(tokens)) if row not in lost]
    return np.array(kept, dtype=np.int32), lost


def _name(lost: dict[int, tuple[DropReason, str]], facts: pa.Table) -> list[Dropped]:
    ids, sources = facts["id"], facts["source"]
    return [
        Dropped(id=ids[row].as_py(), source=sources[row].as_py(), reason=reason, detail=detail)
        for row, (reason, detail) in lost.items()
    ]


def _check(run: TrainingRun, plan: Plan) -> None:
    of = plan.dialogues + len(plan.dropped)
    counts = Counter(each.reason for each in plan.dropped)
    told = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
    if plan.dialogues == 0:
        raise BadRun(f"no dialogue of {run.mixture} can be learned from: {told or 'there is none'}")
    if len(plan.dropped) > run.max_dropped * of:
        raise BadRun(
            f"{len(plan.dropped):,} of {of:,} dialogues of {run.mixture} cannot be learned from ({told}); that is more "
            f"than max_dropped allows ({run.max_dropped:.0%})"
        )
