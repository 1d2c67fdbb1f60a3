"""What Google's errors mean: the class of an error response, told by its status, reasons and quotas.

400 badRequest                                        this query's own fault: kept
400 API_KEY_INVALID, 401, 403, 404, 410               no query can work
429 or 403, a quota per day                           no query can work before midnight, Pacific time
429 or 403, a quota per minute, 5xx                   may pass
"""

import re
from collections.abc import Mapping

from pydantic import BaseModel, Field, ValidationError

from mmat_dagster.ledger.accounts import Paid
from resources.outcomes import Again, Answered, Hopeless, Outcome

SAID_CHARS = 300
LONGEST_PAUSE_S = 120.0
OF_THIS_QUERY = frozenset({400, 413, 414, 422})
TRANSIENT = frozenset({408, 409, 425})
BAD_KEY = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED", "keyInvalid", "keyExpired", "authError"})
DAILY = frozenset({"dailyLimitExceeded", "dailyLimitExceededUnreg", "quotaExceeded"})
TOO_FAST = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"})
NOT_ENABLED = frozenset({"accessNotConfigured", "SERVICE_DISABLED"})
_PER_DAY = re.compile(r"per[\s_-]?day|/d\b|daily limit", re.IGNORECASE)

QUOTA_USED_UP = (
    "the day's quota of Google search is used up; it is renewed at midnight Pacific time; run again then: what was "
    "found is kept"
)
REFUSED_KEY = "refuses the key: export a valid GOOGLE_API_KEY"
HOPELESS: Mapping[int, str] = {
    401: REFUSED_KEY,
    403: "denies this key the search: export a GOOGLE_API_KEY whose project and restrictions allow Custom Search",
    404: "does not know this search engine: check `engine_id` (GOOGLE_CSE_ID) and `endpoint`",
    410: "is not there any more: set `endpoint` to a server with the same contract, or choose another search",
}


class Detail(BaseModel):
    """One of the details of an error: why, which quota, and when to come back."""

    reason: str = ""
    metadata: dict[str, object] = {}
    retry_delay: str = Field(default="", alias="retryDelay")


class Cause(BaseModel):
    """The older form of a reason."""

    reason: str = ""


class Fault(BaseModel):
    """What an error response tells."""

    message: str = ""
    errors: list[Cause] = []
    details: list[Detail] = []

    @property
    def reasons(self) -> set[str]:
        """All reasons that are told, in the newer and the older form."""
        return {each.reason for each in self.errors} | {each.reason for each in self.details}

    @property
    def is_daily(self) -> bool:
        """Whether it is the day's quota that is used up."""
        quotas = [str(each.metadata.get(name, "")) for each in self.details for name in ("quota_limit", "quota_unit")]
        return bool(self.reasons & DAILY) or any(_PER_DAY.search(told) for told in (*quotas, self.message))

    @property
    def retry_s(self) -> float | None:
        """The pause that it asks for, in seconds."""
        return next((_seconds(each.retry_delay.removesuffix("s")) for each in self.details if each.retry_delay), None)


class ErrorBody(BaseModel):
    """The body of an error response."""

    error: Fault


def read_fault(body: bytes) -> Fault:
    """Return what an error response tells, or its text where it is not in the API's form."""
    try:
        return ErrorBody.model_validate_json(body).error
    except ValidationError:
        return Fault(message=body.decode(errors="replace").strip())


def classify(name: str, status: int, body: bytes, headers: Mapping[str, str]) -> Outcome:
    """Return the class of a response of the server `name` that is not 200; `body` is free of the key."""
    fault = read_fault(body)
    said = " ".join(fault.message.split())[:SAID_CHARS]
    if status in (403, 429) and fault.is_daily:
        return Hopeless(advice=QUOTA_USED_UP)
    if status == 429 or (status == 403 and fault.reasons & TOO_FAST):
        return Again(kind="limit", said=said or str(status), after_s=_after_s(headers, fault))
    if status in TRANSIENT or status >= 500:
        return Again(kind="transient", said=f"status {status} {said}".strip(), after_s=_after_s(headers, fault))
    if fault.reasons & BAD_KEY or (status in OF_THIS_QUERY and "API key" in said):
        return Hopeless(advice=f"{name} {REFUSED_KEY}")
    if status in OF_THIS_QUERY:
        return Answered(status=status, body=body, paid=Paid(), request_id=None, seen=None)
    return Hopeless(advice=_advice(name, status, fault.reasons, said))


def _advice(name: str, status: int, reasons: set[str], said: str) -> str:
    if 300 <= status < 400:
        return (
            f"{name} sends elsewhere (status {status}), and no key is sent after it: set `endpoint` to where it leads"
        )
    told = f" ({said})" if said and status != 401 else ""
    if reasons & NOT_ENABLED:
        return (
            f"{name} is not enabled for this key: enable the Custom Search API in the project of GOOGLE_API_KEY{told}"
        )
    other = f"does not speak the Custom Search JSON API (status {status}): check `endpoint`"
    return f"{name} {HOPELESS.get(status, other)}{told}"


def _after_s(headers: Mapping[str, str], fault: Fault) -> float | None:
    told = _seconds(headers.get("Retry-After", ""))
    after_s = fault.retry_s if told is None else told
    return None if after_s is None else min(max(0.0, after_s), LONGEST_PAUSE_S)


def _seconds(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text.strip()) else None
