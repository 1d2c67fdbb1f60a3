"""The faults of the teacher's server: drawn from a seed, the request's body and its attempt, whatever the order.

transport   per attempt        the connection or the server fails; nothing was paid for (except "reset in mid-body")
malformed   per attempt        paid for, and of no use
permanent   per conversation   every request that begins with the same user message fails, attempt after attempt
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import orjson

from tests.chat_server import OK, Body, ServerReply, error_reply
from tests.teacher_server_brain import root_of

Transport: TypeAlias = Literal[
    "429 with retry-after",
    "429 with retry-after-ms",
    "429 without",
    "500",
    "503",
    "reset in mid-body",
    "stall",
]
Malformed: TypeAlias = Literal["malformed JSON", "wrong schema", "cut at length", "empty"]
Permanent: TypeAlias = Literal["400", "content policy", "refusal", "context length"]
Fault: TypeAlias = Transport | Malformed | Permanent

TRANSPORT: tuple[Fault, ...] = get_args(Transport)
MALFORMED: tuple[Fault, ...] = get_args(Malformed)
PERMANENT: tuple[Fault, ...] = get_args(Permanent)

RATE_LIMITED = "rate_limit_exceeded"


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How likely each sort of fault is; inside a sort all kinds are equally likely, or those of `only` where given."""

    transport: float = 0.0
    malformed: float = 0.0
    permanent: float = 0.0
    only: tuple[Fault, ...] = ()
    retry_after_s: float = 1.0
    stall_s: float = 600.0

    def draw(self, body: Body, sha: str, attempt: int, seed: int) -> Fault | None:
        """Return the fault of this attempt (from 0) at the body whose canonical sha256 is `sha`, or None."""
        fault = self._pick(PERMANENT, self.permanent, _chance(seed, "root", root_of(body)))
        if fault is not None:
            return fault
        chance = _chance(seed, sha, str(attempt))
        fault = self._pick(TRANSPORT, self.transport, chance)
        if fault is not None:
            return fault
        return self._pick(MALFORMED, self.malformed, ((chance[0] - self.transport), chance[1]))

    def _pick(self, kinds: tuple[Fault, ...], probability: float, chance: tuple[float, int]) -> Fault | None:
        allowed = [kind for kind in kinds if not self.only or kind in self.only]
        if not allowed or not 0 <= chance[0] < probability:
            return None
        return allowed[chance[1] % len(allowed)]

    def replace_reply(self, fault: Fault) -> ServerReply | None:
        """Return the error that the server gives for `fault` instead of asking its script; None where it gives none."""
        again = f"{self.retry_after_s:g}", f"{self.retry_after_s * 1000:.0f}"
        too_many = "Rate limit reached for requests."
        replies: dict[Fault, ServerReply] = {
            "429 with retry-after": error_reply(429, too_many, RATE_LIMITED, {"retry-after": again[0]}),
            "429 with retry-after-ms": error_reply(429, too_many, RATE_LIMITED, {"retry-after-ms": again[1]}),
            "429 without": error_reply(429, too_many, RATE_LIMITED),
            "500": error_reply(500, "The server had an error while processing your request."),
            "503": error_reply(503, "The engine is currently overloaded, please try again later."),
            "400": error_reply(400, "Invalid request: the image cannot be processed."),
            "content policy": error_reply(400, "Your request was rejected.", "content_policy_violation"),
            "context length": error_reply(400, "This model's context is too short.", "context_length_exceeded"),
            "refusal": ServerReply(body=None, refusal="I cannot help with that."),
        }
        return replies.get(fault)


# What a long run has to live with.
USUAL_FAULTS = Faults(transport=0.05, malformed=0.02, permanent=0.005)


def spoil(reply: ServerReply, fault: Fault) -> ServerReply:
    """Return `reply` as `fault` leaves it: of no use where the fault is a malformed one, else as it was."""
    text = reply.body or ""
    if reply.raw or reply.status != OK:
        return reply
    spoilt: dict[Fault, ServerReply] = {
        "malformed JSON": replace(reply, body="{" + text),
        "wrong schema": replace(reply, body='{"surprise": 1}'),
        "cut at length": replace(reply, body=text[: len(text) // 2], finish_reason="length"),
        "empty": replace(reply, body=""),
    }
    return spoilt.get(fault, reply)


def canonical_sha(body: Body) -> str:
    """Return the sha256 of a request's body, whatever the order of its keys: the key of attempts and payments."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _chance(seed: int, *key: str) -> tuple[float, int]:
    digest = hashlib.sha256("\0".join((str(seed), *key)).encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64, int.from_bytes(digest[8:16])
