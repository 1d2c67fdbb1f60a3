"""What is released, and the choices that were made: together they decide every byte of a release."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

import orjson

from mmat_dagster.fingerprints import code_fingerprint, fingerprint
from mmat_dagster.interfaces import Pictures, Store
from mmat_dagster.parts import Manifest, read_manifest
from mmat_dagster.release.provenance import Facts
from mmat_dagster.schema import DatasetName, SourceName

Form = Literal["rr", "orr"]
Side = Literal["train", "val"]
FORMS: tuple[Form, ...] = get_args(Form)
SIDES: tuple[Side, ...] = get_args(Side)
DATASETS: dict[Form, DatasetName] = {"rr": "rr_dialogues", "orr": "orr_dialogues"}
CODE = ("release/*.py", "licences.py", "licensed_parts.py", "splits.py", "media_marks.py")


class ReleaseRefused(Exception):
    """The release cannot be made as it was asked for; the last one stays as it is."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How a release is made. `val_share` is that of the images; the paper has a val set and does not tell its share."""

    val_share: float = 0.02
    shard_bytes: int = 500_000_000
    embeds_images: bool = True
    copies_images: bool = True
    only_commercial: bool = False
    min_audit_score: float | None = None
    good_score: float = 0.7


@dataclass(frozen=True, kw_only=True)
class SourceData:
    """What the store holds of one source; `below` are the manifests of what its dialogues stand on, for their losses.

    An audit of other dialogues than these is left out, and `has_old_audit` says so.
    """

    source: SourceName
    dialogues: dict[Form, Manifest]
    below: tuple[Manifest, ...] = ()
    audit: Manifest | None = None
    has_old_audit: bool = False

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """All manifests, those first that the others stand on."""
        return (*self.below, *self.dialogues.values())


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A release to be made."""

    store: Store
    pictures: Pictures
    data: Sequence[SourceData]
    choices: Choices = Choices()
    facts: Facts = field(default_factory=Facts)

    @property
    def key(self) -> str:
        """The fingerprint of everything that decides the release."""
        return fingerprint([code_fingerprint(*CODE), _json(self.choices), _json(self.facts), *self._states()])

    def _states(self) -> Iterator[str]:
        for each in self.data:
            yield from (f"{each.source} {manifest.dataset} {manifest.fingerprint}" for manifest in each.manifests)
            yield from (_json(dict(sorted(manifest.rejected.items()))) for manifest in each.manifests)
            yield each.audit.fingerprint if each.audit else ""


def find_data(store: Store, sources: Sequence[SourceName] = get_args(SourceName)) -> tuple[SourceData, ...]:
    """Return what there is of each source; a source without RR dialogues is none.

    Raises ReleaseRefused where ORR dialogues were made from other RR dialogues than there are now.
    """
    return tuple(filter(None, (_find_source(store, source) for source in sources)))


def _find_source(store: Store, source: SourceName) -> SourceData | None:
    rr, orr = (read_manifest(store, DATASETS[form], source) for form in FORMS)
    if rr is None:
        return None
    if orr is not None and not orr.is_made_from(rr):
        raise ReleaseRefused(
            f"orr_dialogues of {source} were made from other RR dialogues than there are now. Run first: "
            f"python -m mmat_dagster materialize orr_dialogues --source {source}"
        )
    audit = read_manifest(store, "dialogue_audit", source)
    is_old = audit is not None and not audit.is_made_from(rr)
    below = (read_manifest(store, dataset, source) for dataset in ("source_qa", "rationales"))
    return SourceData(
        source=source,
        dialogues={"rr": rr} if orr is None else {"rr": rr, "orr": orr},
        below=tuple(manifest for manifest in below if manifest is not None),
        audit=None if is_old else audit,
        has_old_audit=is_old,
    )


def _json(record: object) -> str:
    plain = record if isinstance(record, dict) else asdict(record)  # type: ignore[call-overload]
    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS).decode()
