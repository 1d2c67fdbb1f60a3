"""What a part's records are made of: turns, operator calls, failed operators, reflections, what an audit found."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from mmat_dagster.answers import states_gold
from mmat_dagster.operators.looking import FAILED
from mmat_dagster.reasoning import SEARCH_FAILED
from mmat_dagster.schema import Dialogue, DialogueAudit, Observation, Rationale, Turn
from mmat_dagster.wire import RAG


def census(records: Iterable[Any]) -> dict[str, int]:
    """Return how often each thing occurs in `records`, by name; empty for samples."""
    return dict(sorted(Counter(name for record in records for name in _of(record)).items()))


def _of(record: Any) -> Iterator[str]:
    if isinstance(record, Rationale):
        yield f"{len(record.turns)} turns"
        yield from _calls(record.turns)
    if isinstance(record, Dialogue):
        yield f"{len(record.transcript.turns)} turns"
        yield f"{record.reflection} reflection" if record.reflection != "none" else "no reflection"
        if not states_gold(record.transcript.turns[-1].step.thought, record.sample):
            yield "answer not stated in the last thought"
    if isinstance(record, DialogueAudit):
        yield f"judged by {record.judge}"
        yield from sorted({f"fails {finding.check}" for finding in record.findings})


def _calls(turns: Iterable[Turn]) -> Iterator[str]:
    for turn in turns:
        yield from (f"{name} called" for name in turn.step.operators)
        if turn.step.rag_query is not None:
            yield f"{RAG} called"
        yield from (f"{item.tool} failed" for item in turn.observations if _tells_failure(item))


def _tells_failure(item: Observation) -> bool:
    return item.text == SEARCH_FAILED if item.tool == RAG else FAILED in item.text
