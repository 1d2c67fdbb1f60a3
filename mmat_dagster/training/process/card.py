"""The model card of a checkpoint: what it was made from, how, and what its data's licences say."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mmat_dagster.training.spec import Outcome, Student, TrainingRun


def render_card(
    run: TrainingRun,
    base: str,
    outcome: Outcome,
    licences: Mapping[str, int],
    versions: str,
    commit: str | None = None,
) -> str:
    """Return README.md as the Hugging Face hub takes it: YAML front matter, then Markdown.

    `commit` is what the student's revision has meant when it was loaded, where it came from a hub.
    """
    # A folder says nothing to anybody else but by its name.
    hub_name = _hub_name(run.student)
    base_model = hub_name or Path(base).name
    revision = commit or run.student.revision
    front: dict[str, Any] = {
        "library_name": "peft" if run.hyper.method == "lora" else "transformers",
        "pipeline_tag": "image-text-to-text" if run.student.modality == "vision" else "text-generation",
        "tags": ["mmat-1m", run.format, "sft", "trl", run.hyper.method],
    }
    if hub_name:
        front = {"base_model": hub_name, **front}
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(outcome.dropped.items())) or "none"
    hyper = run.hyper
    rows = {
        "student": f"{run.student.name} ({base_model}{f' at {revision}' if revision else ''})",
        "method": f"LoRA, rank {hyper.lora_rank}, alpha {hyper.lora_alpha}, dropout {hyper.lora_dropout}"
        if hyper.method == "lora"
        else "all weights",
        "format": f"{run.format}: {_FORMATS[run.format]}",
        "mixture": run.mixture,
        "dialogues": f"{outcome.dialogues:,} used; dropped: {dropped}",
        "steps": f"{outcome.step:,}, of {run.batch} {'dialogue' if run.batch == 1 else 'dialogues'} each",
        "tokens": f"{outcome.tokens:,}",
        "epochs": hyper.epochs,
        "learning rate": f"{hyper.learning_rate:g}, {hyper.schedule}, warm-up {hyper.warmup_ratio:g}",
        "weight decay": hyper.weight_decay,
        "Frobenius regulariser": hyper.frobenius_lambda or "off",
        "precision": hyper.precision,
        "longest dialogue": f"{hyper.max_length:,} tokens",
        "seed": hyper.seed,
        "last loss": f"{outcome.final_loss:.4f} nats a token" if outcome.final_loss is not None else "unknown",
        "trained with": versions,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    data = "\n".join(
        f"| {item.source} | {item.dataset} | {sum(shard.rows for shard in item.shards):,} | {item.weight:g} "
        f"| `{item.fingerprint}` |"
        for item in run.data
    )
    terms = "\n".join(f"| {licence} | {count:,} |" for licence, count in Counter(licences).most_common())
    return f"""---
{yaml.safe_dump(front, sort_keys=False)}---

# {run.name}

Fine-tuned on {run.format.upper()} dialogues made by the MMAT-1M data engine (arXiv 2507.21924). `run.json` holds the
exact configuration, `metrics.jsonl` every logged step, `dropped.jsonl` what was not learned from and why.

![loss](loss.png)

| | |
|---|---|
{table}

## Data

| source | dataset | dialogues | weight | fingerprint |
|---|---|---:|---:|---|
{data}

The dialogues carry these licences, which bind what is made of them as far as the law says so:

| licence | dialogues |
|---|---:|
{terms}
"""


def _hub_name(student: Student) -> str | None:
    return None if student.model is None or Path(student.model).is_absolute() else student.model


_FORMATS = {
    "rr": "rationale and reflection, turn by turn",
    "orr": "the same in one turn",
    "answer": "the answer alone, as a control",
}
