"""Damages to the files beside the annotations: images, Parquet files and what a file system can hold in their place."""

import gzip
import io
import os
import struct
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mmat_dagster.schema import RejectionReason, SourceName
from tests.damages import OUTSIDE, Damage, Do, change, lost, sound
from tests.sound_sources import GEOMETRY, IMAGE, SHAPE, SIGNS, TEXT, image_of, png, rows, write_rows

SIZE = (64, 48)
NOISE = Image.effect_noise(SIZE, 90)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><rect width="10" height="10"/></svg>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\n(x) run\n%%EOF\n"
# The EXIF tag that tells how a photo is to be turned; 6 is a quarter turn.
ORIENTATION = 0x0112


def encoded(kind: str, picture: Image.Image = NOISE, **options: Any) -> bytes:
    """Return `picture` as the bytes of an image file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """Return a PNG file that says to be of this size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def put_image(data: bytes) -> Do:
    """Return a damage that gives record 2 of visual_cot an image of these bytes."""
    return lambda folder: (folder / image_of("visual_cot", 2)).write_bytes(data)


def in_place_of_image(put: Do) -> Do:
    """Return a damage that takes the image of record 2 of tabmwp away and puts something else there."""

    def do(folder: Path) -> None:
        path = folder / image_of("tabmwp", 2)
        path.unlink()
        put(path)

    return do


def _animated(kind: str) -> bytes:
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "green", "blue")]
    return encoded(kind, frames[0], save_all=True, append_images=frames[1:], duration=50)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return encoded("JPEG", exif=exif)


def _flipped(data: bytes, at: float) -> bytes:
    place = int(len(data) * at)
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def _cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


BYTES: dict[str, bytes] = {
    "zero bytes": b"",
    "one byte": b"\x89",
    "noise": bytes(range(256)) * 4,
    "a truncated PNG": _cut(encoded("PNG")),
    "a truncated JPEG": _cut(encoded("JPEG")),
    "a truncated GIF": _cut(encoded("GIF", NOISE.convert("P"))),
    "a truncated WebP": _cut(encoded("WEBP", NOISE.convert("RGB"))),
    "a truncated TIFF": _cut(encoded("TIFF")),
    "a PNG with a flipped byte": _flipped(encoded("PNG"), 0.5),
    "a PNG's header alone": encoded("PNG")[:33],
    "a PNG of 20,000 by 20,000": png_header(20_000, 20_000),
    "a PNG of 2,000,000,000 by 2,000,000,000": png_header(2_000_000_000, 2_000_000_000),
    "a PNG of no width": png_header(0, 30),
    "a drawing in SVG": SVG,
    "a program in PostScript": EPS,
    "a page of HTML": b"<!doctype html><title>404 Not Found</title>",
    "a compressed PNG": gzip.compress(encoded("PNG"), mtime=0),
}
TREES: dict[str, tuple[Do, RejectionReason]] = {
    "nothing": (lambda path: None, "missing image"),
    "a folder": (Path.mkdir, "missing image"),
    "a pipe": (os.mkfifo, "missing image"),
    "a link to nowhere": (lambda path: path.symlink_to("nowhere.png"), "missing image"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "unreadable image"),
    "a link out of the folder": (lambda path: path.symlink_to("/etc/passwd"), "image outside the source folder"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "image outside the source folder"),
}
SOUND: dict[str, tuple[bytes, tuple[int, int]]] = {
    "a JPEG of four inks": (encoded("JPEG", NOISE.convert("CMYK")), SIZE),
    "a PNG of 16 bits": (encoded("PNG", Image.new("I;16", SIZE, 40_000)), SIZE),
    "a PNG of one bit": (encoded("PNG", NOISE.convert("1")), SIZE),
    "a PNG with a transparent palette": (encoded("PNG", NOISE.convert("P"), transparency=0), SIZE),
    "a progressive JPEG": (encoded("JPEG", progressive=True), SIZE),
    "an animated GIF": (_animated("GIF"), SIZE),
    "an animated WebP": (_animated("WEBP"), SIZE),
    "an animated PNG": (_animated("PNG"), SIZE),
    "a photo that lies on its side": (_turned(), (48, 64)),
    "a JPEG that is named .png": (encoded("JPEG"), SIZE),
    "an image with more behind its end": (encoded("PNG") + b"more", SIZE),
}
IMAGES = (
    *(
        lost(f"{name} as an image", "visual_cot", put_image(data), "unreadable image", "2.png")
        for name, data in BYTES.items()
    ),
    *(
        sound(f"{name} as an image", "visual_cot", put_image(data), changed=(2,), size=size)
        for name, (data, size) in SOUND.items()
    ),
    *(
        lost(f"{name} in place of an image", "tabmwp", in_place_of_image(put), reason, "tables/2.png")
        for name, (put, reason) in TREES.items()
    ),
    sound(
        "a link to another image",
        "tabmwp",
        in_place_of_image(lambda path: path.symlink_to("1.png")),
        changed=(2,),
        size=(41, 30),
    ),
)


def _moved(source: SourceName, name: str) -> Do:
    """Return a damage that names the image of record 2 `name` in the folder, in another Unicode form in the record."""

    def do(folder: Path) -> None:
        image = folder / image_of(source, 2)
        image.rename(image.with_name(unicodedata.normalize("NFD", name)))
        change(source, image=unicodedata.normalize("NFC", name))(folder)

    return do


def _put(name: str, put: Do) -> Do:
    return lambda folder: put(folder / name)


def _unnameable(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("Latin-1", "utf-8")


SURROUNDINGS = (
    lost("a file name in another Unicode form", "visual_cot", _moved("visual_cot", "Café.png"), "missing image"),
    sound("a folder that links to itself", "llava_cot", _put("again", lambda path: path.symlink_to("."))),
    sound(
        "a link in a circle beside the images", "tabmwp", _put("tables/o.png", lambda path: path.symlink_to("o.png"))
    ),
    sound("a pipe beside the images", "tabmwp", _put("tables/pipe", os.mkfifo)),
    sound("a file name that is no UTF-8", "infoseek", _unnameable),
    sound("a file name of two lines", "infoseek", _put("two\nlines", Path.touch)),
)


def edit_parquet(edit: Callable[[bytes], bytes], name: str = GEOMETRY) -> Do:
    """Return a damage that edits the bytes of a Parquet file."""
    return lambda folder: (folder / name).write_bytes(edit((folder / name).read_bytes()))


def put_rows(*records: dict[str, Any], shape: pa.Schema = SHAPE) -> Do:
    """Return a damage that writes other rows in place of intergps' four."""
    return lambda folder: write_rows(folder / GEOMETRY, list(records), shape)


def change_row(**changes: Any) -> Do:
    """Return a damage that gives row 2 other columns."""
    first, second, *others = rows(1, 4)
    return put_rows(first, {**second, **changes}, *others)


def _text(**changes: Any) -> dict[str, Any]:
    return {**rows(2, 2)[0]["texts"][0], **changes}


def _latin(folder: Path) -> None:
    """Write the user's text of row 2 in Latin-1, in a column that says it is UTF-8."""
    edit_parquet(lambda data: data.replace(b"on sign 2?", b"on sig\xf1 2?"))(folder)


def _wide(folder: Path) -> None:
    """Write the same rows with large offsets and a dictionary, as other writers do."""
    image = pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])
    text = pa.struct([("user", pa.large_string()), ("assistant", pa.large_string()), ("source", pa.large_string())])
    shape = pa.schema([("texts", pa.large_list(text)), ("images", pa.large_list(image)), ("more", pa.int64())])
    write_rows(folder / GEOMETRY, rows(1, 4), shape)


def _corrupt_group(folder: Path) -> None:
    """Overwrite the pages of the second row group."""
    path = folder / GEOMETRY
    group = pq.ParquetFile(path).metadata.row_group(1)
    data = bytearray(path.read_bytes())
    for column in range(group.num_columns):
        start = group.column(column).dictionary_page_offset or group.column(column).data_page_offset
        data[start : start + 8] = b"\xff" * 8
    path.write_bytes(data)


def _lost(name: str, do: Do, gone: tuple[int, ...]) -> Damage:
    return lost(name, "the_cauldron", do, "unreadable record", "intergps", gone=gone)


def _row_lost(name: str, reason: RejectionReason, **changes: Any) -> Damage:
    place = "intergps/00000/1" if "image" in reason else "row 1"
    return lost(name, "the_cauldron", change_row(**changes), reason, place)


def _pictures(*images: dict[str, Any] | None) -> dict[str, Any]:
    return {"images": list(images)}


ALL = (1, 2, 3, 4)
SHORT = pa.schema([("texts", pa.list_(TEXT))])
FOREIGN = pa.schema([("question", pa.string()), ("answer", pa.string())])
NUMBERS = pa.schema([("images", pa.list_(IMAGE)), ("texts", pa.int64())])
BATCHES = "a batch spans row groups: a broken one takes its sound neighbours along"
PARQUET = (
    _lost("an empty file in place of Parquet", edit_parquet(lambda _: b""), ALL),
    _lost("JSON in place of Parquet", edit_parquet(lambda _: b'{"images": []}'), ALL),
    _lost("a Parquet file without its end", edit_parquet(lambda data: data[:-20]), ALL),
    _lost("half a Parquet file", edit_parquet(lambda data: data[: len(data) // 2]), ALL),
    _lost("an endless footer", edit_parquet(lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1"), ALL),
    _lost("a broken footer", edit_parquet(lambda data: data[:-60] + b"\xff" * 20 + data[-40:]), ALL),
    _lost("Parquet without a column", put_rows({"texts": rows(1, 1)[0]["texts"]}, shape=SHORT), ALL),
    _lost("Parquet of other columns", put_rows({"question": "How?", "answer": "So."}, shape=FOREIGN), ALL),
    _lost("Parquet with numbers as texts", put_rows({"images": [], "texts": 7}, shape=NUMBERS), ALL),
    _lost("a broken row group", _corrupt_group, (3, 4)),
    _lost("a text that is no UTF-8", _latin, (2,)),
    _row_lost("null in place of the texts", "unreadable record", texts=None),
    _row_lost("null in place of the images", "unreadable record", images=None),
    _row_lost("null among the texts", "unreadable record", texts=[None]),
    _row_lost("null among the images", "unreadable record", **_pictures(None)),
    _row_lost("a user's text of null", "unreadable record", texts=[_text(user=None)]),
    _row_lost("no texts", "empty question", texts=[]),
    _row_lost("a blank text", "empty question", texts=[_text(user=" ")]),
    _row_lost("a blank reply", "no gold answer", texts=[_text(assistant="")]),
    _row_lost("no images", "missing image", **_pictures()),
    _row_lost("an image of neither bytes nor path", "missing image", **_pictures({"bytes": None, "path": None})),
    _row_lost("an image of no bytes", "missing image", **_pictures({"bytes": b"", "path": None})),
    _row_lost(
        "an image's path that leads out", OUTSIDE, **_pictures({"bytes": None, "path": "../../../../../etc/passwd"})
    ),
    _row_lost("a truncated image in Parquet", "unreadable image", **_pictures({"bytes": _cut(encoded("PNG"))})),
    _row_lost("a broken second image", "unreadable image", **_pictures({"bytes": png(2)}, {"bytes": SVG})),
    lost(
        "a flipped byte of an image in Parquet",
        "the_cauldron",
        edit_parquet(lambda data: data.replace(png(2), _flipped(png(2), 0.6))),
        "unreadable image",
        "intergps/00000/1",
    ),
    sound("Parquet of wider types, with one column more", "the_cauldron", _wide),
    Damage(
        name="Parquet of no rows",
        source="the_cauldron",
        do=lambda folder: write_rows(folder / SIGNS, []),
        reason=None,
        gone=(5, 6),
    ),
)
FILES = (*IMAGES, *SURROUNDINGS, *PARQUET)
