"""Damages to the annotations of a sound source folder, and what each of them must end in.

A damage is done to record 2 of `sound_sources.py` unless it says otherwise; `gone` are the numbers of the records that
it costs, each of which is told by a rejection of reason `reason` that names `place`. Everything else stays as it was.
"""

import codecs
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmat_dagster.schema import RejectionReason, SourceName
from tests.sound_sources import LINES, image_of, raw

EVERYTHING = (1, 2, 3, 4)
Do = Callable[[Path], object]


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What is done to a sound folder, and what must be left of it.

    `reason` is None where the folder stays sound. `changed` are records that are kept, but with another content;
    `size` is the upright size in pixels that the image of a changed record has.
    """

    name: str
    source: SourceName
    do: Do
    reason: RejectionReason | None
    place: str = ""
    gone: tuple[int, ...] = (2,)
    changed: tuple[int, ...] = ()
    size: tuple[int, int] | None = None


def edit_line(source: SourceName, edit: Callable[[bytes], bytes], number: int = 2) -> Do:
    """Return a damage that edits the line of record `number`."""

    def do(folder: Path) -> None:
        path = folder / LINES[source]
        lines = path.read_bytes().splitlines(keepends=True)
        at = number - (source != "tabmwp")
        lines[at] = edit(lines[at])
        path.write_bytes(b"".join(lines))

    return do


def put_line(source: SourceName, line: bytes) -> Do:
    """Return a damage that puts `line` in place of record 2."""
    return edit_line(source, lambda _: b'"2": ' + line + b",\n" if source == "tabmwp" else line + b"\n")


def change(source: SourceName, number: int = 2, **changes: Any) -> Do:
    """Return a damage that gives record 2 other values; a value of Ellipsis takes the key away."""
    record = {key: value for key, value in {**raw(source, number), **changes}.items() if value is not ...}
    return put_line(source, json.dumps(record).encode())


def edit_file(source: SourceName, edit: Callable[[bytes], bytes]) -> Do:
    """Return a damage that edits the whole annotation file."""
    return lambda folder: (folder / LINES[source]).write_bytes(edit((folder / LINES[source]).read_bytes()))


def lost(name: str, source: SourceName, do: Do, reason: RejectionReason, place: str = "", **more: Any) -> Damage:
    """Return a damage that costs record 2, if `more` does not say otherwise."""
    return Damage(name=name, source=source, do=do, reason=reason, place=place, **more)


def _broken(name: str, source: SourceName, do: Do, **more: Any) -> Damage:
    place = "entry 2" if source == "tabmwp" else f"{Path(LINES[source]).name}:2"
    return lost(name, source, do, "unreadable record", place, **more)


def _ruined(
    name: str, source: SourceName, edit: Callable[[bytes], bytes], gone: tuple[int, ...] = EVERYTHING
) -> Damage:
    place = Path(LINES[source]).name
    return lost(name, source, edit_file(source, edit), "unreadable record", place, gone=gone)


def sound(name: str, source: SourceName, do: Do, **more: Any) -> Damage:
    """Return a damage that is none: the folder stays sound."""
    return Damage(name=name, source=source, do=do, reason=None, gone=(), **more)


def _nested(depth: int) -> bytes:
    text = json.dumps({**raw("visual_cot", 2), "bboxs": "NEST"}).encode()
    return text.replace(b'"NEST"', b"[" * depth + b"]" * depth)


def _problem_nested(depth: int) -> bytes:
    text = json.dumps({**raw("tabmwp", 2), "row_num": "NEST"}).encode()
    return text.replace(b'"NEST"', b"[" * depth + b"]" * depth)


def _number(source: SourceName, key: str, number: bytes) -> Do:
    text = json.dumps({**raw(source, 2), key: "NUMBER"}).encode()
    return put_line(source, text.replace(b'"NUMBER"', number))


def _in_utf_16(data: bytes) -> bytes:
    return data.decode().encode("utf-16")


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


SYNTAX = (
    _broken("a flipped byte in a line", "visual_cot", edit_line("visual_cot", lambda line: b"\xfb" + line[1:])),
    _broken(
        "a flipped byte inside a string",
        "infoseek",
        edit_line("infoseek", lambda line: line.replace(b"bird", b"b\xe9rd")),
    ),
    _broken("a line that breaks off", "llava_cot", edit_line("llava_cot", lambda line: _half(line) + b"\n")),
    _broken("a line with a comma behind", "infoseek", edit_line("infoseek", lambda line: line.rstrip() + b",\n")),
    _broken("two records on a line", "visual_cot", edit_line("visual_cot", lambda line: line.rstrip() + line)),
    _broken("a quote too few in an object", "tabmwp", edit_line("tabmwp", lambda line: line.replace(b'",', b",", 1))),
    _broken("a line of NUL bytes", "llava_cot", put_line("llava_cot", b"\0" * 64)),
    _broken("a list in place of a record", "llava_cot", put_line("llava_cot", b"[1, 2]")),
    _broken("a number in place of a record", "visual_cot", put_line("visual_cot", b"17")),
    _broken("null in place of a record", "infoseek", put_line("infoseek", b"null")),
    _broken("a string in place of a problem", "tabmwp", put_line("tabmwp", b'"sand"')),
    _broken("null in place of a problem", "tabmwp", put_line("tabmwp", b"null")),
    _broken("NaN as a width", "visual_cot", _number("visual_cot", "width", b"NaN")),
    _broken("Infinity as a width", "visual_cot", _number("visual_cot", "width", b"Infinity")),
    _broken("NaN as an answer's bound", "infoseek", _number("infoseek", "answer_eval", b'[{"range": [NaN, 2]}]')),
    _broken("a number of 5,000 digits as an answer", "tabmwp", _number("tabmwp", "answer", b"9" * 5000)),
    _broken("a nesting of 100,000", "visual_cot", put_line("visual_cot", _nested(100_000))),
    _broken(
        "a nesting of 100,000 in an object of problems",
        "tabmwp",
        put_line("tabmwp", _problem_nested(100_000)),
    ),
    _broken(
        "a lone surrogate in a question",
        "llava_cot",
        put_line("llava_cot", json.dumps({**raw("llava_cot", 2), "id": "record-\ud800"}).encode()),
    ),
    _broken("80 MB on one line", "visual_cot", put_line("visual_cot", b'{"question": "' + b"x" * 80_000_000)),
)
TYPES = (
    _broken("no question", "visual_cot", change("visual_cot", question=...)),
    _broken("no image", "llava_cot", change("llava_cot", image=...)),
    _broken("no id", "infoseek", change("infoseek", data_id=...)),
    _broken("no choices", "tabmwp", change("tabmwp", choices=...)),
    _broken("a question of null", "infoseek", change("infoseek", question=None)),
    _broken("an answer of null", "tabmwp", change("tabmwp", answer=None)),
    _broken("null among the answers", "infoseek", change("infoseek", answer=["bird 2", None])),
    _broken("null among the choices", "tabmwp", change("tabmwp", choices=["4", None])),
    _broken("a number as a question", "visual_cot", change("visual_cot", question=12)),
    _broken("a list as an answer", "visual_cot", change("visual_cot", answer=["$2.20"])),
    _broken("a truth as an answer", "visual_cot", change("visual_cot", answer=True)),
    _broken("a text as the answers", "infoseek", change("infoseek", answer="bird 2")),
    _broken("a text as a width", "visual_cot", change("visual_cot", width="42")),
    _broken("a text as the boxes", "visual_cot", change("visual_cot", bboxs="1, 2, 3, 4")),
    _broken("a text as the conversations", "llava_cot", change("llava_cot", conversations="How high?")),
    _broken("an object as the choices", "tabmwp", change("tabmwp", choices={"A": "4"})),
    _broken("a conversation of texts", "llava_cot", change("llava_cot", conversations=["How high?", "2"])),
    _broken(
        "a conversation of one",
        "llava_cot",
        change("llava_cot", conversations=raw("llava_cot", 2)["conversations"][:1]),
    ),
    _broken("an empty conversation", "llava_cot", change("llava_cot", conversations=[])),
    _broken("three bounds of an answer", "infoseek", change("infoseek", answer_eval=[{"range": [1, 2, 3]}])),
)
ASKED, ANSWERED = raw("llava_cot", 2)["conversations"]
NOTHING_ASKED = [{**ASKED, "value": "<image>\n"}, ANSWERED]
NOTHING_CONCLUDED = [ASKED, {**ANSWERED, "value": "It is 2."}]
CONTENT = (
    lost("a blank question", "visual_cot", change("visual_cot", question=" \t\n"), "empty question", "train.jsonl:2"),
    lost(
        "a question that is all image",
        "llava_cot",
        change("llava_cot", conversations=NOTHING_ASKED),
        "empty question",
        "train.jsonl:2",
    ),
    lost(
        "a reply without a conclusion",
        "llava_cot",
        change("llava_cot", conversations=NOTHING_CONCLUDED),
        "no gold answer",
        "train.jsonl:2",
    ),
    lost("a blank answer", "tabmwp", change("tabmwp", answer="  "), "no gold answer", "entry 2"),
    lost("no answers", "infoseek", change("infoseek", answer=[], answer_eval=[]), "no gold answer", "train.jsonl:2"),
    lost(
        "an answer that is no choice",
        "tabmwp",
        change("tabmwp", ques_type="multi_choice", choices=["3", "5"]),
        "answer not among the choices",
        "entry 2",
    ),
    lost("an id that stands twice", "llava_cot", change("llava_cot", id="record-1"), "duplicate id", "record-1"),
    lost(
        "a key that stands twice",
        "tabmwp",
        edit_line("tabmwp", lambda line: line.replace(b'"2":', b'"1":', 1)),
        "duplicate id",
        "tabmwp/1",
    ),
    lost(
        "a record that stands twice",
        "infoseek",
        edit_line("infoseek", lambda line: line * 2),
        "duplicate id",
        "infoseek/infoseek_train_00000002",
        gone=(),
    ),
)
TO_WINDOWS = (b"\n", b"\r\n")
ENCODINGS = (
    sound("a byte order mark", "llava_cot", edit_file("llava_cot", lambda data: codecs.BOM_UTF8 + data)),
    sound("a byte order mark before an object", "tabmwp", edit_file("tabmwp", lambda data: codecs.BOM_UTF8 + data)),
    sound("line ends of Windows", "visual_cot", edit_file("visual_cot", lambda data: data.replace(*TO_WINDOWS))),
    sound("line ends of Windows in an object", "tabmwp", edit_file("tabmwp", lambda data: data.replace(*TO_WINDOWS))),
    sound("mixed line ends", "infoseek", edit_line("infoseek", lambda line: line.replace(*TO_WINDOWS))),
    sound("no line end at the end", "llava_cot", edit_file("llava_cot", bytes.rstrip)),
    sound("blank lines", "llava_cot", edit_file("llava_cot", lambda data: data.replace(b"\n", b"\n \n\n"))),
    sound("a key twice", "visual_cot", edit_line("visual_cot", lambda line: b'{"answer": "no", ' + line[1:])),
    sound("keys that nobody knows", "infoseek", change("infoseek", colour="red", size={"w": [1, None]})),
    sound("a question of 10 MB", "infoseek", change("infoseek", question="Which bird? " * 900_000), changed=(2,)),
    _ruined("a file in UTF-16", "llava_cot", _in_utf_16),
    _ruined("an object in UTF-16", "tabmwp", _in_utf_16),
    _ruined("a compressed file that is named .jsonl", "visual_cot", gzip.compress),
    _ruined("a compressed file that is named .json", "tabmwp", gzip.compress),
    _ruined("an object that breaks off", "tabmwp", lambda data: data[: data.index(b'"3":') - 40], gone=(2, 3, 4)),
    _ruined("an empty file in place of an object", "tabmwp", lambda _: b""),
    _ruined("a page of HTML in place of lines", "infoseek", lambda _: b"<!doctype html>\n<title>404</title>\n"),
)

PATHS: tuple[tuple[str, str, RejectionReason], ...] = (
    ("a path up and out", "../../../../../../../../etc/passwd", "image outside the source folder"),
    ("an absolute path", "/etc/passwd", "image outside the source folder"),
    ("a device", "/dev/zero", "image outside the source folder"),
    ("a process's file", "/proc/self/environ", "image outside the source folder"),
    ("a NUL in a path", "a\0b.png", "unreadable image"),
    ("a newline in a path", "a\nb.png", "missing image"),
    ("a device of another system", "CON", "missing image"),
    ("no path", "", "missing image"),
    ("the folder itself", ".", "missing image"),
    ("a name of 5,000 letters", "a" * 5000, "unreadable image"),
    ("a path below a file", "{image}/deeper.png", "missing image"),
    ("an address", "https://example.com/2.png", "missing image"),
    ("a home folder", "~/2.png", "missing image"),
)
IMAGE_PATHS = tuple(
    Damage(
        name=f"{name} ({source})",
        source=source,
        reason=reason,
        do=change(source, image=path.format(image="2.png" if source == "visual_cot" else image_of(source, 2))),
    )
    for source in ("visual_cot", "llava_cot")
    for name, path, reason in PATHS
)
OUTSIDE: RejectionReason = "image outside the source folder"
PHOTO_IDS = (
    lost(
        "an image id that leads out", "infoseek", change("infoseek", image_id="../../../../../../etc/passwd"), OUTSIDE
    ),
    lost(
        "an image id that is a root",
        "infoseek",
        change("infoseek", image_id="/"),
        "missing image",
    ),
    lost(
        "an image id of 5,000 letters",
        "infoseek",
        change("infoseek", image_id="a" * 5000),
        "unreadable image",
    ),
    lost("an image id that is empty", "infoseek", change("infoseek", image_id=""), "missing image"),
    lost("an image id with a NUL", "infoseek", change("infoseek", image_id="oven\0"), "unreadable image"),
)
ANNOTATIONS = (*SYNTAX, *TYPES, *CONTENT, *ENCODINGS, *IMAGE_PATHS, *PHOTO_IDS)
