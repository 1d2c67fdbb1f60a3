"""README.md: the card of a release, with the YAML that the Hugging Face hub reads; no figure that was not counted."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import yaml

from mmat_dagster import paper
from mmat_dagster.release import tables
from mmat_dagster.release.lines import NAMES
from mmat_dagster.release.plan import FORMS, SIDES, Form, Plan
from mmat_dagster.release.shards import CARD_FEATURES
from mmat_dagster.release.statistics import Statistics
from mmat_dagster.release.writing import DROPPED, Written

# As the hub spells licences; where parts differ, it takes `other` and a name.
_HUB_LICENCES = {"CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0", "Apache-2.0": "apache-2.0"}
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_TAGS = [
    "mmat-1m",
    "multimodal",
    "reasoning",
    "tool-use",
    "agent-tuning",
    "chain-of-thought",
    "reflection",
    "synthetic",
]


def render_card(plan: Plan, written: Written, sizes: Mapping[str, int]) -> str:
    """Return README.md; `sizes` are the bytes of each file by its path."""
    statistics = written.statistics
    front = yaml.safe_dump(_front(written, sizes), sort_keys=False, allow_unicode=True, width=120)
    sections = (
        _opening(statistics),
        _loading(plan),
        _composition(statistics),
        _reasoning(statistics),
        _quality(plan, statistics),
        _licences(statistics),
        _losses(plan, statistics),
        _provenance(plan, statistics),
        f"## Cite\n\nThe data engine's method and format are those of MMAT-1M:\n\n```bibtex\n{paper.CITATION}\n```\n",
    )
    return f"---\n{front}---\n\n" + "\n".join(sections)


def _front(written: Written, sizes: Mapping[str, int]) -> dict[str, Any]:
    statistics = written.statistics
    return {
        "pretty_name": "MMAT dialogues",
        **_licence(statistics),
        "language": ["en"],
        "task_categories": ["visual-question-answering", "image-text-to-text"],
        "size_categories": [_size(statistics.dialogues("rr"))],
        "tags": [*_TAGS, f"arxiv:{paper.ARXIV}"],
        "configs": [_config(form, written) for form in FORMS if statistics.dialogues(form)],
        "dataset_info": [_info(form, written, sizes) for form in FORMS if statistics.dialogues(form)],
    }


def _licence(statistics: Statistics) -> dict[str, str]:
    names = {part.licence for part in statistics.parts}
    known = _HUB_LICENCES.get(names.pop()) if len(names) == 1 else None
    if known:
        return {"license": known}
    return {"license": "other", "license_name": "by-part", "license_link": "README.md"}


def _size(count: int) -> str:
    return next((name for bound, name in _SIZES if count < bound), "n>10M")


def _config(form: Form, written: Written) -> dict[str, Any]:
    files = [{"split": side, "path": f"data/{form}/{side}-*.parquet"} for side in SIDES if written.shards[form, side]]
    return {"config_name": form, "data_files": files, **({"default": True} if form == "rr" else {})}


def _info(form: Form, written: Written, sizes: Mapping[str, int]) -> dict[str, Any]:
    splits: list[dict[str, Any]] = [
        {
            "name": side,
            "num_bytes": written.arrow_bytes[form, side],
            "num_examples": sum(shard.rows for shard in written.shards[form, side]),
        }
        for side in SIDES
        if written.shards[form, side]
    ]
    download = sum(sizes[shard.path] for side in SIDES for shard in written.shards[form, side])
    return {
        "config_name": form,
        "features": deepcopy(CARD_FEATURES),  # YAML would make the second one a reference
        "splits": splits,
        "download_size": download,
        "dataset_size": sum(split["num_bytes"] for split in splits),
    }


def _opening(statistics: Statistics) -> str:
    return f"""\
# MMAT dialogues

{statistics.dialogues("rr"):,} dialogues, over {statistics.images:,} images, that reason step by step, call tools,
search, and correct themselves. They were made by mmat_dagster, an open implementation of the data engine of
[MMAT-1M](https://arxiv.org/abs/{paper.ARXIV}). They are not the published MMAT-1M, but made in its way and in its form.

- **`rr`**: rationale and reflection. The assistant thinks, calls operators (caption, boxes, OCR, faces) and web search,
  reads what they say in the next turn, reflects where its reasoning falls short, and answers.
- **`orr`**: one turn. The operators' results stand in the question; one reply holds all thoughts and the answer.

{tables.splits(statistics)}

No image is on both sides: the split goes by the image's hash, and images that a dialogue shows together stay together.
"""


def _loading(plan: Plan) -> str:
    names = "\n".join(f"| `{name}` | `{form}` | {side} |" for (form, side), name in NAMES.items())
    where = plan.facts.repository or "path/to/this/folder"
    images = (
        "`images` are paths relative to this folder."
        if plan.choices.copies_images
        else "`images` are absolute paths on the machine where this release was made."
    )
    embedded = (
        'rows["train"][0]["images"][0]   # a decoded PIL image'
        if plan.choices.embeds_images
        else "# images are files in this folder: set it as the working directory before one is decoded"
    )
    return f"""\
## Load

```python
from datasets import load_dataset

rows = load_dataset("{where}", "rr")   # or "orr"
rows["train"][0]["messages"]    # [{{"role": "system", "content": ...}}, {{"role": "user", "content": ...}}, ...]
{embedded}
```

The same as JSON Lines, under the names of MMAT-1M's own files; {images}

| file | form | split |
|---|---|---|
{names}

`<image>` in a user's message stands for the next of `images`. With mmat_dagster, a folder for a trainer, with settings:

```sh
python -m mmat_dagster export --release . --trainer ms-swift --format rr --out export   # or llama-factory, trl
```
"""


def _composition(statistics: Statistics) -> str:
    return f"""\
## Composition

{tables.composition(statistics)}

Questions over the same images up to the dialogue's own, which the paper tells of its source dialogues:

{tables.rounds(statistics)}
"""


def _reasoning(statistics: Statistics) -> str:
    return f"""\
## Reasoning

Assistant turns before the answer, reflections included. The paper counts steps by question-answer pair and does not say
whether the answer is one of them.

{tables.steps(statistics)}

Calls of operators and of web search (`rag`):

{tables.calls(statistics)}

Dialogues with a reflection; the paper's share is of its {paper.QA_PAIRS:,} question-answer pairs:

{tables.reflections(statistics)}
"""


def _quality(plan: Plan, statistics: Statistics) -> str:
    if not statistics.audited:
        return f"""\
## Quality

These dialogues were not audited: no score stands in `audit_score`. The paper reports {paper.GOOD} of high quality.
"""
    good = plan.choices.good_score
    return f"""\
## Quality

{statistics.audited:,} of {statistics.dialogues("rr"):,} RR dialogues were audited (judged by \
{", ".join(sorted(statistics.judges))}): **{statistics.good / statistics.audited:.1%}** have a score of
{good:g} or more, the mean is {statistics.audit_sum / statistics.audited:.3f}. The paper reports {paper.GOOD} of high \
quality, by a judge of its own: the two
figures are comparable only as far as the judges are. `audit_score` holds each score.
"""


def _licences(statistics: Statistics) -> str:
    return f"""\
## Licences

Every record carries the licence of its part, and every part keeps the terms of those who wrote its questions and of
those who own its pictures. This is mmat_dagster's reading of these terms: check it before you publish anything made
from them.

{tables.licences(statistics)}
"""


def _losses(plan: Plan, statistics: Statistics) -> str:
    return f"""\
## What was lost

Records that did not get through, by the stage that turned them away. `{DROPPED}` names those that this
release left out.

{tables.losses(plan.data, statistics)}
"""


def _provenance(plan: Plan, statistics: Statistics) -> str:
    facts = plan.facts
    teachers = tables.table(
        ("teacher", "dialogues"), [(name, f"{count:,}") for name, count in sorted(statistics.teachers.items())]
    )
    code = tables.table(("dataset", "code version"), [(name, f"`{each}`") for name, each in facts.code.items()], left=2)
    prompts = tables.table(("prompt", "SHA-256"), [(name, f"`{each}`") for name, each in facts.prompts.items()], left=2)
    return f"""\
## Provenance

Release `{plan.key}`, by mmat_dagster {facts.version}. Who wrote the dialogues:

{teachers}

{_paid(plan)}

{_benchmarks(plan)}

What the release was made from; equal fingerprints are equal data:

{tables.fingerprints(plan.data)}

<details><summary>Code and prompts, as they stood when this release was made</summary>

{code}

{prompts}

</details>
"""


def _paid(plan: Plan) -> str:
    if not plan.facts.outlays:
        return "The reply ledger knows of no model that was paid for them."
    return f"What was paid for them, rejected records included:\n\n{tables.outlays(plan.facts.outlays)}"


def _benchmarks(plan: Plan) -> str:
    known = plan.facts.benchmarks
    if not known:
        return _unknown_benchmarks(plan)
    done = "left out" if plan.facts.leaks == "drop" else "marked, and not left out"
    listed = ", ".join(f"{name} ({count:,} questions)" for name, count in sorted(known.items()))
    return f"Samples that show a picture or ask a question of these evaluation benchmarks were {done}: {listed}."


def _unknown_benchmarks(plan: Plan) -> str:
    leaks = sum(manifest.rejected["benchmark leak"] for each in plan.data for manifest in each.manifests)
    if not leaks:
        return "Which evaluation benchmarks the samples were compared with is not known, if they were with any."
    return (
        f"{leaks:,} samples were left out since they give an evaluation benchmark away; which ones is not known here."
    )
