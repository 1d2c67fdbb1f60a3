"""Records for tests, with everything filled in that a test does not care about."""

from dataclasses import replace
from typing import Any

from mmat_dagster import wire
from mmat_dagster.schema import Dialogue, ImageRef, Sample, Transcript

SAMPLE = Sample(
    id="tabmwp/1",
    source="tabmwp",
    part="train",
    question="How much is the sand? Answer with a number.",
    bare_question="How much is the sand?",
    answers=("2",),
    answer_type="number",
    images=(ImageRef(home="source", path="tables/1.png", sha256="0" * 64, width=200, height=100),),
    licence="CC BY-NC-SA 4.0",
)


def make_sample(**changes: Any) -> Sample:
    """Return a sample of TabMWP with `changes`."""
    return replace(SAMPLE, **changes)


def render_dialogue(sample: Sample, transcript: Transcript, system: str = "system", **changes: Any) -> Dialogue:
    """Return the RR dialogue of a sample as the reflection stage renders it, with `changes`."""
    dialogue = Dialogue(
        id=sample.id,
        source=sample.source,
        messages=wire.render_rr(transcript, system),
        images=sample.images,
        sample=sample,
        transcript=transcript,
        reflection="none",
        reflection_reason=None,
        teacher="scripted",
    )
    return replace(dialogue, **changes)
