"""A serving process as plain data: what it is told, and what it tells when it listens.

<folder>/serving.json    Hosting: written before the process starts
         serving.ready   {"port": 40123, "model": "..."}: there whole, once requests are answered
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter

from mmat_dagster.training.executor import SERVING_READY
from mmat_dagster.training.spec import BadRun, Precision, Student, read_description

CONFIG = "serving.json"
ENGINE = "transformers"

_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, kw_only=True)
class Hosting:
    """Which student is served, and how.

    `checkpoint` is the folder of a LoRA adapter or of full weights, None for those that the student starts from, which
    are made below `cache` where they need no network. `port` 0 takes any that is free. At most `batch` requests are
    decoded together. Without a `precision` it is fp32 on a CPU, bf16 on a GPU. Prompt and reply have `max_length`
    tokens at most; `kept_gb` bounds what is kept of earlier requests, to be gone on from.
    """

    __pydantic_config__ = _STRICT

    name: str
    student: Student
    checkpoint: str | None = None
    cache: str
    host: str = "127.0.0.1"
    port: int = 0
    batch: int = 16
    precision: Precision | None = None
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    max_length: int = 16384
    threads: int = 1
    kept_gb: float = 2.0


_HOSTING = TypeAdapter(Hosting)


def served_name(name: str, engine: str, precision: str) -> str:
    """Return how a student is called where an engine serves it: the same name means the same replies."""
    return f"{name}@{engine}-{precision}"


def dump_hosting(hosting: Hosting) -> bytes:
    """Return serving.json."""
    return _HOSTING.dump_json(hosting, indent=1)


def read_hosting(path: Path) -> Hosting:
    """Return what serving.json describes; raise BadRun where it describes nothing that can be served."""
    hosting = read_description(path, _HOSTING, "nothing to serve")
    _check(hosting)
    return hosting


def write_ready(folder: Path, port: int, model: str) -> None:
    """Say that the server listens."""
    beside = folder / f".{SERVING_READY}.writing"
    beside.write_text(json.dumps({"port": port, "model": model}))
    beside.replace(folder / SERVING_READY)


def _check(hosting: Hosting) -> None:
    if hosting.checkpoint is not None and not Path(hosting.checkpoint).is_dir():
        raise BadRun(f"there is no checkpoint {hosting.checkpoint}")
    above_zero = {"batch": hosting.batch, "max_length": hosting.max_length, "threads": hosting.threads}
    for name, value in above_zero.items():
        if value < 1:
            raise BadRun(f"{name} is {value}; it must be a number above 0")
    if not 0 <= hosting.port <= 65535:
        raise BadRun(f"port is {hosting.port}; it must be at most 65535, or 0 for any")
    if not (hosting.kept_gb >= 0 and math.isfinite(hosting.kept_gb)):
        raise BadRun(f"kept_gb is {hosting.kept_gb}; it must be a number, and not below 0")
