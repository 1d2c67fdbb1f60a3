"""The contract of operators over HTTP, as both ends hold it.

GET  /healthz               -> Health
GET  /v1/operators          -> Listing
POST /v1/operators/{name}   -> Answer     multipart/form-data: `image`, one file, and `parameters`, JSON as text

Whatever goes wrong is a Problem: {"error": {"code": "too_large", "message": "..."}}.
"""

import os
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SkipValidation

OPERATORS = "/v1/operators"
TOKEN_VARIABLE = "MMAT_OPERATOR_TOKEN"  # noqa: S105  the name of it
LOOPBACK: tuple[str, ...] = ("127.0.0.1", "localhost", "::1")
# Questions and phrases of the sources are far shorter; a model's prompt is not.
MAX_QUESTION = 20_000
MAX_PHRASES = 256
MAX_PHRASE = 2_000

Code: TypeAlias = Literal[
    "malformed",
    "unauthorized",
    "unknown",
    "method_not_allowed",
    "slow",
    "too_large",
    "not_an_image",
    "misdirected",
    "unreadable",
    "failed",
    "internal",
    "busy",
    "unavailable",
]


class Parameters(BaseModel):
    """What is asked of the image; both may be empty."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: str = Field(default="", max_length=MAX_QUESTION, description="What the image is looked at for.")
    phrases: list[Annotated[str, Field(max_length=MAX_PHRASE)]] = Field(
        default_factory=list, max_length=MAX_PHRASES, description="The things to find in it."
    )


class Upload(BaseModel):
    """The parts of a request: a file, and an object that goes as JSON text, as objects in a form do in OpenAPI."""

    model_config = ConfigDict(extra="forbid")

    image: Annotated[bytes, SkipValidation] = Field(description="An image file; its name and type do not matter.")
    parameters: Parameters = Field(default_factory=Parameters)

    @classmethod
    def schema_of_form(cls) -> dict[str, Any]:
        """Return the JSON schema of the form, whole in itself."""
        schema = cls.model_json_schema()
        schema["properties"]["parameters"] = schema.pop("$defs")["Parameters"]
        return schema


class Answer(BaseModel):
    """What an operator found; `text` as the wire form tells it, `details` the same for programs."""

    operator: str
    version: str
    text: str
    details: JsonValue = None


class Described(BaseModel):
    """An operator that is served; `version` is what decides its results besides the image and what is asked."""

    name: str
    purpose: str
    version: str = Field(min_length=1)


class Listing(BaseModel):
    """The operators that are served, in order of their names."""

    operators: list[Described]


class Health(BaseModel):
    """The server is up; whether its models load is told by the first look."""

    status: Literal["ok"] = "ok"


class Trouble(BaseModel):
    """What went wrong: `code` for programs, `message` for people."""

    code: Code
    message: str


class Problem(BaseModel):
    """The body of every answer that is no success."""

    error: Trouble


def is_allowed(netloc: str, allowed: Sequence[str], default_port: int | None = None) -> bool:
    """Say whether `netloc`, as a URL or a Host header has it, is one of `allowed`: each a host, or a host:port."""
    try:
        known = {_parted(each) for each in allowed}
        host, port = _parted(netloc)
    except ValueError:
        return False
    return bool(host) and ((host, None) in known or (host, port or default_port) in known)


def token_of_environment() -> str | None:
    """Return the token that the environment holds, if it holds one."""
    return os.environ.get(TOKEN_VARIABLE, "").strip() or None


def _parted(netloc: str) -> tuple[str, int | None]:
    """Return host and port; a bare IPv6 address needs no brackets."""
    if netloc.count(":") > 1 and not netloc.startswith("["):
        netloc = f"[{netloc}]"
    parts = urlsplit(f"//{netloc}")
    if parts.netloc != netloc or parts.username is not None:
        raise ValueError("this is more than a host and a port")
    return (parts.hostname or "").rstrip("."), parts.port
