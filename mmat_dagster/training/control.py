"""The control that RR and ORR are compared with: the same question and operator results, and nothing but the answer."""

from collections.abc import Sequence

from mmat_dagster import wire
from mmat_dagster.schema import Message


def answer_only(messages: Sequence[Message]) -> tuple[Message, Message]:
    """Return an ORR dialogue's user turn and its bare answer, without the system prompt, which asks for more."""
    return messages[1], Message(role="assistant", content=wire.parse_orr(messages).answer)
