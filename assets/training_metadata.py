"""What the Dagster UI shows of a trained checkpoint: numbers, the loss curve, what was left out, the model card."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from mmat_dagster.interfaces import Store
from mmat_dagster.markdown import count_table, picture
from mmat_dagster.schema import SourceName
from mmat_dagster.training.checkpoints import Checkpoint, Trained
from mmat_dagster.training.spec import Student

# A picture is stored in Dagster's event log, so it is small.
PICTURE_BYTES = 300_000


def describe_checkpoint(store: Store, trained: Trained, passed_over: Mapping[SourceName, str]) -> dict[str, Any]:
    """Return the metadata of one materialization."""
    checkpoint = trained.checkpoint
    outcome = checkpoint.outcome
    losses = {"first_loss": checkpoint.first_loss, "final_loss": outcome.final_loss}
    return {
        "student": checkpoint.student.name,
        "base_model": base_model(checkpoint.student),
        "is_reused": trained.is_reused,
        "steps": outcome.step,
        **{name: round(loss, 4) for name, loss in losses.items() if loss is not None},
        "tokens": outcome.tokens,
        "tokens_per_second": round(checkpoint.tokens_per_second, 1),
        "peak_memory_gb": round(checkpoint.memory_gb, 2),
        "seconds": round(outcome.seconds, 1),
        "startup_seconds": round(outcome.startup_s, 1),
        "dialogues": outcome.dialogues,
        "dropped": sum(outcome.dropped.values()),
        "dropped_by_reason": dg.MetadataValue.md(count_table("reason", outcome.dropped)),
        "data": dg.MetadataValue.md(_data(checkpoint)),
        **({"passed_over": dg.MetadataValue.md(_reasons(passed_over))} if passed_over else {}),
        "location": dg.MetadataValue.path(store.locate(checkpoint.folder)),
        **_shown(store, checkpoint),
    }


def base_model(student: Student) -> str:
    """Return what a student was before it was trained."""
    return f"{student.model or student.name}{f'@{student.revision}' if student.revision else ''}"


def _data(checkpoint: Checkpoint) -> str:
    rows = "".join(
        f"| {source} | {checkpoint.weights[source]:g} | `{fingerprint}` |\n"
        for source, fingerprint in checkpoint.data.items()
    )
    return f"| source | weight | fingerprint |\n|---|---:|---|\n{rows}"


def _reasons(passed_over: Mapping[SourceName, str]) -> str:
    rows = "".join(f"| {source} | {why} |\n" for source, why in passed_over.items())
    return f"| source | why |\n|---|---|\n{rows}"


def _shown(store: Store, checkpoint: Checkpoint) -> dict[str, dg.MetadataValue[str]]:
    """Return the loss curve and the model card, where the training has made them."""
    sizes = {file.path: file.bytes for file in checkpoint.files}
    shown: dict[str, dg.MetadataValue[str]] = {}
    if sizes.get("loss.png", PICTURE_BYTES) < PICTURE_BYTES:
        shown["loss"] = dg.MetadataValue.md(picture("loss", store.read(f"{checkpoint.folder}/loss.png"), "png"))
    if "README.md" in sizes:
        card = store.read(f"{checkpoint.folder}/README.md").decode(errors="replace")
        shown["model_card"] = dg.MetadataValue.md(_without_front_matter(card))
    return shown


def _without_front_matter(card: str) -> str:
    """Return a model card as a page shows it: the front matter is for the hub, and the picture stands beside it."""
    body = card.split("\n---\n", 1)[-1] if card.startswith("---\n") else card
    return body.replace("![loss](loss.png)", "")
