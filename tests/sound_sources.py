"""A sound folder of every source in its published layout: a few records, each with an image of its own size.

Record number N is asked about an image of 40 + N by 30 pixels. JSON files hold one record a line, so that a test can
reach for one of them; the Parquet files hold two rows a group.
"""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mmat_dagster.schema import SourceName

COUNT = 4
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TEXT = pa.struct([("user", pa.string()), ("assistant", pa.string()), ("source", pa.string())])
SHAPE = pa.schema([("images", pa.list_(IMAGE)), ("texts", pa.list_(TEXT))])

LINES: dict[SourceName, str] = {
    "visual_cot": "viscot_dataset/sroie_cot_train.jsonl",
    "llava_cot": "train.jsonl",
    "tabmwp": "problems_train.json",
    "infoseek": "infoseek_train.jsonl",
}
GEOMETRY, SIGNS = "intergps/train-00000-of-00001.parquet", "st_vqa/train-00000-of-00001.parquet"


def png(number: int) -> bytes:
    """Return the image of record `number`."""
    buffer = io.BytesIO()
    Image.new("RGB", (40 + number, 30), (number, 90, 160)).save(buffer, "PNG")
    return buffer.getvalue()


def image_of(source: SourceName, number: int) -> str:
    """Return where the image of record `number` lies in a source that keeps its images as files."""
    return {
        "visual_cot": f"cot/sroie/{number}.png",
        "llava_cot": f"chartqa/{number}.png",
        "tabmwp": f"tables/{number}.png",
        "infoseek": f"oven_images/04/oven_0400000{number}.png",
    }[source]


def record_id(source: SourceName, number: int) -> str:
    """Return the id that the reader gives to record `number`."""
    subset, row = ("intergps", number - 1) if number <= COUNT else ("st_vqa", number - COUNT - 1)
    return {
        "visual_cot": f"visual_cot/sroie/{number}",
        "llava_cot": f"llava_cot/record-{number}",
        "the_cauldron": f"the_cauldron/{subset}/00000/{row}",
        "tabmwp": f"tabmwp/{number}",
        "infoseek": f"infoseek/infoseek_train_0000000{number}",
    }[source]


def raw(source: SourceName, number: int) -> dict[str, Any]:
    """Return record `number` with the publisher's keys."""
    return _RAW[source](number)


def rows(first: int, last: int) -> list[dict[str, Any]]:
    """Return the rows of The Cauldron's records `first` to `last`."""
    return [_row(number) for number in range(first, last + 1)]


def write_sound(root: Path, source: SourceName) -> Path:
    """Write the sound folder of `source` below `root` and return it."""
    folder = root / source
    if source == "the_cauldron":
        write_rows(folder / GEOMETRY, rows(1, COUNT))
        write_rows(folder / SIGNS, rows(COUNT + 1, COUNT + 2))
        return folder
    for number in range(1, COUNT + 1):
        _write(folder / image_of(source, number), png(number))
    texts = [json.dumps(raw(source, number)) for number in range(1, COUNT + 1)]
    _write(folder / LINES[source], (_as_object(texts) if source == "tabmwp" else "\n".join([*texts, ""])).encode())
    return folder


def write_rows(path: Path, records: list[Mapping[str, Any]] | list[dict[str, Any]], shape: pa.Schema = SHAPE) -> None:
    """Write a Parquet file, uncompressed so that a damage hits what it aims at."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(records, schema=shape), path, row_group_size=2, compression="none")


def _as_object(texts: list[str]) -> str:
    entries = (f'"{number}": {text}' for number, text in enumerate(texts, start=1))
    return "{\n" + ",\n".join(entries) + "\n}\n"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _row(number: int) -> dict[str, Any]:
    question = {"user": f"What is written on sign {number}?\nAnswer briefly.", "assistant": f"Exit {number}."}
    return {"images": [{"bytes": png(number), "path": None}], "texts": [{**question, "source": "test"}]}


def _receipt(number: int) -> dict[str, Any]:
    return {
        "question": f"What is the total of receipt {number}?",
        "answer": f"${number}.20",
        "image": f"{number}.png",
        "width": 40 + number,
        "height": 30,
        "bboxs": [[1, 2, 30, 20]],
        "dataset": "sroie",
        "split": "train",
    }


def _dialogue(number: int) -> dict[str, Any]:
    reply = f"<SUMMARY> I read it. </SUMMARY>\n\n<CONCLUSION> {number} </CONCLUSION>"
    said = [{"from": "human", "value": f"How high is bar {number}?"}, {"from": "gpt", "value": reply}]
    return {"id": f"record-{number}", "image": image_of("llava_cot", number), "conversations": said}


def _problem(number: int) -> dict[str, Any]:
    return {
        "question": f"How much do {number} kilograms of sand cost?",
        "choices": None,
        "answer": str(2 * number),
        "unit": "$",
        "table_title": None,
        "table": "sand | $2\ngravel | $3",
        "solution": f"Multiply.\n2 × {number} = {2 * number}",
        "ques_type": "free_text",
        "ans_type": "integer_number",
        "split": "train",
    }


def _photo(number: int) -> dict[str, Any]:
    return {
        "data_id": f"infoseek_train_0000000{number}",
        "image_id": f"oven_0400000{number}",
        "question": f"Which bird is number {number}?",
        "answer": [f"bird {number}"],
        "answer_eval": [f"bird {number}"],
        "data_split": "train",
    }


_RAW: dict[SourceName, Callable[[int], dict[str, Any]]] = {
    "visual_cot": _receipt,
    "llava_cot": _dialogue,
    "the_cauldron": _row,
    "tabmwp": _problem,
    "infoseek": _photo,
}
