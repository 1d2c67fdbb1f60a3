"""The composition root: the only file that sees Dagster, the assets and the resources together."""

import os
import warnings

import dagster as dg

# Range runs rest on `backfill_policy`, checks by source on partitioned checks: Dagster calls the first beta and the
# second a preview, at every definition. pyproject.toml pins the minor version that both were tested with.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

from assets import (  # noqa: E402
    audit,
    automation,
    checkpoints,
    evaluation,
    failures,
    foundation,
    integration,
    rationale,
    reflection,
    release,
    schedules,
    sensors,
    source_changes,
)
from mmat_dagster.environment import read_environment  # noqa: E402
from resources.deployments import DEPLOYMENTS  # noqa: E402

ENVIRONMENT = read_environment(os.environ)
RESOURCES = DEPLOYMENTS[ENVIRONMENT.deployment](ENVIRONMENT)

defs = dg.Definitions(
    assets=dg.load_assets_from_modules(
        [foundation, rationale, reflection, audit, integration, checkpoints, evaluation, release]
    ),
    asset_checks=dg.load_asset_checks_from_modules([foundation, reflection, integration]),
    jobs=[schedules.data, schedules.training, schedules.evaluation],
    schedules=[schedules.weekly(ENVIRONMENT.rebuild_cron or schedules.MONDAYS)],
    sensors=[
        sensors.ended_batches,
        source_changes.changed_sources,
        automation.stale_data,
        automation.stale_release,
        # To name a channel is to switch it on.
        failures.failed_runs(is_running=ENVIRONMENT.slack_channel is not None),
    ],
    resources=RESOURCES,
    # One process a run: a killed run leaves no step behind that works on, and costs half.
    executor=dg.in_process_executor,
)
