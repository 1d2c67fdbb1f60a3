"""Audit: how good each RR dialogue is, by deterministic checks and, where there is one, by a judge.

Nothing is ever lost here: a dialogue whose judge gave no usable reply is scored by the checks, and says so. Of a source
a sample may be judged instead of all: those whose ids have the lowest hashes, the same ones in every run.
"""

import hashlib
import heapq
from collections.abc import Iterable, Sequence

from mmat_dagster.audit import SELF_EVIDENT
from mmat_dagster.audit.check import find_all
from mmat_dagster.interfaces import Judge, Judgement, RowError
from mmat_dagster.schema import AuditFinding, Dialogue, DialogueAudit

# Who judged where no model did.
CHECKS = "checks"
JUDGE_REPLIED = "judge_replied"
# Changed, another sample of a source is judged.
SEED = 42

_WEIGHTS = {check.name: check.weight for check in SELF_EVIDENT}


async def audit(dialogue: Dialogue, judge: Judge | None) -> DialogueAudit:
    """Return the audit of `dialogue`; without a `judge` it is scored by the checks alone."""
    findings = tuple(find_all(SELF_EVIDENT, dialogue))
    if judge is None:
        return audit_by_checks(dialogue, findings)
    judgement = await judge.judge(dialogue)
    if isinstance(judgement, RowError):
        unjudged = AuditFinding(check=JUDGE_REPLIED, detail=f"{judge.name}: {judgement.reason}: {judgement.detail}")
        return audit_by_checks(dialogue, (*findings, unjudged))
    return _judged(dialogue, findings, judgement, judge.name)


def audit_by_checks(dialogue: Dialogue, findings: Sequence[AuditFinding]) -> DialogueAudit:
    """Return the audit of a dialogue that no model has judged."""
    return DialogueAudit(
        id=dialogue.id,
        source=dialogue.source,
        score=score_by_checks(findings),
        reason=_reason(findings),
        judge=CHECKS,
        coherence=None,
        relevance=None,
        accuracy=None,
        completeness=None,
        visual_integration=None,
        findings=tuple(findings),
        raw_reply=None,
    )


def score_by_checks(findings: Iterable[AuditFinding]) -> float:
    """Return 1.0 less the weight of every check that does not hold, each counted once; never below 0.0."""
    failed = {finding.check for finding in findings}
    return round(max(0.0, 1.0 - sum(_WEIGHTS.get(check, 0.0) for check in failed)), 4)


def rank(record_id: str) -> int:
    """Return where an id stands in the order in which a source's dialogues are judged."""
    digest = hashlib.blake2b(f"{SEED} {record_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=False)


def last_rank(ids: Iterable[str], count: int) -> int:
    """Return the rank up to which `count` of `ids` are judged; holds no more than `count` of them in memory."""
    return max(heapq.nsmallest(count, map(rank, ids)), default=-1)


def _judged(dialogue: Dialogue, findings: tuple[AuditFinding, ...], judgement: Judgement, judge: str) -> DialogueAudit:
    most = score_by_checks(findings)
    lowered = f" Lowered from {judgement.score:g}: {_reason(findings)}" if judgement.score > most else ""
    return DialogueAudit(
        id=dialogue.id,
        source=dialogue.source,
        score=min(judgement.score, most),
        reason=judgement.reason + lowered,
        judge=judge,
        coherence=judgement.coherence,
        relevance=judgement.relevance,
        accuracy=judgement.accuracy,
        completeness=judgement.completeness,
        visual_integration=judgement.visual_integration,
        findings=findings,
        raw_reply=judgement.raw_reply,
    )


def _reason(findings: Sequence[AuditFinding]) -> str:
    """Return in words what the checks say."""
    told = "; ".join(f"{finding.check.replace('_', ' ')}: {finding.detail}" for finding in findings)
    if not told:
        return "Every check holds."
    counted = [finding for finding in findings if finding.check in _WEIGHTS]
    return f"Does not hold: {told}." if counted else f"Every check holds; {told}."
