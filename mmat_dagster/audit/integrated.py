"""An ORR dialogue beside the RR dialogue it was made from: what is read of it once, and whether all of it is there."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from mmat_dagster import wire
from mmat_dagster.audit.check import shown
from mmat_dagster.schema import Dialogue, IntegratedTranscript, OrrDialogue


@dataclass(frozen=True, kw_only=True)
class Integrated:
    """An ORR dialogue, what its messages say (None, and the `fault`, where they cannot be read), and its RR dialogue.

    `rr` is None where there is no RR dialogue of the same id; nobody compares where `is_compared` is False.
    """

    record: OrrDialogue
    spoken: IntegratedTranscript | None
    fault: str = ""
    rr: Dialogue | None = None
    is_compared: bool = True

    @classmethod
    def of(cls, record: OrrDialogue, rr: Dialogue | None, *, is_compared: bool = True) -> Self:
        """Read the messages of `record`."""
        try:
            spoken = wire.parse_orr(record.messages)
        except wire.WireError as broken:
            return cls(record=record, spoken=None, fault=str(broken), rr=rr, is_compared=is_compared)
        return cls(record=record, spoken=spoken, rr=rr, is_compared=is_compared)


def pair(integrated: Iterable[OrrDialogue], dialogues: Iterable[Dialogue] | None) -> Iterator[Integrated]:
    """Yield each ORR dialogue with the RR dialogue of its id; both come in the same order, some RR have no ORR.

    Without `dialogues` nothing is compared.
    """
    below = iter(dialogues or ())
    for record in integrated:
        rr = next((each for each in below if each.id == record.id), None)
        yield Integrated.of(record, rr, is_compared=dialogues is not None)


def find_lost(integrated: Integrated) -> Iterator[str]:
    """Yield each thought and each operator's result of the RR dialogue that its ORR dialogue does not hold."""
    rr, spoken = integrated.rr, integrated.spoken
    if not integrated.is_compared or spoken is None:
        return
    if rr is None:
        yield "there is no RR dialogue of this id"
        return
    yield from _find_lost_thoughts(rr, spoken)
    # One result that two steps asked for stands there once.
    wanted = {item for turn in rr.transcript.turns for item in turn.observations if item.tool != wire.RAG}
    yield from (f"what {item.tool} said is lost: {shown(item.text)}" for item in wanted - set(spoken.calls))
    yield from (f"{tool} is told twice the same" for tool in _told_twice(spoken))
    if spoken.answer != rr.transcript.answer:
        yield f"the answer is {shown(spoken.answer)}, that of RR {shown(rr.transcript.answer)}"


def _find_lost_thoughts(rr: Dialogue, spoken: IntegratedTranscript) -> Iterator[str]:
    at = 0
    for number, turn in enumerate(rr.transcript.turns, start=1):
        found = spoken.thought.find(turn.step.thought, at)
        if found < 0:
            yield f"thought {number} is lost, or stands before the one it follows: {shown(turn.step.thought)}"
        else:
            at = found + len(turn.step.thought)


def _told_twice(spoken: IntegratedTranscript) -> Iterator[str]:
    yield from (item.tool for item, times in Counter(spoken.calls).items() if times > 1)
