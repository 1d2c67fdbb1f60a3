"""How old a release and scores may be before the UI says so.

Dagster's daemon compares the age of an asset's last materialization, of whichever partition, every half minute. What is
old need not be stale: nothing is made anew while nothing changes.
"""

from datetime import timedelta

import dagster as dg

A_MONTH_OR_A_QUARTER = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=30), fail_window=timedelta(days=90))
