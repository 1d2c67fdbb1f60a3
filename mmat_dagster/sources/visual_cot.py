"""Visual CoT: questions about 12 sets of images, each with boxes around the region that holds the answer.

viscot_dataset/sroie_cot_train.jsonl, one line; its image is cot/sroie/X000.jpg:

{"question": "What is the total amount in the invoice shown in the picture?", "answer": "12.40",
 "image": "X000.jpg", "width": 600, "height": 900, "bboxs": [[410, 702, 480, 724]],
 "dataset": "sroie", "split": "train"}

viscot_363k.json, the same questions merged for training, one entry; read only where no JSON Lines file is there:

{"question_id": 7, "dataset": "v7w", "split": "train",
 "image": ["cot/v7w/v7w_276.jpg", "cot/v7w/v7w_276.jpg###[446, 246, 502, 345]"],
 "conversations": [
    {"from": "human", "value": "<image>\\nWhat is on the desk? Please provide the bounding box coordinate of the
                                region that can help you answer the question better."},
    {"from": "gpt", "value": "[0.697, 0.509, 0.784, 0.664]"},
    {"from": "human", "value": "<image>"}, {"from": "gpt", "value": "A lamp."}]}
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path, PurePosixPath

from mmat_dagster.schema import Annotations, Box, Rejection, SourceRecord
from mmat_dagster.sources.json_files import Broken, RawRecord, read_entries, read_lines
from mmat_dagster.sources.layout import Reader, licence_name, settle, unreadable
from mmat_dagster.sources.nouns import phrase_of
from mmat_dagster.sources.wording import guess_answer_type

MERGED = "viscot_363k.json"

# The repository keeps the parts' files in the one folder, the dataset in the other.
_LINE_FOLDERS = ("viscot_dataset", "metadata")
# The parts' images lie in `cot`; the published archive unpacks into `cot_image_data`.
_IMAGE_FOLDERS = ("cot", "cot_image_data")
# TextCaps asks about TextVQA's images, which are published once; Visual7W goes by two names.
_SHARED_IMAGES = {"textcap": "textvqa", "v7w": "visual7w", "visual7w": "v7w"}
_SUFFIX = "_cot_train.jsonl"
_BOX_REQUEST = re.compile(
    r"\s*Please (?:think step by step and )?provide the bounding box coordinate of the region\b.*", re.DOTALL
)
_NUMBERS = frozenset({int, float})


class _Question(RawRecord, frozen=True, kw_only=True):
    question: str
    answer: str
    image: str
    width: float | None = None
    height: float | None = None
    bboxs: tuple[object, ...] = ()
    # Some parts bring further spellings of the answer, or the answer as a sentence.
    possible_answers: object = None
    full_answer: object = None


class _Message(RawRecord, frozen=True, kw_only=True):
    value: str


class _Dialogue(RawRecord, frozen=True, kw_only=True):
    image: list[str]
    conversations: list[_Message]
    dataset: str = ""


def annotation_files(folder: Path) -> list[Path]:
    """Return the parts' files or, where none is there, the merged one."""
    lines = (sorted((folder / name).glob(f"*{_SUFFIX}")) for name in _LINE_FOLDERS)
    merged = folder / MERGED
    return next(filter(None, lines), [merged] * merged.is_file())


def read(folder: Path) -> Iterator[SourceRecord | Rejection]:
    """Yield every question of the files that `annotation_files` finds."""
    images = next((name for name in _IMAGE_FOLDERS if (folder / name).is_dir()), _IMAGE_FOLDERS[0])
    for path in annotation_files(folder):
        yield from _read_merged(path, images) if path.name == MERGED else _read_part(path, images)


def _read_part(path: Path, images: str) -> Iterator[SourceRecord | Rejection]:
    part, file = path.name.removesuffix(_SUFFIX), f"{path.name}:"
    place = _image_folder(path.parents[1], images, part)
    for number, found in read_lines(path, _Question):
        record_id = f"visual_cot/{part}/{number}"
        if isinstance(found, Broken):
            yield unreadable("visual_cot", record_id, found)
            continue
        boxes = _boxes(found.bboxs, found.question, found.width, found.height) if found.bboxs else ()
        image = found.image if found.image[:1] == "/" else place + found.image
        answers: tuple[str, ...] = (found.answer,)
        if found.possible_answers or found.full_answer:
            answers = _answers(found.answer, found.possible_answers, found.full_answer)
        yield settle(_record(record_id, part, found.question, answers, image, boxes), file, number)


def _image_folder(folder: Path, images: str, part: str) -> str:
    shared = _SHARED_IMAGES.get(part, part)
    name = part if (folder / images / part).is_dir() else shared
    return f"{images}/{name}/"


def _answers(answer: str, *others: object) -> tuple[str, ...]:
    """Return the answer and, behind it, the strings among the others."""
    further = chain.from_iterable(other if isinstance(other, list) else [other] for other in others)
    return tuple(dict.fromkeys([answer, *(one for one in further if isinstance(one, str))]))


def _read_merged(path: Path, images: str) -> Iterator[SourceRecord | Rejection]:
    file = f"{path.name}: entry "
    for number, _, found in read_entries(path, _Dialogue):
        record_id = f"visual_cot/363k/{number}"
        if isinstance(found, Broken):
            yield unreadable("visual_cot", record_id, found)
        elif not found.image or len(found.conversations) < 2:
            yield unreadable("visual_cot", record_id, f"{file}{number}: no image or no reply")
        else:
            yield settle(_read_dialogue(record_id, found, images), file, number)


def _read_dialogue(record_id: str, found: _Dialogue, images: str) -> SourceRecord:
    paths = [name.partition("###") for name in found.image]
    place = PurePosixPath(paths[0][0])
    question = _BOX_REQUEST.sub("", found.conversations[0].value.replace("<image>", "")).strip()
    boxes = _boxes([_corner_list(corners) for _, mark, corners in paths if mark], question)
    part = found.dataset or (place.parts[1] if len(place.parts) > 2 else "unknown")  # cot / part / image
    image = images / place.relative_to("cot") if place.is_relative_to("cot") else place
    return _record(record_id, part, question, (found.conversations[-1].value.strip(),), str(image), boxes)


def _record(
    record_id: str, part: str, question: str, answers: tuple[str, ...], image: str, boxes: tuple[Box, ...]
) -> SourceRecord:
    return SourceRecord(
        id=record_id,
        source="visual_cot",
        part=part,
        question=question.strip(),
        answers=answers,
        answer_type=guess_answer_type(answers[0]),
        images=(image,),
        annotations=Annotations(boxes=boxes),
        licence=licence_name("visual_cot", part),
    )


def _boxes(
    raw: Iterable[object], question: str, width: float | None = None, height: float | None = None
) -> tuple[Box, ...]:
    """Return the boxes that span an area inside the image, each once: some do not, their questions are sound."""
    found = dict.fromkeys([_corners(one, width, height) for one in raw])
    found.pop(None, None)
    phrase = phrase_of(question) if found else ""
    return tuple([Box(phrase=phrase, x1=c[0], y1=c[1], x2=c[2], y2=c[3]) for c in found if c])


def _corners(raw: object, width: float | None, height: float | None) -> tuple[float, float, float, float] | None:
    if not isinstance(raw, list) or len(raw) != 4 or not _NUMBERS.issuperset(map(type, raw)):
        return None
    x1, y1, x2, y2 = float(raw[0]), float(raw[1]), float(raw[2]), float(raw[3])
    inside = x2 <= (width or x2) and y2 <= (height or y2)
    return (x1, y1, x2, y2) if 0 <= x1 < x2 and 0 <= y1 < y2 and inside else None


def _corner_list(text: str) -> list[float]:
    """Return the four numbers of `[446, 246, 502, 345]`; nothing where they are no pixels but shares of the image."""
    numbers = [float(one) for one in re.findall(r"-?\d+(?:\.\d+)?", text)]
    return [] if sum(numbers) < 5 else numbers


READER = Reader(
    name="visual_cot",
    publisher="Hugging Face dataset deepcs233/Visual-CoT",
    expects=(f"viscot_dataset/*{_SUFFIX}", MERGED),
    read=read,
    annotation_files=annotation_files,
)
