"""Whatever a record, a manifest or a release says a file is called, nothing outside its folder is read or written."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.export.dialogues import NotExportable
from mmat_dagster.export.image_files import ImageFiles
from mmat_dagster.images import PicturesOnDisk
from mmat_dagster.parts import Manifest, Part, publish, read_rejected
from mmat_dagster.release.pictures import ImageLost, PictureReader
from mmat_dagster.roots import OutsideRoot, below
from mmat_dagster.schema import ImageHome, ImageRef, SourceName
from mmat_dagster.training.checkpoints import read_current
from mmat_dagster.training.process.pictures import Album, Unusable
from mmat_dagster.training.spec import Ingredient
from mmat_dagster.viewer.folder import ReadOnlyFolder
from mmat_dagster.viewer.gallery import Gallery
from resources.store import LocalStore
from tests.operator_peers import picture

SECRET = picture()
SHA256 = hashlib.sha256(SECRET).hexdigest()
HOMES: tuple[ImageHome, ...] = ("source", "store")
SOURCE: SourceName = "tabmwp"


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    """Return names that lead from the folders of a source and of a store to a picture beside both."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(SECRET)
    for folder in (tmp_path / "sources" / SOURCE / "tables", tmp_path / "store" / "tables"):
        folder.mkdir(parents=True)
        (folder.parent / "deep").symlink_to(folder, target_is_directory=True)
    up = ["../secret.png", "../../secret.png", "tables/../../../secret.png", "tables/../../secret.png"]
    return [*up, "./../secret.png", ".././../secret.png", str(secret), f"/{secret}", "deep/../../secret.png"]


def image(home: ImageHome, path: str) -> ImageRef:
    return ImageRef(home=home, path=path, sha256=SHA256, width=1, height=1)


def naming(shown: ImageRef) -> Callable[[str], tuple[SourceName, ImageRef]]:
    """Return what finds `shown` for every hash."""
    return lambda sha256: (SOURCE, shown)


def pictures(folder: Path) -> PicturesOnDisk:
    return PicturesOnDisk(source_root=folder / "sources", store_root=folder / "store")


def test_no_picture_outside_is_released_exported_shown_or_trained_on(tmp_path: Path, names: list[str]) -> None:
    found = pictures(tmp_path)
    folder = str(tmp_path / "sources" / SOURCE)
    data = Ingredient(source=SOURCE, dataset="rr_dialogues", fingerprint="f", images=folder, shards=())
    for home in HOMES:
        for name in names:
            outside = image(home, name)
            with pytest.raises(OSError):  # noqa: PT011  it is not there, or outside
                found.locate(SOURCE, outside).read_bytes()
            with pytest.raises(ImageLost, match="missing image"):
                PictureReader(pictures=found).read(SOURCE, outside)
            with pytest.raises(NotExportable, match="missing image"):
                ImageFiles(pictures=found).find(SOURCE, outside)
            assert Gallery(found, naming(outside)).show(SHA256, "thumb") is None
            with pytest.raises(Unusable) as unusable:
                Album([data], str(tmp_path / "store")).open(SOURCE, outside)
            assert unusable.value.reason == "missing image"


def test_no_file_outside_a_store_is_read_written_or_removed(tmp_path: Path, names: list[str]) -> None:
    root, secret = tmp_path / "store", tmp_path / "secret.png"
    writable = LocalStore(root=str(root))
    for name in names:
        for store in (writable, ReadOnlyFolder(root)):
            for use in (store.locate, store.exists, store.read, store.list_keys):
                assert _refuses(use, name)
        assert _refuses(writable.write, name, b"taken")
        assert _refuses(writable.put, name, secret)
        assert _refuses(writable.delete, name)
        assert _refuses(writable.exclusive(name).__enter__)
    assert secret.read_bytes() == SECRET
    assert sorted(each.name for each in tmp_path.iterdir()) == ["secret.png", "sources", "store"]


def test_a_manifest_that_names_files_elsewhere_reads_none(tmp_path: Path) -> None:
    store = LocalStore(root=str(tmp_path / "store"))
    (tmp_path / "taken.rejected.parquet").write_bytes(b"PAR1")
    part = Part(name="../../../taken", rows=1, rejected={}, census={}, sha256="")
    manifest = Manifest(dataset="source_qa", source=SOURCE, key="k", parts=(part,))
    publish(store, manifest)
    with pytest.raises(OutsideRoot):
        list(read_rejected(store, manifest))


def test_a_checkpoint_that_lies_elsewhere_is_not_read(tmp_path: Path) -> None:
    store = LocalStore(root=str(tmp_path / "store"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "checkpoint.json").write_text("{}")
    pointer = '{"student": "s", "key": "k", "folder": "../mine", "fingerprint": "f"}'
    store.write("rr_checkpoint/tabmwp/manifest.json", pointer.encode())
    with pytest.raises(OutsideRoot):
        read_current(store, "rr_checkpoint", "tabmwp")


PIECES = st.sampled_from(
    ["..", ".", "", "a", "deep", "\0", "~", "..\\..", "C:\\", "%2e%2e", "\u2024.", "a" * 300, "\n"]
)


@given(pieces=st.lists(PIECES, max_size=8), is_absolute=st.booleans())
def test_any_name_stays_inside_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], is_absolute: bool
) -> None:
    root = tmp_path_factory.getbasetemp() / "any" / "root"
    (root / "a").mkdir(parents=True, exist_ok=True)
    name = "/" * is_absolute + "/".join(pieces)
    try:
        path = below(root, name)
    except OutsideRoot:
        return
    assert Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
    assert Path(os.path.normpath(path)).is_relative_to(root)


@pytest.mark.parametrize("name", ["a.png", "a/../b.png", "a/./b.png", "..b.png", "a..b/c", "a/../..b.png", "\\.."])
def test_a_name_that_stays_inside_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").mkdir()
    assert below(tmp_path, name) == tmp_path / name


def _refuses(use: Callable[..., object], *arguments: object) -> bool:
    try:
        return use(*arguments) in (False, [])
    except (FileNotFoundError, OutsideRoot):
        return True
