"""Small source folders in the publishers' layouts, written for tests."""

import json
from pathlib import Path

from PIL import Image


def write_tabmwp(root: Path, count: int = 6, price: int = 2) -> Path:
    """Write `count` TabMWP problems below `root`/tabmwp, each about its own fruit, and return `root`."""
    folder = root / "tabmwp"
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    problems = {}
    for number in range(1, count + 1):
        problems[str(number)] = {
            "question": f"How much do {number} kilograms of sand cost?",
            "choices": None,
            "answer": str(price * number),
            "unit": "$",
            "table_title": None,
            "table": f"sand | ${price}\ngravel | ${price + 1}",
            "solution": f"Multiply.\n${price} × {number} = ${price * number}\nThey cost ${price * number}.",
            "ques_type": "free_text",
            "ans_type": "integer_number",
            "split": "train",
        }
        Image.new("RGB", (60 + number, 40), "white").save(folder / "tables" / f"{number}.png")
    (folder / "problems_train.json").write_text(json.dumps(problems))
    return root


def write_visual_cot(root: Path) -> Path:
    """Write one question over a receipt below `root`/visual_cot, and return `root`."""
    folder = root / "visual_cot"
    for place in (folder / "viscot_dataset", folder / "cot" / "sroie"):
        place.mkdir(parents=True, exist_ok=True)
    question = {
        "question": "What is the company in the invoice shown in the picture?",
        "answer": "SAND LTD",
        "image": "1.png",
        "width": 40,
        "height": 60,
        "bboxs": [[1, 2, 30, 40]],
        "dataset": "sroie",
        "split": "train",
    }
    (folder / "viscot_dataset" / "sroie_cot_train.jsonl").write_text(json.dumps(question) + "\n")
    Image.new("RGB", (40, 60), "white").save(folder / "cot" / "sroie" / "1.png")
    return root
