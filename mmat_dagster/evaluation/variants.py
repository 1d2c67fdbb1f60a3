"""Which students are examined, and how: the three of the paper's table, and its ablations by name.

    base   the weights that the student starts from, asked directly
    orr    tuned on ORR dialogues, operator results in the prompt
    rr     tuned on RR dialogues, an agent that calls operators and searches while it answers

Paper: MMAT-1M (arXiv 2507.21924), evaluation and ablation tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmat_dagster.evaluation.answering import Allowed, Form
from mmat_dagster.training.mixtures import CheckpointName


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to examine a student: `checkpoint` names whose weights, None those that it starts from."""

    name: str
    form: Form
    checkpoint: CheckpointName | None = None
    allowed: Allowed = field(default_factory=Allowed)


_ALL = (
    Variant(name="base", form="direct"),
    Variant(name="orr", form="orr", checkpoint="orr_checkpoint"),
    Variant(name="rr", form="rr", checkpoint="rr_checkpoint"),
    Variant(name="rr without operators", form="rr", checkpoint="rr_checkpoint", allowed=Allowed(operators=False)),
    Variant(name="rr without rag", form="rr", checkpoint="rr_checkpoint", allowed=Allowed(rag=False)),
    Variant(name="rr without reflection", form="rr", checkpoint="rr_checkpoint", allowed=Allowed(reflection=False)),
    Variant(name="rr untuned", form="rr"),
    Variant(name="orr untuned", form="orr"),
)
VARIANTS: Mapping[str, Variant] = {variant.name: variant for variant in _ALL}
USUAL = ("base", "orr", "rr")
