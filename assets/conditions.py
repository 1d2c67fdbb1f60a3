"""When Dagster asks for an asset by itself; nothing is evaluated until the sensors that use this are switched on.

A condition is true once for each change: a partition that fails, or waits for a batch, is not asked for again until
something changes. What had changed before a sensor was switched on is no change to it, what is missing is. None is
`eager()`, which follows every materialization, also one that has changed nothing.
"""

import dagster as dg

AC = dg.AutomationCondition

# By Dagster's own versions: those of code and prompts, and of what an asset stands on.
_HAS_CHANGED = AC.any_deps_match(AC.data_version_changed()) | AC.code_version_changed()
# `missing` would stay true where a run has failed, and ask for it again at every other look.
_IS_MISSING_OR_HAS_CHANGED = AC.newly_missing() | _HAS_CHANGED
# `since_last_handled` would also forget what is missing when a sensor begins.
_HANDLED = (AC.newly_requested() | AC.newly_updated()).with_label("handled")
_CAN_BE_MADE = ~AC.any_deps_missing() & ~AC.any_deps_in_progress() & ~AC.in_progress()

# Missing or stale. The dataset of a source whose files nobody has observed has a dependency that is missing.
MISSING_OR_STALE = (_IS_MISSING_OR_HAS_CHANGED.since(_HANDLED) & _CAN_BE_MADE).with_label("missing or stale")
# An audit is made where there is one: a judge is paid beside the teacher.
STALE = (_HAS_CHANGED.since(_HANDLED) & ~AC.missing() & _CAN_BE_MADE).with_label("stale")
# A release takes what there is: sources that are absent do not hold it up, those that are being made do.
RELEASE_IS_STALE = (
    _IS_MISSING_OR_HAS_CHANGED.since(_HANDLED)
    & AC.any_deps_match(~AC.missing())
    & ~AC.any_deps_in_progress()
    & ~AC.in_progress()
).with_label("other dialogues than those of the last release")
