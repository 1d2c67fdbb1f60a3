"""Is a dialogue in the wire form, exactly: does it parse, and is what was parsed written the same way?"""

from collections.abc import Iterator

from mmat_dagster import wire
from mmat_dagster.audit.integrated import Integrated
from mmat_dagster.schema import Dialogue, Transcript


def find_broken_rr(dialogue: Dialogue) -> Iterator[str]:
    """Yield why the RR messages do not read as the dialogue's turns, images and question."""
    try:
        spoken = wire.parse_rr(dialogue.messages)
        system = dialogue.messages[0].content
        if wire.render_rr(spoken, system) != dialogue.messages:
            yield "the messages do not read back as they are written"
        if wire.render_rr(dialogue.transcript, system) != dialogue.messages:
            yield "the messages say something else than the turns"
    except wire.WireError as broken:
        yield str(broken)
    else:
        yield from _find_other_sample(dialogue, spoken)


def find_broken_orr(integrated: Integrated) -> Iterator[str]:
    """Yield why the ORR messages cannot be read back."""
    record, spoken = integrated.record, integrated.spoken
    if spoken is None:
        yield integrated.fault
        return
    try:
        if wire.render_orr(spoken, record.messages[0].content) != record.messages:
            yield "the messages do not read back as they are written"
    except wire.WireError as broken:
        yield str(broken)
    if spoken.image_count != len(record.images):
        yield f"{spoken.image_count} image marks stand before the question of {len(record.images)} images"


def _find_other_sample(dialogue: Dialogue, spoken: Transcript) -> Iterator[str]:
    if spoken.image_count != len(dialogue.images):
        yield f"{spoken.image_count} image marks stand before the question of {len(dialogue.images)} images"
    if spoken.question != dialogue.sample.question:
        yield "the question is not that of the sample"
