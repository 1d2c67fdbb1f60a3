"""The release in the store: a folder by its key, and the manifest that points at it, written last.

dataset_release/manifest.json      which release is the current one
dataset_release/<key>/             its files
dataset_release/.<key>.writing/    one that is being written on this machine, or whose writing was cut off: the next
                                   one removes it
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from pydantic import TypeAdapter

from mmat_dagster.fingerprints import fingerprint
from mmat_dagster.interfaces import Store
from mmat_dagster.release.card import render_card
from mmat_dagster.release.croissant import render_croissant
from mmat_dagster.release.lines import NAMES
from mmat_dagster.release.plan import FORMS, SIDES, Form, Plan, ReleaseRefused, Side
from mmat_dagster.release.writing import DROPPED, Report, Written, write_rows
from mmat_dagster.schema import SourceName

FOLDER = "dataset_release"
MANIFEST = f"{FOLDER}/manifest.json"
CARD, CROISSANT = "README.md", "croissant.json"

Check = Callable[[Path], None]


@dataclass(frozen=True, kw_only=True)
class ReleasedFile:
    """A file of a release, images aside: its path in the folder, its size and its hash."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ReleasedPart:
    """A part with its licence, its dialogues and its images."""

    source: SourceName
    part: str
    licence: str
    is_commercial: bool
    rr: int
    orr: int
    images: int


@dataclass(frozen=True, kw_only=True)
class Release:
    """A finished release: what it is made of, and what was counted."""

    key: str
    splits: dict[Form, dict[Side, int]]
    images: int
    dropped: int
    audited: int
    good: int
    parts: tuple[ReleasedPart, ...]
    files: tuple[ReleasedFile, ...]

    @property
    def prefix(self) -> str:
        """The key prefix of the release in the store."""
        return f"{FOLDER}/{self.key}"

    @property
    def fingerprint(self) -> str:
        """What the release holds: equal for equal content."""
        return fingerprint(f"{file.path} {file.sha256}" for file in self.files)


_RELEASE = TypeAdapter(Release)


def read_release(store: Store) -> Release | None:
    """Return the current release, or None where there is none."""
    return _RELEASE.validate_json(store.read(MANIFEST)) if store.exists(MANIFEST) else None


def publish(plan: Plan, report: Report, check: Check | None = None) -> tuple[Release, bool]:
    """Make the release of a plan the current one in the store; say whether it was that already.

    `check` looks at the folder before it is switched to, and raises where something is wrong with it. What fails leaves
    the last release as it is. Raises ReleaseRefused where nothing can be released.
    """
    if not plan.data:
        raise ReleaseRefused(
            "there is nothing to release: no source has RR dialogues yet. Build them with: "
            "python -m mmat_dagster materialize orr_dialogues"
        )
    store = plan.store
    with store.exclusive(FOLDER):
        current = read_release(store)
        if current is not None and current.key == plan.key and store.exists(f"{current.prefix}/{CARD}"):
            return current, True
        with _folder(store.mirror / FOLDER, plan.key) as folder:
            release = _write(plan, folder, report)
            if check is not None:
                check(folder)
        _upload(store, release.prefix)
        store.write(MANIFEST, _RELEASE.dump_json(release, indent=1))
        for other in store.list_folders(FOLDER):
            if other != release.prefix:
                store.delete_below(other)
    return release, False


def local_folder(store: Store, release: Release) -> Path:
    """Return the release's folder on this machine, with all of its files."""
    store.bring(store.walk(release.prefix))
    return store.mirror / release.prefix


def _upload(store: Store, prefix: str) -> None:
    """Put the files of a folder of the mirror into the store, the card last: a release is there when its card is."""
    root, card = store.mirror, f"{prefix}/{CARD}"
    files = {path.relative_to(root).as_posix(): path for path in (root / prefix).rglob("*") if path.is_file()}
    last = files.pop(card)
    store.put_all(files)
    store.put_all({card: last})


def _write(plan: Plan, folder: Path, report: Report) -> Release:
    written = write_rows(plan, folder, report)
    shards = [shard.path for found in written.shards.values() for shard in found]
    hashes = {path: _hashed(folder / path) for path in (*NAMES.values(), *shards, DROPPED)}
    sizes = {path: size for path, (size, _) in hashes.items()}
    for name, text in (
        (CARD, render_card(plan, written, sizes)),
        (CROISSANT, render_croissant(written, hashes)),
    ):
        (folder / name).write_text(text, "utf-8")
        hashes[name] = _hashed(folder / name)
    return _release(plan, written, hashes)


def _release(plan: Plan, written: Written, hashes: dict[str, tuple[int, str]]) -> Release:
    statistics = written.statistics
    parts = (
        ReleasedPart(
            source=key.source,
            part=key.part,
            licence=key.licence,
            is_commercial=key.is_commercial,
            rr=statistics.dialogues_of("rr", [key]),
            orr=statistics.dialogues_of("orr", [key]),
            images=statistics.images_of([key]),
        )
        for key in statistics.parts
    )
    return Release(
        key=plan.key,
        splits={form: {side: statistics.dialogues(form, side) for side in SIDES} for form in FORMS},
        images=statistics.images,
        dropped=statistics.lost.total(),
        audited=statistics.audited,
        good=statistics.good,
        parts=tuple(parts),
        files=tuple(ReleasedFile(path=path, bytes=size, sha256=each) for path, (size, each) in sorted(hashes.items())),
    )


@contextmanager
def _folder(parent: Path, key: str) -> Iterator[Path]:
    """Yield an empty folder that has its name when the body ends, and is removed when it fails."""
    writing, place = parent / f".{key}.writing", parent / key
    for left in (*parent.glob(".*.writing"), place):
        shutil.rmtree(left, ignore_errors=True)
    writing.mkdir(parents=True)
    try:
        yield writing
        writing.rename(place)
    except BaseException:
        shutil.rmtree(writing, ignore_errors=True)
        raise


def _hashed(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, file_digest(file, "sha256").hexdigest()
