"""Dagster's own automation, as the other way to what `weekly` does: sensors that evaluate the assets' conditions.

They know the versions of code, prompts and data. What else decides a dataset (the teacher's model, operators,
settings) only the engine's keys know, by which `weekly` asks: switch on one of the two. Of files they know what was
last observed: by hand, by a run, or by `changed_sources`.
"""

import dagster as dg

from assets.audit import dialogue_audit
from assets.foundation import source_qa
from assets.integration import orr_dialogues
from assets.rationale import rationales
from assets.reflection import rr_dialogues
from assets.release import dataset_release

stale_data = dg.AutomationConditionSensorDefinition(
    "stale_data",
    target=dg.AssetSelection.assets(source_qa, rationales, rr_dialogues, orr_dialogues, dialogue_audit),
    default_status=dg.DefaultSensorStatus.STOPPED,
    # One run per source.
    emit_backfills=False,
    description="Asks for datasets that are missing or stale, by Dagster's versions of code, prompts and data, as soon "
    "as they are. It pays the teacher without being asked.",
)
stale_release = dg.AutomationConditionSensorDefinition(
    "stale_release",
    target=dg.AssetSelection.assets(dataset_release),
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Asks for a release when dialogues or audits have changed and none is being made any more. It pushes "
    "to MMAT_HUB_REPO, where that is set.",
)
