"""Rationale: a teacher reasons towards the known answer, calling operators and search, turn by turn."""

from collections.abc import Sequence

from mmat_dagster.interfaces import Pictures, Reply, Teacher
from mmat_dagster.operators.looking import looks_at
from mmat_dagster.reasoning import Scene, Toolbox, not_offered, reason
from mmat_dagster.schema import Rationale, Rejection, RejectionReason, Sample, Turn

# At most so many assistant turns stand before the answer; a reflection needs two of them.
MAX_TURNS = 6
REFLECTION_TURNS = 2
# MMAT-1M: 205,682 searches in 1,090,263 rationales.
USUAL_SEARCHES = 0.19


async def write_rationale(
    sample: Sample,
    teacher: Teacher,
    tools: Toolbox,
    pictures: Pictures,
    max_turns: int = MAX_TURNS - REFLECTION_TURNS,
) -> Rationale | Rejection:
    """Let `teacher` reason about `sample` turn by turn until it is done, in at most `max_turns` turns."""
    scene = Scene(looks=looks_at(sample, pictures), question=sample.bare_question)
    offered = tools.offered(scene)

    async def next_step(turns: Sequence[Turn]) -> Reply | Rejection:
        reply = await teacher.next_step(sample, turns, offered)
        unknown = not_offered(reply.step, offered) if isinstance(reply, Reply) else []
        if unknown:
            return reject(sample, "operator not offered", f"step {len(turns) + 1} calls {', '.join(unknown)}")
        return reply

    reasoning = await reason(scene, next_step, tools, max_turns)
    if reasoning.stopped is not None:
        return reasoning.stopped
    if not reasoning.is_finished:
        return reject(sample, "turn limit reached", f"no final step in {max_turns} turns")
    return Rationale(sample=sample, turns=reasoning.turns, teacher=teacher.name)


def reject(sample: Sample, reason: RejectionReason, detail: str) -> Rejection:
    """Return the rejection of `sample` by this stage."""
    return Rejection(source=sample.source, record_id=sample.id, stage="rationales", reason=reason, detail=detail)
