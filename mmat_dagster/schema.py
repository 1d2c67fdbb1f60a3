"""The records that flow through the engine: frozen, keyword-only, with one Arrow schema each.

SourceRecord --foundation--> Sample --rationale--> Rationale --reflection--> Dialogue --integration--> OrrDialogue
                                                                                      --audit--> DialogueAudit
                  any stage but the audit may turn a record into a Rejection instead; nothing else may happen to it.
"""

from dataclasses import dataclass, field
from typing import Literal

import msgspec

SourceName = Literal["visual_cot", "llava_cot", "the_cauldron", "tabmwp", "infoseek"]
DatasetName = Literal["source_qa", "rationales", "rr_dialogues", "orr_dialogues", "dialogue_audit"]
AnswerType = Literal["word_or_phrase", "option_letter", "option_text", "number", "yes_no", "free_text"]
Signal = Literal["continue", "reflection", "end"]
ReflectionKind = Literal["none", "general", "math"]
Role = Literal["system", "user", "assistant"]
ImageHome = Literal["source", "store"]
LeakEvidence = Literal["same image", "similar image", "same question", "template question"]
LeakPolicy = Literal["drop", "warn"]

RejectionReason = Literal[
    "unreadable record",
    "missing image",
    "unreadable image",
    "image outside the source folder",
    "empty question",
    "no gold answer",
    "answer not among the choices",
    "duplicate id",
    "duplicate question",
    "held out for testing",
    "benchmark leak",
    "not for commercial use",
    "annotations hold no reasoning",
    "reasoning does not yield the answer",
    "malformed teacher reply",
    "teacher refused",
    "request not accepted",
    "teacher gave no reply",
    "image changed",
    "operator not offered",
    "turn limit reached",
    "wire form broken",
]


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A record that was lost, and why. `reason` is the class that is counted, `detail` what a person needs to see."""

    source: SourceName
    record_id: str
    stage: DatasetName
    reason: RejectionReason
    detail: str


@dataclass(frozen=True, kw_only=True)
class ImageRef:
    """Where an image lies: `path` is relative to the source's folder, or to the store where Parquet held it."""

    home: ImageHome
    path: str
    sha256: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Box:
    """A region that the source annotates, [x1, y1, x2, y2] in pixels of image number `image` (0-based)."""

    phrase: str
    image: int = 0
    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What the source's own people wrote beside question and answer; absent fields are None or empty."""

    summary: str | None = None
    caption: str | None = None
    reasoning: str | None = None
    table: str | None = None
    table_title: str | None = None
    entity: str | None = None
    entity_id: str | None = None
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Leak:
    """What a sample shares with an evaluation benchmark; `score` is 1.0 for the same and less for the similar.

    A template question is one that the source asks of many images in the same words: it alone says nothing.
    """

    benchmark: str
    item: str
    evidence: LeakEvidence
    score: float


@dataclass(frozen=True, kw_only=True)
class Round:
    """An earlier question and answer over the same images."""

    question: str
    answer: str


class SourceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One question as a reader yields it: images are still a path below the source's folder, or raw bytes.

    `answers` holds every accepted gold answer, the one to be shown first. `number_range` (low, high) is set where the
    source accepts any number between two bounds (InfoSeek). `question` is without choices and constraint; the
    foundation stage lays these out. `choices` are in the source's order and without their letters. It is no dataclass
    but a msgspec Struct, which is far cheaper to make: readers do little else.
    """

    id: str
    source: SourceName
    part: str
    question: str
    answers: tuple[str, ...]
    answer_type: AnswerType
    images: tuple[str | bytes, ...]
    choices: tuple[str, ...] = ()
    unit: str | None = None
    number_range: tuple[float, float] | None = None
    context: tuple[Round, ...] = ()
    annotations: Annotations = Annotations()
    licence: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A uniform QA record: `question` as it is asked, with choices and response-style constraint; gold unchanged."""

    id: str
    source: SourceName
    part: str
    question: str
    bare_question: str
    answers: tuple[str, ...]
    answer_type: AnswerType
    images: tuple[ImageRef, ...]
    choices: tuple[str, ...] = ()
    unit: str | None = None
    number_range: tuple[float, float] | None = None
    context: tuple[Round, ...] = ()
    annotations: Annotations = field(default_factory=Annotations)
    licence: str
    leaks: tuple[Leak, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Step:
    """One assistant turn: a thought, the operators and the search it asks for, and how it goes on."""

    thought: str
    operators: tuple[str, ...] = ()
    rag_query: str | None = None
    signal: Signal


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One result line of the turn after a step: `tool` is an operator's name or `rag` (one observation per passage)."""

    tool: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A step and what came back. `raw_reply` keeps the teacher's own words next to what was parsed from them."""

    step: Step
    observations: tuple[Observation, ...] = ()
    raw_reply: str | None = None


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """All that an RR dialogue says, free of tags: what `wire.render_rr` writes and `wire.parse_rr` reads back."""

    question: str
    image_count: int
    turns: tuple[Turn, ...]
    answer: str


@dataclass(frozen=True, kw_only=True)
class IntegratedTranscript:
    """All that an ORR dialogue says: `thought` is every thought joined in order, `calls` the operator results."""

    question: str
    image_count: int
    calls: tuple[Observation, ...]
    thought: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Message:
    """One chat message of a released record."""

    role: Role
    content: str


@dataclass(frozen=True, kw_only=True)
class Rationale:
    """A sample and the turns that reason towards its answer; `teacher` names who wrote them."""

    sample: Sample
    turns: tuple[Turn, ...]
    teacher: str


@dataclass(frozen=True, kw_only=True)
class Dialogue:
    """An RR dialogue: its wire form in `messages`, and the structure it was rendered from."""

    id: str
    source: SourceName
    messages: tuple[Message, ...]
    images: tuple[ImageRef, ...]
    sample: Sample
    transcript: Transcript
    reflection: ReflectionKind
    reflection_reason: str | None
    teacher: str


@dataclass(frozen=True, kw_only=True)
class OrrDialogue:
    """An ORR dialogue: one user turn, one assistant turn, made from the RR dialogue of the same id."""

    id: str
    source: SourceName
    messages: tuple[Message, ...]
    images: tuple[ImageRef, ...]
    sample: Sample
    reflection: ReflectionKind
    teacher: str


@dataclass(frozen=True, kw_only=True)
class AuditFinding:
    """A deterministic check that does not hold of a dialogue, and why."""

    check: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class DialogueAudit:
    """How good the RR dialogue of the same id is, 0.0 to 1.0, and why; `judge` is `checks` or a chat model's name.

    The five aspects, 0.0 to 1.0 too, are None where no model has judged. A check that does not hold lowers the score
    whoever judges; `raw_reply` keeps the model's own words.
    """

    id: str
    source: SourceName
    score: float
    reason: str
    judge: str
    coherence: float | None
    relevance: float | None
    accuracy: float | None
    completeness: float | None
    visual_integration: float | None
    findings: tuple[AuditFinding, ...]
    raw_reply: str | None
