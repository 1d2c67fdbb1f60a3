"""Rationale: the multi-turn loop of thinking, calling operators and search, and reading their results.

    policy (teacher) -> step -> operators and RAG -> observations -> policy ... until a step ends or the turns run out

The loop knows no teacher and no tool by name: who thinks and what can be called come in from outside.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmat_dagster.interfaces import Pictures, Teacher
from mmat_dagster.operators.looking import LookFunction, look_anew, observe
from mmat_dagster.operators.observation import one_line
from mmat_dagster.schema import Observation, Rationale, Rejection, RejectionReason, Sample, Step, Turn
from mmat_dagster.tools import Operator, Retriever, SearchFailed
from mmat_dagster.wire import RAG

# At most so many assistant turns stand before the answer; a reflection needs two of them.
MAX_TURNS = 6
REFLECTION_TURNS = 2
# The paper's number of passages that a search returns.
TOP_K = 3
# MMAT-1M: 205,682 searches in 1,090,263 rationales.
USUAL_SEARCHES = 0.19
NOTHING_FOUND = "no passage found"
SEARCH_FAILED = "the search failed and returned nothing"


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """What a teacher may call: operators by name, and a search; `look` has an operator look, through a cache or not."""

    operators: Mapping[str, Operator]
    retriever: Retriever
    pictures: Pictures
    look: LookFunction = look_anew

    def offered(self, sample: Sample) -> tuple[Operator, ...]:
        """Return the operators that have something to tell about `sample`."""
        return tuple(operator for operator in self.operators.values() if operator.offers(sample))

    async def observe(self, sample: Sample, step: Step) -> tuple[Observation, ...]:
        """Run what `step` calls, all at once; the results stand in the order of the calls, RAG last."""
        calls = [self._operate(sample, name) for name in step.operators]
        if step.rag_query is not None:
            calls.append(self._search(step.rag_query, sample.bare_question))
        return tuple(item for result in await asyncio.gather(*calls) for item in result)

    async def _operate(self, sample: Sample, name: str) -> list[Observation]:
        text = await observe(self.operators[name], sample, self.pictures, self.look)
        return [Observation(tool=name, text=text)]

    async def _search(self, query: str, question: str) -> list[Observation]:
        try:
            passages = await self.retriever.search(query, TOP_K, question)
        except SearchFailed:
            return [Observation(tool=RAG, text=SEARCH_FAILED)]
        found = [Observation(tool=RAG, text=one_line(f"{passage.title}: {passage.text}")) for passage in passages]
        return found or [Observation(tool=RAG, text=NOTHING_FOUND)]


async def write_rationale(
    sample: Sample, teacher: Teacher, tools: Toolbox, max_turns: int = MAX_TURNS - REFLECTION_TURNS
) -> Rationale | Rejection:
    """Let `teacher` reason about `sample` turn by turn until it is done, in at most `max_turns` turns."""
    offered = tools.offered(sample)
    turns: list[Turn] = []
    while len(turns) < max_turns:
        reply = await teacher.next_step(sample, turns, offered)
        if isinstance(reply, Rejection):
            return reply
        unknown = _not_offered(reply.step, offered)
        if unknown:
            return reject(sample, "operator not offered", f"step {len(turns) + 1} calls {', '.join(unknown)}")
        found = await tools.observe(sample, reply.step)
        turns.append(Turn(step=reply.step, observations=found, raw_reply=reply.raw_reply))
        if reply.step.signal == "end":
            return Rationale(sample=sample, turns=tuple(turns), teacher=teacher.name)
    return reject(sample, "turn limit reached", f"no final step in {max_turns} turns")


def reject(sample: Sample, reason: RejectionReason, detail: str) -> Rejection:
    """Return the rejection of `sample` by this stage."""
    return Rejection(source=sample.source, record_id=sample.id, stage="rationales", reason=reason, detail=detail)


def _not_offered(step: Step, offered: Sequence[Operator]) -> list[str]:
    names = {operator.name for operator in offered}
    return [name for name in step.operators if name not in names]
