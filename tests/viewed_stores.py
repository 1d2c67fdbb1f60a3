"""A store for tests of the viewer: dialogues with images, boxes, reflections, an audit, and texts that would harm."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmat_dagster import parts
from mmat_dagster.census import facets
from mmat_dagster.images import ImageShelf, PicturesOnDisk, examine
from mmat_dagster.parts import Manifest
from mmat_dagster.schema import (
    Annotations,
    AuditFinding,
    Box,
    DatasetName,
    Dialogue,
    DialogueAudit,
    ImageRef,
    Observation,
    OrrDialogue,
    Rationale,
    Rejection,
    Sample,
    SourceName,
    Step,
    Transcript,
    Turn,
)
from mmat_dagster.stages.audit import audit_by_checks
from mmat_dagster.stages.integration import integrate
from mmat_dagster.viewer.app import Viewed
from mmat_dagster.viewer.folder import ReadOnlyFolder
from resources.store import LocalStore
from tests.builders import make_sample, render_dialogue
from tests.pictures import encoded, photo
from tests.written_parts import write_part

QUOTED = AuditFinding(check="no gold quoted", detail="thought 2 quotes it")
SCRIPT = "<script>window.harmed = true; alert('harm')</script>"
BREAKING = '"><img src=x onerror="window.harmed = true"> \' autofocus onfocus=alert(1) x="'
LINK = "javascript:window.harmed=true"
DOGS = '{"a dog": [[0.1, 0.25, 0.5, 0.75]], "a ball": [[0.6, 0.6, 0.7, 0.7]]}'
FACES = "2 faces: [12, 30, 64, 98], [140, 22, 201, 97]"


@dataclass(frozen=True, kw_only=True)
class StoreOf:
    """A store that holds `dialogues`."""

    root: Path
    dialogues: tuple[Dialogue, ...]

    @property
    def viewed(self) -> Viewed:
        """The store as the viewer gets it."""
        return Viewed(
            store=ReadOnlyFolder(self.root),
            pictures=PicturesOnDisk(source_root=self.root / "no-sources", store_root=self.root),
            index=self.root.parent / "cache" / "index.sqlite",
            find_exchanges=lambda _: None,
        )


def write_store(root: Path, count: int = 12, part_rows: int = 5, *, is_audited: bool = True) -> StoreOf:
    """Write a store of `count` dialogues of TabMWP, every fourth with a reflection, and return it."""
    image = shelve(root, 1)
    dialogues = tuple(make_dialogue(number, image) for number in range(1, count + 1))
    write_dialogues(root, "tabmwp", dialogues, part_rows)
    if is_audited:
        write_audit(root, "tabmwp", dialogues, part_rows)
    return StoreOf(root=root, dialogues=dialogues)


def shelve(root: Path, seed: int) -> ImageRef:
    """Put a picture on the store's shelf."""
    data = encoded(photo(seed))
    found = examine(data)
    path = ImageShelf(LocalStore(root=str(root))).put(data, found.suffix)
    return ImageRef(home="store", path=path, sha256=found.sha256, width=found.width, height=found.height)


def make_dialogue(number: int, image: ImageRef, **changes: object) -> Dialogue:
    """Return a dialogue that looks, reads and ends; every fourth reflects, every third searches."""
    question = str(changes.pop("question", f"How much is item {number}? Answer with a number."))
    thought = str(changes.pop("thought", f"The print gives the price of item {number}."))
    sample = make_sample(
        id=f"tabmwp/{number}",
        question=question,
        images=(image,),
        annotations=Annotations(boxes=(Box(phrase="the tag", x1=10, y1=20, x2=60, y2=80),)),
        **changes,
    )
    return dialogue_of(sample, _turns(number, thought))


def dialogue_of(sample: Sample, turns: tuple[Turn, ...]) -> Dialogue:
    """Return the RR dialogue of `turns`, as the reflection stage renders it."""
    transcript = Transcript(
        question=sample.question, image_count=len(sample.images), turns=turns, answer=sample.answers[0]
    )
    is_reflected = any(turn.step.signal == "reflection" for turn in turns)
    of_reflection = {"reflection": "math", "reflection_reason": "the sum is not written out"} if is_reflected else {}
    return render_dialogue(sample, transcript, "You reason step by step.", teacher="annotations", **of_reflection)


def write_dialogues(root: Path, source: SourceName, dialogues: Sequence[Dialogue], part_rows: int) -> None:
    """Write dialogues, what they were made of, and what is made of them, in parts of `part_rows`."""
    groups = [dialogues[start : start + part_rows] for start in range(0, len(dialogues), part_rows)]
    rationales = [
        [Rationale(sample=each.sample, turns=each.transcript.turns, teacher=each.teacher) for each in group]
        for group in groups
    ]
    integrated = [[_integrated(each) for each in group] for group in groups]
    lost = Rejection(
        source=source, record_id=f"{source}/lost", stage="rationales", reason="teacher refused", detail=f"no: {SCRIPT}"
    )
    _write(root, "rationales", source, rationales, Rationale, [lost])
    _write(root, "rr_dialogues", source, groups, Dialogue, [])
    _write(root, "orr_dialogues", source, integrated, OrrDialogue, [])


def write_audit(root: Path, source: SourceName, dialogues: Sequence[Dialogue], part_rows: int) -> None:
    """Write an audit of `dialogues`: scores of 0.5, 0.6, ... 0.9 in turn."""
    audits = [
        replace(
            audit_by_checks(each, [QUOTED] if number % 5 == 0 else []),
            score=0.5 + (number % 5) / 10,
            reason=f"reads well, {SCRIPT}",
        )
        for number, each in enumerate(dialogues)
    ]
    groups = [audits[start : start + part_rows] for start in range(0, len(audits), part_rows)]
    _write(root, "dialogue_audit", source, groups, DialogueAudit, [])


def _turns(number: int, thought: str) -> tuple[Turn, ...]:
    seen = (Observation(tool="label_bbox", text=DOGS), Observation(tool="face_detection", text=FACES))
    look = Turn(
        step=Step(thought="I look at the picture.", operators=("label_bbox", "face_detection"), signal="continue"),
        observations=seen,
        raw_reply='{"thought": "I look at the picture."}',
    )
    query = Turn(
        step=Step(thought="What does it cost elsewhere?", rag_query=f"price {number}", signal="continue"),
        observations=(Observation(tool="rag", text="Zürich sells it at two francs."),),
    )
    remark = Turn(step=Step(thought="This needs more care.", signal="reflection"))
    return (
        look,
        *([query] if number % 3 == 0 else []),
        *([remark] if number % 4 == 0 else []),
        Turn(step=Step(thought=thought, signal="end")),
    )


def _integrated(dialogue: Dialogue) -> OrrDialogue:
    made = integrate(dialogue, "You reason in one turn.")
    if not isinstance(made, OrrDialogue):
        raise TypeError(made)
    return made


def _write(
    root: Path,
    dataset: DatasetName,
    source: SourceName,
    groups: Sequence[Sequence[object]],
    record: type,
    lost: Sequence[Rejection],
) -> None:
    store, prefix = LocalStore(root=str(root)), parts.folder(dataset, source)
    written = tuple(
        write_part(
            store,
            f"{prefix}/part-{number:05}-{len(group)}",
            group,
            record,
            lost=lost if number == 0 else (),
            facets=facets,
        )
        for number, group in enumerate(groups)
    )
    parts.publish(store, Manifest(dataset=dataset, source=source, key="made by a test", parts=written))


def with_answers(dialogue: Dialogue, *answers: str) -> Dialogue:
    """Return a dialogue whose sample accepts `answers`."""
    return replace(dialogue, sample=replace(dialogue.sample, answers=answers))
