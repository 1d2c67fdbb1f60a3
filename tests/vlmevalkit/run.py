"""Stands in for VLMEvalKit: its command line, its client's requests, its files and where they lie.

STAND_IN tells what goes otherwise: `lenient` takes every answer for right, `mute` logs an exception and leaves
nothing, `dead` ends with code 3, `unjudged` comes to no score, `torn` breaks off in the middle of a row.
"""

import argparse
import csv
import json
import os
import re
import sys
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any

MODE = os.environ.get("STAND_IN", "")
RUN = "T20260101-120000"


def main() -> None:
    """Ask every model of the config every dataset of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--judge")
    options = parser.parse_args()
    config = json.loads(options.config.read_text("utf-8"))
    for label, model in config["model"].items():
        for name, dataset in config["data"].items():
            sys.stdout.write(f"key {os.environ.get('LMDEPLOY_API_KEY')}, judge {options.judge}\n")
            if MODE == "dead":
                sys.exit(3)
            if MODE == "mute":
                sys.stdout.write(f"Model {label} x Dataset {name} combination failed: out of luck\n")
                continue
            examine(label, model, dataset, options.work_dir / label / RUN)


def examine(label: str, model: dict[str, Any], dataset: dict[str, str], folder: Path) -> None:
    """Write the tables of one examination."""
    assert model.pop("class") == "LMDeployAPI"
    assert dataset["class"] == "ImageMCQDataset"
    folder.mkdir(parents=True)
    questions = read(Path(os.environ["LMUData"]) / f"{dataset['dataset']}.tsv")  # noqa: SIM112 (its own name)
    images = {row["index"]: row.pop("image") for row in questions}
    rows: list[dict[str, object]] = [
        {**row, "prediction": ask(model, row, whole(images, row["index"]))} for row in questions
    ]
    stem, form = f"{label}_{dataset['dataset']}", os.environ["PRED_FORMAT"]
    write(folder / f"{stem}.{form}", rows)
    if MODE == "torn":
        with (folder / f"{stem}.{form}").open("a") as file:
            file.write('"7"\t"Which')
    if MODE == "unjudged":
        return
    judged: list[dict[str, object]] = [{**row, "hit": hit(row), "log": "Match Log: .."} for row in rows]
    write(folder / f"{stem}_exact_matching_result.{form}", judged)
    write(folder / f"{stem}_acc.{os.environ['EVAL_FORMAT']}", [accuracies(judged)])


def whole(images: dict[str, str], index: str) -> str:
    """Return a row's image, which may be another row's."""
    return images[index] if len(images[index]) > 64 else images[images[index]]


def ask(model: dict[str, Any], row: dict[str, str], image: str) -> str:
    """Return what the server answers to a question."""
    options = "".join(f"{letter}. {row[letter]}\n" for letter in "ABCD" if row.get(letter))
    text = f"Question: {row['question']}\nOptions:\n{options}Please choose the correct answer from the options above."
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{image}"}},
        {"type": "text", "text": text},
    ]
    body = {"model": model["model"], "messages": [{"role": "user", "content": content}], "n": 1, "temperature": 0.0}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('LMDEPLOY_API_KEY')}"}
    request = urllib.request.Request(model["api_base"], json.dumps(body).encode(), headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
            return str(json.load(reply)["choices"][0]["message"]["content"])
    except OSError:
        return "Failed to obtain answer via API. "


def hit(row: dict[str, object]) -> int:
    """Judge by the only letter of an option that stands alone."""
    letters = set(re.findall(r"\b[ABCD]\b", str(row["prediction"])))
    return int(MODE == "lenient" or letters == {row["answer"]})


def accuracies(judged: list[dict[str, object]]) -> dict[str, object]:
    """Return the shares that are right, of all and of each category."""
    groups = defaultdict(list)
    for row in judged:
        for name in ("Overall", str(row["l2-category"]), str(row["category"])):
            groups[name].append(int(str(row["hit"])))
    return {"split": "none", **{name: sum(hits) / len(hits) for name, hits in groups.items()}}


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """Write a table as pandas does."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(
            file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",", quoting=csv.QUOTE_ALL
        )
        table.writeheader()
        table.writerows(rows)


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table."""
    csv.field_size_limit(1 << 24)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


if __name__ == "__main__":
    main()
