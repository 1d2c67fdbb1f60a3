"""What is released, and the choices that were made: together they decide every byte of a release."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

import orjson

from mmat_dagster.fingerprints import code_fingerprint, fingerprint
from mmat_dagster.interfaces import Pictures, Store
from mmat_dagster.parts import Manifest, read_manifest
from mmat_dagster.release.audits import find_audit
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
    """What the store holds of one source; `losses` are the manifests of what its dialogues stand on, too."""

    source: SourceName
    dialogues: dict[Form, Manifest]
    below: tuple[Manifest, ...] = ()
    audit: Manifest | None = None

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
    """Return what there is of each source; a source without RR dialogues is none."""
    return tuple(filter(None, (_find_source(store, source) for source in sources)))


def _find_source(store: Store, source: SourceName) -> SourceData | None:
    found = {form: read_manifest(store, dataset, source) for form, dataset in DATASETS.items()}
    if found["rr"] is None:
        return None
    below = (read_manifest(store, dataset, source) for dataset in ("source_qa", "rationales"))
    return SourceData(
        source=source,
        dialogues={form: manifest for form, manifest in found.items() if manifest is not None},
        below=tuple(manifest for manifest in below if manifest is not None),
        audit=find_audit(store, source),
    )


def _json(record: object) -> str:
    plain = record if isinstance(record, dict) else asdict(record)  # type: ignore[call-overload]
    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS).decode()
