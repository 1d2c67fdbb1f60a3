"""What a part's records are made of: answer types, turns, operator calls, failures, reflections, what an audit found.

It is written into the part and decides no key: a part that an earlier version has counted less of is not done again.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from mmat_dagster.answers import states_gold
from mmat_dagster.operators.looking import FAILED
from mmat_dagster.reasoning import SEARCH_FAILED
from mmat_dagster.schema import Dialogue, DialogueAudit, Observation, Rationale, Sample, Turn
from mmat_dagster.wire import RAG

ANSWER_TYPE, SOURCE_PART, SCORE = "answer: ", "part: ", "score "
CALLED = " called"
# Every dialogue is either under this or under what it calls, so that it shows whether calls were counted at all.
NOTHING_CALLED = f"nothing{CALLED}"


def facets(record: Any) -> Iterator[str]:
    """Yield what `record` is made of, by name; nothing for a record of which nothing is counted."""
    if isinstance(record, Sample):
        yield f"{ANSWER_TYPE}{record.answer_type}"
        yield f"{SOURCE_PART}{record.part}"
    if isinstance(record, Rationale):
        yield f"{len(record.turns)} turns"
        yield from _calls(record.turns)
    if isinstance(record, Dialogue):
        yield f"{len(record.transcript.turns)} turns"
        yield from _called(record.transcript.turns)
        yield f"{record.reflection} reflection" if record.reflection != "none" else "no reflection"
        if not states_gold(record.transcript.turns[-1].step.thought, record.sample):
            yield "answer not stated in the last thought"
    if isinstance(record, DialogueAudit):
        yield f"judged by {record.judge}"
        yield score_name(record.score)
        yield from sorted({f"fails {finding.check}" for finding in record.findings})


def score_name(score: float) -> str:
    """Return under what a score of 0.0 to 1.0 is counted: `score 0.7` from 0.7 up to 0.8; a full one is `score 0.9`."""
    return f"{SCORE}{min(9, int(score * 10 + 1e-9)) / 10:.1f}"


def _called(turns: Iterable[Turn]) -> Iterator[str]:
    calls = [name for name in _calls(turns) if name.endswith(CALLED)]
    yield from calls or [NOTHING_CALLED]


def _calls(turns: Iterable[Turn]) -> Iterator[str]:
    for turn in turns:
        yield from (f"{name}{CALLED}" for name in turn.step.operators)
        if turn.step.rag_query is not None:
            yield f"{RAG}{CALLED}"
        yield from (f"{item.tool} failed" for item in turn.observations if _tells_failure(item))


def _tells_failure(item: Observation) -> bool:
    return item.text == SEARCH_FAILED if item.tool == RAG else FAILED in item.text
