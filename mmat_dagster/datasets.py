"""The datasets of the engine: which stands on which, what its records are, and what code and prompts decide it.

source folder -> source_qa -> rationales -> rr_dialogues -> orr_dialogues        (one chain per source)
                                                         -> dialogue_audit
"""

from collections.abc import Mapping
from typing import Any

from mmat_dagster.chat.prompting import CHAT_CODE
from mmat_dagster.fingerprints import code_fingerprint
from mmat_dagster.schema import DatasetName, Dialogue, DialogueAudit, OrrDialogue, Rationale, Sample, SourceName

UPSTREAM: Mapping[DatasetName, DatasetName | None] = {
    "source_qa": None,
    "rationales": "source_qa",
    "rr_dialogues": "rationales",
    "orr_dialogues": "rr_dialogues",
    "dialogue_audit": "rr_dialogues",
}
RECORDS: Mapping[DatasetName, type[Any]] = {
    "source_qa": Sample,
    "rationales": Rationale,
    "rr_dialogues": Dialogue,
    "orr_dialogues": OrrDialogue,
    "dialogue_audit": DialogueAudit,
}

# What a dataset's code version stands for: the code and the prompts of its stage.
CODE: Mapping[DatasetName, tuple[str, ...]] = {
    "source_qa": (
        "schema.py",
        "images.py",
        "source_images.py",
        "questions.py",
        "duplicates.py",
        "licences.py",
        "sources/*.py",
        "stages/foundation.py",
    ),
    "rationales": (
        "schema.py",
        "wire.py",
        "answers.py",
        "operators/findings.py",
        "operators/looking.py",
        "operators/observation.py",
        "operators/source_boxes.py",
        "operators/source_caption.py",
        "reasoning.py",
        "stages/rationale.py",
        "prompts/rationale_*.txt",
        "prompts/repair.txt",
    ),
    "rr_dialogues": (
        "schema.py",
        "wire.py",
        "stages/reflection.py",
        "prompts/reflection_*.txt",
        "prompts/repair.txt",
        "prompts/rr_system.txt",
    ),
    "orr_dialogues": ("schema.py", "wire.py", "stages/integration.py", "prompts/orr_system.txt"),
    "dialogue_audit": (
        "schema.py",
        "wire.py",
        "answers.py",
        "audit/*.py",
        "stages/audit.py",
        "prompts/audit_*.txt",
        "prompts/repair.txt",
    ),
}
# What is asked and read on behalf of a dataset, and how.
ASKING: Mapping[DatasetName, tuple[str, ...]] = {
    "rationales": ("teachers/*.py", *CHAT_CODE),
    "rr_dialogues": ("teachers/*.py", *CHAT_CODE),
    "dialogue_audit": ("judges/*.py", "teachers/requests.py", *CHAT_CODE),
}


def label(dataset: DatasetName, source: SourceName) -> str:
    """Return what the teacher is told that its requests are for."""
    return f"{dataset} of {source}"


def chain(dataset: DatasetName) -> tuple[DatasetName, ...]:
    """Return `dataset` and what it stands on, the first one first."""
    upstream = UPSTREAM[dataset]
    return (*(chain(upstream) if upstream is not None else ()), dataset)


def code_version(dataset: DatasetName) -> str:
    """Return the version of the code and prompts that make `dataset`."""
    return code_fingerprint(*CODE[dataset], *ASKING.get(dataset, ()))
