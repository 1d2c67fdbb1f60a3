"""The judge that is prompted: a chat model reads a dialogue beside its images and scores it.

One call a dialogue, system | images + question + gold answer + dialogue. A reply that cannot be used is told what is
wrong with it and asked for once more.
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from mmat_dagster import prompts
from mmat_dagster.chat.asking import malformed, parse_json
from mmat_dagster.chat.prompting import CHAT_CODE, Prompting
from mmat_dagster.chat.schemas import reply_schema
from mmat_dagster.fingerprints import code_fingerprint
from mmat_dagster.interfaces import ChatTurn, Judge, Judgement, Pictures, RowError
from mmat_dagster.schema import Dialogue, Sample
from mmat_dagster.teachers.requests import render_context, render_dialogue, with_images

PROMPTS = ("audit_judge", "audit_dialogue", "repair")
CODE = ("judges/*.py", "teachers/requests.py", *CHAT_CODE)


class JudgementReply(BaseModel):
    """The judgement as the model writes it: what it saw first, then the numbers."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    reason: str
    coherence: float
    relevance: float
    accuracy: float
    completeness: float
    visual_integration: float
    score: float


JUDGEMENT = reply_schema("judgement", JudgementReply)


class PromptedJudge(Prompting, Judge):
    """A judge over a chat model."""

    @property
    def version(self) -> str:
        """The model with its parameters, and the fingerprints of code and prompts.

        Changed code asks nothing anew: the replies are in the model's ledger, and are read again.
        """
        return f"{self._model.version} prompts={prompts.fingerprint(*PROMPTS)} code={code_fingerprint(*CODE)}"

    async def judge(self, dialogue: Dialogue) -> Judgement | RowError:
        """Ask for a judgement of `dialogue`."""
        messages = render_judgement(dialogue, self._pictures)
        return await self._ask(messages, JUDGEMENT, parse_judgement)


def render_judgement(dialogue: Dialogue, pictures: Pictures) -> tuple[ChatTurn, ...]:
    """Render the request to judge `dialogue`."""
    sample, transcript = dialogue.sample, dialogue.transcript
    text = prompts.render(
        "audit_dialogue",
        context=render_context(sample),
        question=sample.question,
        gold=_gold(sample),
        dialogue=render_dialogue(transcript.turns),
        answer=transcript.answer,
    )
    return (ChatTurn(role="system", text=prompts.render("audit_judge")), with_images(sample, pictures, text))


def parse_judgement(text: str) -> Judgement | RowError:
    """Read a judgement and keep the raw words next to it."""
    reply = parse_json(text, JudgementReply)
    if isinstance(reply, RowError):
        return reply
    fault = _fault(reply)
    return malformed(text, fault) if fault else Judgement(**_told(reply), reason=reply.reason.strip(), raw_reply=text)


def _fault(reply: JudgementReply) -> str | None:
    if not reply.reason.strip():
        return "an empty reason"
    beyond = [name for name, value in _told(reply).items() if not 0.0 <= value <= 1.0]
    return f"{', '.join(beyond)}: not between 0.0 and 1.0" if beyond else None


def _told(reply: JudgementReply) -> Mapping[str, float]:
    return reply.model_dump(exclude={"reason"})


def _gold(sample: Sample) -> str:
    if sample.number_range is None:
        return "\n".join(sample.answers)
    low, high = sample.number_range
    return f"any number from {low:g} to {high:g}, such as {sample.answers[0]}"
