"""How a release was made, as far as the store and the ledger tell it; no time in it but those of the replies."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import mmat_dagster
from mmat_dagster import prompts
from mmat_dagster.datasets import UPSTREAM, code_version, label
from mmat_dagster.ledger.outlays import Outlay
from mmat_dagster.schema import DatasetName, LeakPolicy, SourceName


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of how the data were made, besides what stands in the records.

    `code` gives the code version of each dataset and `prompts` the SHA-256 of each prompt, as the project has them when
    it makes the release. `benchmarks` are those that the samples were compared with, by their number of questions.
    """

    version: str = ""
    code: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    outlays: Sequence[Outlay] = ()
    benchmarks: Mapping[str, int] = field(default_factory=dict)
    leaks: LeakPolicy = "drop"
    repository: str | None = None


def code_versions() -> dict[str, str]:
    """Return the code version of every dataset, as the project has it now."""
    return {dataset: code_version(dataset) for dataset in UPSTREAM}


def prompt_hashes() -> dict[str, str]:
    """Return the SHA-256 of every prompt, as the project has it now."""
    files = sorted(Path(prompts.__file__).parent.glob("*.txt"))
    return {file.stem: sha256(file.read_bytes()).hexdigest() for file in files}


def purposes(sources: Iterable[SourceName]) -> tuple[str, ...]:
    """Return what the dialogues' teacher and judge were paid for, as the ledger calls it."""
    asked: tuple[DatasetName, ...] = tuple(dataset for dataset in UPSTREAM if dataset != "source_qa")
    return tuple(label(dataset, source) for source in sources for dataset in asked)


def project_version() -> str:
    """Return the project's version."""
    return mmat_dagster.__version__
