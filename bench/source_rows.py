"""Rows for bench/sources.py in the five published layouts: all different, quickly written, none of them to be rejected.

Lines and problems are as long as the published ones. Pictures are left out where a layout keeps them in files, for
readers do not open these; the rows of Parquet files share a pool of small ones.
"""

import io
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from mmat_dagster.schema import SourceName

THINGS = "car dog sign tower bridge receipt kettle lamp horse window clock jacket boat table bottle fence".split()
COLOURS = "red blue green yellow black white brown grey orange purple".split()
PICTURES = 64
FILE_ROWS, GROUP_ROWS = 10_000, 1000


def write_visual_cot(folder: Path, rows: int) -> None:
    """Write questions of four parts, a quarter each."""
    for at, part in enumerate(("gqa", "flickr30k", "docvqa", "vsr")):
        path = folder / "viscot_dataset" / f"{part}_cot_train.jsonl"
        _write_lines(path, (_visual_cot(number, part) for number in range(at, rows, 4)))


def write_llava_cot(folder: Path, rows: int) -> None:
    """Write dialogues, one in three of them of three rounds."""
    _write_lines(folder / "train.jsonl", (_llava_cot(number) for number in range(rows)))


def write_the_cauldron(folder: Path, rows: int) -> None:
    """Write Parquet files, one question over one picture in each row."""
    pictures = [_picture(number) for number in range(PICTURES)]
    numbers = iter(range(rows))
    for file in range(-(-rows // FILE_ROWS)):
        path = folder / "intergps" / f"train-{file:05d}-of-{-(-rows // FILE_ROWS):05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = [_the_cauldron(number, pictures) for number in islice(numbers, FILE_ROWS)]
        pq.write_table(pa.Table.from_pylist(table), path, row_group_size=GROUP_ROWS)


def write_tabmwp(folder: Path, rows: int) -> None:
    """Write one object of problems, indented as the published one."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "problems_train.json").open("w", encoding="utf-8") as file:
        for number in range(rows):
            text = json.dumps(_tabmwp(number), indent=2, ensure_ascii=False).replace("\n", "\n  ")
            file.write(f'{"," if number else "{"}\n  "{number + 1}": {text}')
        file.write("\n}\n")


def write_infoseek(folder: Path, rows: int) -> None:
    """Write questions, and the links to what their photos show."""
    _write_lines(folder / "infoseek_train.jsonl", (_infoseek(number) for number in range(rows)))
    _write_lines(folder / "infoseek_train_withkb.jsonl", (_link(number) for number in range(rows)))


WRITERS: dict[SourceName, Callable[[Path, int], None]] = {
    "visual_cot": write_visual_cot,
    "llava_cot": write_llava_cot,
    "the_cauldron": write_the_cauldron,
    "tabmwp": write_tabmwp,
    "infoseek": write_infoseek,
}


def _write_lines(path: Path, records: Iterator[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def _named(number: int) -> tuple[str, str]:
    return THINGS[number % len(THINGS)], COLOURS[number // len(THINGS) % len(COLOURS)]


def _visual_cot(number: int, part: str) -> dict[str, Any]:
    thing, colour = _named(number)
    other, _ = _named(number * 7 + 3)
    return {
        "question": f"What is the colour of the {thing} behind the {other} of number {number}?",
        "answer": f"{colour} {number % 1000}",
        "image": f"{number:012d}.jpg",
        "width": 640,
        "height": 480,
        "bboxs": [[number % 300 + 0.5, number % 200 + 0.25, 400.62, 300.75]],
        "dataset": part,
        "split": "train",
    }


def _llava_cot(number: int) -> dict[str, Any]:
    rounds = [_staged(number, at) for at in range(3 if number % 3 == 0 else 1)]
    messages = [
        {"from": who, "value": said} for pair in rounds for who, said in zip(("human", "gpt"), pair, strict=True)
    ]
    return {"id": f"sqa/{number}/image.png_x", "image": f"sqa/train/{number}/image.png", "conversations": messages}


def _staged(number: int, at: int) -> tuple[str, str]:
    thing, colour = _named(number + at)
    lettered = at == 0 and number % 2 == 0
    asked = f"Which colour has the {thing} that bears the number {number}?"
    offered = f"\nA. {colour}\nB. other\nAnswer with the option's letter from the given choices directly."
    reasoning = f"The {thing} with the number {number} stands in front of all others and its paint is {colour}. " * 8
    reply = (
        f"<SUMMARY> I will look for the {thing} and tell its colour from the picture. </SUMMARY>\n\n"
        f"<CAPTION> The picture shows a {colour} {thing} with the number {number}, and a few others. </CAPTION>\n\n"
        f"<REASONING> {reasoning}</REASONING>\n\n<CONCLUSION> {'A' if lettered else colour} </CONCLUSION>"
    )
    return ("" if at else "<image>\n") + asked + (offered if lettered else ""), reply


def _the_cauldron(number: int, pictures: list[bytes]) -> dict[str, Any]:
    user = (
        f"Question: Triangle {number} has a side of {number % 97}. Find x.\nChoices:\n"
        f"A. {number % 89}\nB. {number % 83 + 100}\nC. {number % 79 + 200}\nD. {number % 73 + 300}\n"
        "Answer with the letter."
    )
    text = {"user": user, "assistant": f"Answer: {'ABCD'[number % 4]}", "source": "InterGPS"}
    return {"images": [{"bytes": pictures[number % len(pictures)], "path": None}], "texts": [text]}


def _tabmwp(number: int) -> dict[str, Any]:
    thing, colour = _named(number)
    cells = [(f"{colour} {thing} {row}", f"${number % 50 + row}.25") for row in range(6)]
    return {
        "question": f"How much do {number + 2} of the {colour} {thing}s number 3 cost?",
        "choices": None,
        "answer": f"{(number + 2) * (number % 50 + 3.25):.2f}",
        "unit": "$",
        "table_title": f"Shop {number}",
        "table": "\n".join(" | ".join(row) for row in cells),
        "table_for_pd": {"Article": [name for name, _ in cells], "Price": [price for _, price in cells]},
        "row_num": 6,
        "column_num": 2,
        "solution": f"Find the cost. Multiply the price of one {thing} by their number, as × says.\n" * 4,
        "ques_type": "free_text",
        "ans_type": "decimal_number",
        "grade": 6,
        "split": "train",
    }


def _infoseek(number: int) -> dict[str, Any]:
    thing, colour = _named(number)
    is_number = number % 3 == 0
    return {
        "data_id": f"infoseek_train_{number:08d}",
        "image_id": f"oven_{number:08d}",
        "question": f"What is the height in metres of this {colour} {thing} {number}?",
        "answer": [f"{number % 90}-{number % 90 + 10}"] if is_number else [f"{colour} {number}"],
        "answer_eval": [{"wikidata": 64.0, "range": [60.0, 70.0]}] if is_number else [f"{colour} {number}", colour],
        "data_split": "train",
    }


def _link(number: int) -> dict[str, Any]:
    return {"data_id": f"infoseek_train_{number:08d}", "entity_id": f"Q{number}", "entity_text": f"Tower {number}"}


def _picture(number: int) -> bytes:
    image = Image.new("RGB", (160, 120), "white")
    ImageDraw.Draw(image).polygon([(10, 110), (150, 110 - number), (number + 40, 8)], outline="black", width=2)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
