"""InfoSeek: questions about what a photo shows whose answers stand in Wikipedia, not in the photo.

infoseek_train.jsonl, one line; its image is oven_images/00/oven_00000001.jpg:

{"data_id": "infoseek_train_00000001", "image_id": "oven_00000001", "question": "How tall is this tower in
 metres?", "answer": ["60-70"], "answer_eval": [{"wikidata": 64.0, "range": [60.0, 70.0]}],
 "data_split": "train"}

infoseek_train_withkb.jsonl, one line; it names what the photo shows:

{"data_id": "infoseek_train_00000001", "entity_id": "Q000", "entity_text": "Example Lighthouse"}
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from os.path import isfile
from pathlib import Path

from mmat_dagster.schema import Annotations, Rejection, SourceRecord
from mmat_dagster.sources.json_files import Broken, RawRecord, read_lines
from mmat_dagster.sources.layout import Reader, licence_name, settle, unreadable

FILES = ("infoseek_train.jsonl", "infoseek_val.jsonl")

_SUFFIXES = ("jpg", "JPEG", "jpeg", "png", "JPG")
_DIGITS = re.compile(r"\d{2,}")
# Links that go to the database together.
_ASIDE_AT_ONCE = 1000


class _NumericAnswer(RawRecord, frozen=True, kw_only=True):
    range: tuple[float, float]


class _Question(RawRecord, frozen=True, kw_only=True):
    data_id: str
    image_id: str
    question: str
    answer: tuple[str, ...]
    answer_eval: tuple[str | _NumericAnswer, ...] = ()
    data_split: str = "train"


class _Link(RawRecord, frozen=True, kw_only=True):
    data_id: str
    entity_text: str
    entity_id: str = ""


_UNLINKED = _Link(data_id="", entity_text="")


class _Links:
    """What each question's photo shows.

    The publisher writes questions and links in one order, so both files are walked in step. Where they part, all links
    that are left go to a temporary database on disk: a million would not fit well in memory. The first of a question
    counts. SQLite deletes the file when it is closed.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._lines = read_lines(path, _Link) if path.is_file() else iter(())
        self._met: list[tuple[int, _Link | Broken]] = []
        self._aside = sqlite3.connect("", check_same_thread=False)
        self._aside.execute("CREATE TABLE link (data_id TEXT PRIMARY KEY, text TEXT, id TEXT) WITHOUT ROWID")

    def in_step(self, data_id: str) -> _Link | None:
        """Return the next link if it is that of the question."""
        for number, link in self._lines:
            if isinstance(link, _Link) and link.data_id == data_id:
                return link
            self._met.append((number, link))
            break
        return None

    def set_aside(self) -> Iterator[Rejection]:
        """Move all links that are left to the database; yield a Rejection for each that is broken."""
        while left := self._met or list(islice(self._lines, _ASIDE_AT_ONCE)):
            for number, link in left:
                if isinstance(link, Broken):
                    yield unreadable("infoseek", f"infoseek/{self._name}:{number}", link)
            found = [(link.data_id, link.entity_text, link.entity_id) for _, link in left if isinstance(link, _Link)]
            self._aside.executemany("INSERT OR IGNORE INTO link VALUES (?, ?, ?)", found)
            self._met = []

    def find(self, data_id: str) -> _Link:
        """Return the link of a question among those set aside, an empty one where there is none."""
        row = self._aside.execute("SELECT data_id, text, id FROM link WHERE data_id = ?", (data_id,)).fetchone()
        return _Link(data_id=row[0], entity_text=row[1], entity_id=row[2]) if row else _UNLINKED

    def close(self) -> None:
        """Drop the database."""
        self._aside.close()


class _Photos:
    """Where the photos lie. A drawer that is not there is looked for once; a Path would cost more than the look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drawers: dict[str, bool] = {}

    def find(self, image_id: str) -> str:
        """Return where an image lies, relative to the folder; its usual place where it is missing."""
        digits = _DIGITS.search(image_id)
        drawer = f"oven_images/{digits[0][:2]}" if digits else "oven_images"
        if drawer not in self._drawers:
            self._drawers[drawer] = (self._folder / drawer).is_dir()
        usual = f"{drawer}/{image_id}.{_SUFFIXES[0]}"
        if not self._drawers[drawer]:
            return usual
        candidates = (f"{drawer}/{image_id}.{suffix}" for suffix in _SUFFIXES)
        return next((name for name in candidates if isfile(f"{self._folder}/{name}")), usual)  # noqa: PTH113


def annotation_files(folder: Path) -> list[Path]:
    """Return the question files and, beside each, the file that links its questions to entities."""
    asked = [folder / name for name in FILES if (folder / name).is_file()]
    linked = [path for path in map(_links_of, asked) if path.is_file()]
    return sorted(asked + linked)


def passages(folder: Path) -> Path | None:
    """Return the Wikipedia corpus, if it was downloaded; the file of mere titles is none."""
    published = folder / "Wiki6M_ver_1_0.jsonl"
    others = (path for path in sorted(folder.glob("[Ww]iki*.jsonl")) if not path.stem.endswith("title_only"))
    return published if published.is_file() else next(others, None)


def read(folder: Path) -> Iterator[SourceRecord | Rejection]:
    """Yield every question of the training and validation files, and a Rejection for each broken link."""
    photos = _Photos(folder)
    for path in (folder / name for name in FILES if (folder / name).is_file()):
        with closing(_Links(_links_of(path))) as links:
            yield from _read_file(path, links, photos)


def _links_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}_withkb.jsonl")


def _read_file(path: Path, links: _Links, photos: _Photos) -> Iterator[SourceRecord | Rejection]:
    file = f"{path.name}:"
    for number, found in read_lines(path, _Question):
        if isinstance(found, Broken):
            yield unreadable("infoseek", f"infoseek/{path.name}:{number}", found)
            continue
        link = links.in_step(found.data_id)
        if link is None:
            yield from links.set_aside()
            link = links.find(found.data_id)
        yield settle(_record(found, link, photos.find(found.image_id)), file, number)
    yield from links.set_aside()


def _record(found: _Question, link: _Link, image: str) -> SourceRecord:
    answers, ranges = found.answer, None
    if found.answer_eval:
        ranges = next((one.range for one in found.answer_eval if not isinstance(one, str)), None)
        answers = tuple(dict.fromkeys([*answers, *(one for one in found.answer_eval if isinstance(one, str))]))
    return SourceRecord(
        id=f"infoseek/{found.data_id}",
        source="infoseek",
        part=found.data_split,
        question=found.question.strip(),
        answers=answers,
        answer_type="number" if ranges else "word_or_phrase",
        images=(image,),
        number_range=(min(ranges), max(ranges)) if ranges else None,
        annotations=Annotations(entity=link.entity_text or None, entity_id=link.entity_id or None),
        licence=licence_name("infoseek", found.data_split),
    )


READER = Reader(
    name="infoseek",
    publisher="the InfoSeek project, https://github.com/open-vision-language/infoseek",
    expects=FILES,
    read=read,
    annotation_files=annotation_files,
    passages=passages,
)
