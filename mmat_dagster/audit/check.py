"""A deterministic check: a statement about a record that holds, or the details of why it does not."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mmat_dagster.schema import AuditFinding

# So much of a text is shown in a finding.
SHOWN_CHARS = 120

Subject = TypeVar("Subject")


@dataclass(frozen=True, kw_only=True)
class Check(Generic[Subject]):
    """`name` and `description` state what holds; `find` yields a detail for each way in which it does not.

    `weight` is what a failure takes from the score of an audit, 1.0 being all of it.
    """

    name: str
    description: str
    find: Callable[[Subject], Iterable[str]]
    weight: float = 0.0


def find_all(checks: Sequence[Check[Subject]], subject: Subject) -> Iterator[AuditFinding]:
    """Yield what does not hold of `subject`, in the order of `checks`."""
    for check in checks:
        for detail in check.find(subject):
            yield AuditFinding(check=check.name, detail=detail)


def shown(text: str) -> str:
    """Return the beginning of `text`, quoted and on one line."""
    return repr(text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]} …")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a check found in many records: how many do not hold, and the first ones by id, each with its details."""

    checked: int
    failed: int
    first: Mapping[str, str]


def check_all(
    checks: Sequence[Check[Subject]], subjects: Iterable[Subject], id_of: Callable[[Subject], str], named: int
) -> Mapping[str, Outcome]:
    """Return the outcome of every check, by name, after one pass over `subjects`; `named` of the failed are named."""
    checked, failed = 0, Counter[str]()
    first: dict[str, dict[str, str]] = {check.name: {} for check in checks}
    for subject in subjects:
        checked += 1
        for check in checks:
            details = "; ".join(check.find(subject))
            if details:
                failed[check.name] += 1
                if len(first[check.name]) < named:
                    first[check.name][id_of(subject)] = details
    return {name: Outcome(checked=checked, failed=failed[name], first=told) for name, told in first.items()}
