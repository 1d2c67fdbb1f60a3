"""Records made readable for people: Markdown for the Dagster UI, plain or coloured text for a terminal."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmat_dagster import markdown, wire
from mmat_dagster.schema import Dialogue, DialogueAudit, Observation, OrrDialogue, Rationale, Sample, Turn

# What shows a sample, and all that can be shown.
Shown = Sample | Rationale | Dialogue | OrrDialogue
Readable = Shown | DialogueAudit

ASPECTS = ("coherence", "relevance", "accuracy", "completeness", "visual_integration")

# A passage or a receipt can run over pages; on a page for people its beginning does.
SHOWN_CHARS = 600
# What people and teachers say is shown whole on a terminal, and on a page up to a length that only damage reaches.
THOUGHT_CHARS = 3000

_BOLD, _DIM, _RED, _OFF = "\033[1m", "\033[2m", "\033[31m", "\033[0m"


@dataclass(frozen=True, kw_only=True)
class Block:
    """One labelled paragraph: a question, a thought, what a tool said, an answer."""

    label: str
    text: str
    is_result: bool = False


def to_markdown(record: Readable) -> str:
    """Return `record` as Markdown."""
    return "\n\n".join([f"**{markdown.cell(_title(record))}**", *map(_markdown, _blocks(record))])


def to_text(record: Readable, width: int, is_coloured: bool) -> str:
    """Return `record` as text wrapped to `width` columns."""
    title = f"{_BOLD}{_title(record)}{_OFF}" if is_coloured else _title(record)
    shown = () if isinstance(record, DialogueAudit) else _sample(record).images
    images = [f"  {'image':<15}{image.home}:{image.path} ({image.width} x {image.height})" for image in shown]
    return "\n".join([title, *images, *(_plain(block, width, is_coloured) for block in _blocks(record))])


def _sample(record: Shown) -> Sample:
    return record if isinstance(record, Sample) else record.sample


def _title(record: Readable) -> str:
    if isinstance(record, DialogueAudit):
        return f"{record.id} · score {record.score:.2f} · judge: {record.judge}"
    sample = _sample(record)
    teacher = "" if isinstance(record, Sample) else f" · teacher: {record.teacher}"
    reflected = isinstance(record, Dialogue | OrrDialogue) and record.reflection != "none"
    reflection = (
        f" · {record.reflection} reflection" if reflected and not isinstance(record, Sample | Rationale) else ""
    )
    return f"{sample.id} · {sample.part} · {sample.licence}{teacher}{reflection}"


def _blocks(record: Readable) -> Iterator[Block]:
    if isinstance(record, DialogueAudit):
        yield from _audit_blocks(record)
        return
    sample = _sample(record)
    yield Block(label="question", text=sample.question)
    if isinstance(record, Sample):
        yield Block(label="gold", text=" / ".join(sample.answers))
        yield from (Block(label=leak.evidence, text=f"{leak.benchmark} {leak.item}") for leak in sample.leaks)
    elif isinstance(record, OrrDialogue):
        yield from _orr_blocks(record)
    else:
        turns = record.turns if isinstance(record, Rationale) else record.transcript.turns
        yield from _turn_blocks(turns)
        yield Block(
            label="answer", text=sample.answers[0] if isinstance(record, Rationale) else record.transcript.answer
        )


def _audit_blocks(record: DialogueAudit) -> Iterator[Block]:
    aspects = {name.replace("_", " "): getattr(record, name) for name in ASPECTS}
    if any(value is not None for value in aspects.values()):
        told = ", ".join(f"{name} {value:.2f}" for name, value in aspects.items() if value is not None)
        yield Block(label="aspects", text=told)
    yield Block(label="reason", text=record.reason)
    for finding in record.findings:
        yield Block(label="does not hold", text=f"{finding.check}: {finding.detail}", is_result=True)


def _turn_blocks(turns: Sequence[Turn]) -> Iterator[Block]:
    for number, turn in enumerate(turns, 1):
        label = "reflection" if turn.step.signal == "reflection" else f"thought {number}"
        yield Block(label=label, text=turn.step.thought)
        if turn.step.rag_query is not None:
            yield Block(label="search", text=turn.step.rag_query)
        yield from map(_result, turn.observations)


def _orr_blocks(record: OrrDialogue) -> Iterator[Block]:
    transcript = wire.parse_orr(record.messages)
    yield from map(_result, transcript.calls)
    yield Block(label="thought", text=transcript.thought)
    yield Block(label="answer", text=transcript.answer)


def _result(observation: Observation) -> Block:
    return Block(label=observation.tool, text=_shortened(observation.text, SHOWN_CHARS), is_result=True)


def _shortened(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[:chars]} …"


def _markdown(block: Block) -> str:
    text = markdown.literal(_shortened(block.text, THOUGHT_CHARS))
    return f"> *{block.label}*: {text}" if block.is_result else f"**{block.label}** {text}"


def _plain(block: Block, width: int, is_coloured: bool) -> str:
    indent = " " * 17
    lines = [
        line
        for paragraph in block.text.split("\n")
        for line in textwrap.wrap(paragraph, max(width, 40), initial_indent=indent, subsequent_indent=indent) or [""]
    ]
    body = "\n".join(lines)[len(indent) :]
    label = f"  {block.label:<15}"
    if not is_coloured:
        return label + body
    shade = _DIM if block.is_result else _RED if block.label == "reflection" else ""
    return f"{_BOLD}{label}{_OFF}{shade}{body}{_OFF}"
