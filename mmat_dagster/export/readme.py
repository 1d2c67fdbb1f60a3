"""What an export says of itself to the person who trains on it."""

from mmat_dagster.export.totals import Totals
from mmat_dagster.export.trainer import TRAIN, VALIDATION, Recipe, Trainer

_FORMS = {
    "rr": "RR dialogues: reasoning in turns, with calls of operators and searches, and reflection",
    "orr": "ORR dialogues: the same in one turn, with the operators' results in the question",
    "answer": "The control: question and operator results, and nothing but the answer",
}


def render_readme(trainer: Trainer, recipe: Recipe, totals: Totals, val_share: float) -> str:
    """Render README.md."""
    sections = (
        _opening(trainer, recipe),
        _files(totals, val_share),
        _licences(totals),
        _lost(totals),
        _ways(trainer, recipe),
    )
    return "\n".join(sections)


def _opening(trainer: Trainer, recipe: Recipe) -> str:
    return f"""\
# {recipe.name} for {trainer.name}

{_FORMS[recipe.form]}.

Made by mmat_dagster for [{trainer.name}]({trainer.home}) {trainer.version}, to train
`{recipe.student.model}` with the hyper-parameters of MMAT-1M (arXiv 2507.21924). In this folder:

```sh
{trainer.launch}
```
"""


def _files(totals: Totals, val_share: float) -> str:
    held_out = (
        f"`{VALIDATION}` holds {totals.dialogues(VALIDATION):,}, about {val_share * 100:g} % of the images, none of "
        f"which is in `{TRAIN}`.\n"
        if val_share
        else ""
    )
    return f"""\
`{TRAIN}` holds {totals.dialogues(TRAIN):,} dialogues.
{held_out}They show {totals.images:,} different images, which are not in this folder: rows name them by absolute paths.
The longest dialogue has {totals.longest_bytes:,} bytes of text.
"""


def _licences(totals: Totals) -> str:
    rows = (
        f"| {part.source} | {part.part} | {dialogues:,} | {images:,} | {part.licence} | "
        f"{'yes' if part.is_commercial else '**no**'} |"
        for part, dialogues, images in totals.parts
    )
    return "\n".join(
        (
            "## Licences",
            "",
            "| source | part | dialogues | images | licence | commercial use |",
            "|---|---|---:|---:|---|---|",
            *rows,
            "",
            "This is mmat_dagster's reading of the publishers' terms: check it before you release what you train.",
            "",
        )
    )


def _lost(totals: Totals) -> str:
    if not totals.lost:
        return "## Dropped\n\nNothing.\n"
    rows = (f"| {source} | {reason} | {count:,} |" for (source, reason), count in sorted(totals.lost.items()))
    head = ("## Dropped", "", "`dropped.jsonl` names each.", "", "| source | reason | dialogues |", "|---|---|---:|")
    return "\n".join((*head, *rows, ""))


def _ways(trainer: Trainer, recipe: Recipe) -> str:
    own = f"- {recipe.student.note}\n" if recipe.student.note else ""
    return (
        f"## The ways of {trainer.name}\n\n{trainer.notes}{own}"
        "- It knows nothing of the paper's regulariser, the update's Frobenius norm; `weight_decay` is AdamW's.\n"
    )
