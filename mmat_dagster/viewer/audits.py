"""What the audit says of dialogues, where there is one: dataset `dialogue_audit`, one record an RR dialogue."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter

from mmat_dagster.interfaces import Store
from mmat_dagster.parts import Part
from mmat_dagster.schema import SourceName

AUDIT = "dialogue_audit"
MEASURES = ("coherence", "relevance", "accuracy", "completeness", "visual_integration")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A check that does not hold."""

    check: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Audit:
    """How good a dialogue is, by whom, and why; measures are None where no model judged."""

    id: str
    score: float
    reason: str
    judge: str
    coherence: float | None = None
    relevance: float | None = None
    accuracy: float | None = None
    completeness: float | None = None
    visual_integration: float | None = None
    findings: tuple[Finding, ...] = ()
    raw_reply: str | None = None

    @property
    def measures(self) -> Mapping[str, float]:
        """The measures that a model gave, by name."""
        return {name: getattr(self, name) for name in MEASURES if getattr(self, name) is not None}


class _Manifest(BaseModel):
    parts: tuple[Part, ...]


_AUDIT = TypeAdapter(Audit)


def audit_parts(store: Store, source: SourceName) -> tuple[Part, ...]:
    """Return the parts of a source's audit; none where there is no audit."""
    key = f"{AUDIT}/{source}/manifest.json"
    return _Manifest.model_validate_json(store.read(key)).parts if store.exists(key) else ()


def read_audit(row: dict[str, Any]) -> Audit:
    """Return a row of an audit's part."""
    audit: Audit = _AUDIT.validate_python(row)
    return audit
