"""Files that pretend to be pictures, or unpack into more than memory holds, get past nobody who opens one."""

import hashlib
import io
import struct
import zlib
from pathlib import Path

import pytest

from mmat_dagster.chat.scaling import UNREADABLE, prepare
from mmat_dagster.images import UnreadableImage, examine, quiet_decoders
from mmat_dagster.pixels import read_rgb
from mmat_dagster.schema import ImageRef
from mmat_dagster.training.process.pictures import Album, Unusable
from mmat_dagster.training.spec import Ingredient
from resources.operator_uploads import Refused, measure


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int) -> bytes:
    """Return a PNG that claims a size, with few bytes behind it."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


BOMBS = {
    "a PNG just above the limit": png(10_001, 10_000),
    "a PNG of gigapixels": png(60_000, 60_000),
    "a BMP of gigapixels": b"BM" + struct.pack("<IHHIIiiHH", 100, 0, 0, 54, 40, 60_000, 60_000, 1, 24) + bytes(24),
    "a PPM of gigapixels": b"P6\n60000 60000\n255\n",
}
PRETENDERS = {
    "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><image href='file:///etc/passwd'/></svg>",
    "a PostScript program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n",
    "a PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
    "a page": b"<!doctype html><script>alert(1)</script>",
    "an archive": b"PK\x03\x04" + bytes(60),
    "a pickle": b"\x80\x04\x95\x17\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "a film": b"\x00\x00\x00\x18ftypmp42" + bytes(40),
    "an icon": b"\x00\x00\x01\x00\x01\x00" + bytes(60),
    "an FLI": bytes(4) + b"\x11\xaf" + bytes(200),
}


@pytest.mark.parametrize("name", [*BOMBS, *PRETENDERS])
def test_nobody_opens_what_is_no_picture_or_too_large_a_one(name: str, tmp_path: Path) -> None:
    content = {**BOMBS, **PRETENDERS}[name]
    path = tmp_path / "a.png"
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    with pytest.raises(UnreadableImage):
        examine(content)
    with quiet_decoders(), pytest.raises(OSError):  # noqa: PT011  whatever Pillow says of it
        read_rgb(content)
    with quiet_decoders(), pytest.raises(UNREADABLE):
        prepare(path, sha256, max_side=2048, tiles=True, shelf=None)
    with pytest.raises(Refused):
        measure(io.BytesIO(content))
    data = Ingredient(source="tabmwp", dataset="rr_dialogues", fingerprint="f", images=str(tmp_path), shards=())
    with pytest.raises(Unusable) as unusable:
        Album([data], str(tmp_path)).open(
            "tabmwp", ImageRef(home="source", path="a.png", sha256=sha256, width=1, height=1)
        )
    assert unusable.value.reason == "unreadable image"
