"""A release read back by the libraries that others will read it with, where they are installed."""

import logging
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import cast


class BadRelease(Exception):
    """What was written is not what the hub's or MLCommons' own reader takes: a fault of this project."""


def validate(folder: Path) -> None:
    """Read card and Croissant metadata back; raise BadRelease where one has an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if find_spec("huggingface_hub"):
            _validate_card(folder / "README.md")
        if find_spec("mlcroissant"):
            _validate_croissant(folder / "croissant.json")


def load_mlcroissant() -> ModuleType:
    """Import mlcroissant, and keep absl, which it logs with, from closing what is stderr now.

    absl's handler closes its stream when logging is configured anew (as Dagster does), unless that is Python's own.
    """
    import mlcroissant  # noqa: PLC0415
    from absl import logging as absl_logging  # noqa: PLC0415

    absl_logging.get_absl_handler().python_handler.setStream(sys.__stderr__)
    return cast("ModuleType", mlcroissant)


def _validate_card(path: Path) -> None:
    from huggingface_hub import DatasetCard  # noqa: PLC0415

    try:
        DatasetCard.load(path)
    except ValueError as error:
        raise BadRelease(f"the card's YAML cannot be read back: {error}") from error


def _validate_croissant(path: Path) -> None:
    mlcroissant = load_mlcroissant()
    logger = logging.getLogger("absl")  # it tells what is recommended, too
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        issues = mlcroissant.Dataset(str(path)).metadata.ctx.issues
    except mlcroissant.ValidationError as error:
        raise BadRelease(f"the Croissant metadata are not valid: {error}") from error
    finally:
        logger.setLevel(level)
    if issues.errors:
        raise BadRelease(f"the Croissant metadata are not valid: {'; '.join(map(str, issues.errors))}")
