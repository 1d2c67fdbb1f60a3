"""Parts of records that no stage made."""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Any, TypeVar

from mmat_dagster.interfaces import Store
from mmat_dagster.parts import Part, PartDraft
from mmat_dagster.schema import Rejection

Record = TypeVar("Record")
NOTHING: Mapping[str, int] = MappingProxyType({})


def write_part(
    store: Store,
    key: str,
    kept: Iterable[Record],
    record: type[Record],
    counted: Mapping[str, int] = NOTHING,
    *,
    lost: Iterable[Rejection] = (),
    facets: Callable[[Any], Iterable[str]] = lambda _: (),
) -> Part:
    """Write a part whose census is what was `counted`, and what `facets` names."""
    draft = PartDraft(record, facets)
    for each in chain[Record | Rejection](kept, lost):
        draft.add(each)
    return draft.write(store, key, counted)
