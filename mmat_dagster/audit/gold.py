"""Does a dialogue end with a gold answer, by the source's own rule; does none of its thoughts quote it as one?"""

from collections.abc import Iterator

from mmat_dagster import answers
from mmat_dagster.audit.check import shown
from mmat_dagster.audit.integrated import Integrated
from mmat_dagster.audit.quoting import find_quotes
from mmat_dagster.schema import Dialogue, Observation, Sample


def find_other_answer(dialogue: Dialogue) -> Iterator[str]:
    """Yield the last message where it is no gold answer."""
    return _find_other(dialogue.messages[-1].content if dialogue.messages else "", dialogue.sample)


def find_other_integrated_answer(integrated: Integrated) -> Iterator[str]:
    """Yield the answer of an ORR dialogue where it is no gold answer."""
    if integrated.spoken is None:
        return iter(["no answer can be read"])
    return _find_other(integrated.spoken.answer, integrated.record.sample)


def find_quoted_gold(dialogue: Dialogue) -> Iterator[str]:
    """Yield where a thought speaks of the answer as one that was given."""
    turns = dialogue.transcript.turns
    shows = _material(dialogue.sample, [item for turn in turns for item in turn.observations])
    for number, turn in enumerate(turns, start=1):
        yield from (f"thought {number}: {quote}" for quote in find_quotes(turn.step.thought, shows))


def find_quoted_integrated_gold(integrated: Integrated) -> Iterator[str]:
    """Yield where the thought of an ORR dialogue speaks of the answer as one that was given."""
    if integrated.spoken is None:
        return
    # What a search found stands in no ORR dialogue, and is what its thoughts may quote.
    turns = integrated.rr.transcript.turns if integrated.rr else ()
    heard = [*integrated.spoken.calls, *(item for turn in turns for item in turn.observations)]
    yield from find_quotes(integrated.spoken.thought, _material(integrated.record.sample, heard))


def _find_other(answer: str, sample: Sample) -> Iterator[str]:
    if not answers.is_gold(answer, sample):
        gold = " / ".join(sample.answers)
        yield f"the answer is {shown(answer)}, gold is {shown(gold)}"


def _material(sample: Sample, heard: list[Observation]) -> str:
    """Return all that the dialogue shows, and its thoughts may therefore speak of."""
    earlier = (text for each in sample.context for text in (each.question, each.answer))
    return "\n".join([sample.question, *sample.choices, *earlier, *(item.text for item in heard)])
