"""The loop of reasoning with tools: a policy thinks, operators and search answer, until a step ends or turns run out.

    policy -> step -> operators and RAG -> observations -> policy ...

The policy comes in from outside: a teacher that writes the data, or a student that is examined. No tool is known by
name; what can be called comes in too.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mmat_dagster.interfaces import Reply
from mmat_dagster.operators.looking import LookFunction, look_anew, tell
from mmat_dagster.operators.observation import one_line
from mmat_dagster.schema import Observation, Step, Turn
from mmat_dagster.tools import Look, Operator, Retriever, SearchFailed
from mmat_dagster.wire import RAG

# The paper's number of passages that a search returns.
TOP_K = 3
NOTHING_FOUND = "no passage found"
SEARCH_FAILED = "the search failed and returned nothing"

S = TypeVar("S")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is reasoned about: the images as operators look at them, and the bare question."""

    looks: tuple[Look, ...]
    question: str


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """What a policy may call: operators by name, and a search; `look` has an operator look, through a cache or not."""

    operators: Mapping[str, Operator]
    retriever: Retriever
    look: LookFunction = look_anew

    def offered(self, scene: Scene) -> tuple[Operator, ...]:
        """Return the operators that have something to tell about `scene`."""
        return tuple(operator for operator in self.operators.values() if operator.offers(scene.looks))

    async def observe(self, scene: Scene, step: Step) -> tuple[Observation, ...]:
        """Run what `step` calls, all at once; the results stand in the order of the calls, RAG last."""
        calls = [self._operate(scene, name) for name in step.operators]
        if step.rag_query is not None:
            calls.append(self._search(step.rag_query, scene.question))
        return tuple(item for result in await asyncio.gather(*calls) for item in result)

    async def _operate(self, scene: Scene, name: str) -> list[Observation]:
        text = await tell(self.operators[name], scene.looks, self.look)
        return [Observation(tool=name, text=text)]

    async def _search(self, query: str, question: str) -> list[Observation]:
        try:
            passages = await self.retriever.search(query, TOP_K, question)
        except SearchFailed:
            return [Observation(tool=RAG, text=SEARCH_FAILED)]
        found = [Observation(tool=RAG, text=one_line(f"{passage.title}: {passage.text}")) for passage in passages]
        return found or [Observation(tool=RAG, text=NOTHING_FOUND)]


@dataclass(frozen=True, kw_only=True)
class Reasoning(Generic[S]):
    """The turns of a reasoning; `stopped` is why the policy gave up, None where it did not."""

    turns: tuple[Turn, ...]
    stopped: S | None = None

    @property
    def is_finished(self) -> bool:
        """Say whether the last step ended it; if not, and nothing stopped it, the turns had run out."""
        return bool(self.turns) and self.turns[-1].step.signal == "end"


# Returns the step after the turns so far, or why there is none. A step calls what is offered, and nothing else.
Policy = Callable[[Sequence[Turn]], Awaitable[Reply | S]]


async def reason(scene: Scene, policy: Policy[S], tools: Toolbox, max_turns: int) -> Reasoning[S]:
    """Let `policy` reason about `scene` turn by turn until it is done or gives up, in at most `max_turns` turns."""
    turns: list[Turn] = []
    while len(turns) < max_turns:
        reply = await policy(tuple(turns))
        if not isinstance(reply, Reply):
            return Reasoning(turns=tuple(turns), stopped=reply)
        found = await tools.observe(scene, reply.step)
        turns.append(Turn(step=reply.step, observations=found, raw_reply=reply.raw_reply))
        if reply.step.signal == "end":
            break
    return Reasoning(turns=tuple(turns))


def not_offered(step: Step, offered: Sequence[Operator]) -> list[str]:
    """Return the operators that `step` calls and that are not offered."""
    names = {operator.name for operator in offered}
    return [name for name in step.operators if name not in names]
