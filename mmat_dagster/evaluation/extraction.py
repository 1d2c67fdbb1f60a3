"""Has a chat model take answers out of what students say, where a benchmark's publisher does so too (MathVista).

Optional: it costs money, and is asked through the reply ledger like everything else. The verdict stays the rule's.
"""

from pydantic import BaseModel, ConfigDict

from mmat_dagster import prompts
from mmat_dagster.chat.asking import ask, parse_json
from mmat_dagster.chat.schemas import reply_schema
from mmat_dagster.evaluation.questions import Question
from mmat_dagster.interfaces import ChatModel, ChatTurn, RowError


class ExtractionReply(BaseModel):
    """The answer that a reply gives; None where it gives none."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    answer: str | None = None


SCHEMA = reply_schema("extraction", ExtractionReply)


async def extract_answer(question: Question, response: str, model: ChatModel) -> str | None:
    """Return the answer that `model` finds in `response`; None where it finds none, or gives no usable reply.

    Raises what `ChatModel.complete` raises.
    """
    if not response.strip():
        return None
    asked = prompts.render("extract_answer", question=question.text, reply=response)
    turns = (ChatTurn(role="user", text=asked),)
    found = await ask(model, turns, SCHEMA, lambda text: parse_json(text, ExtractionReply))
    return None if isinstance(found, RowError) else found.answer
