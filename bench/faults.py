"""The table of faults in docs/reliability.md: every row is measured here.

    python -m bench.faults [NAME ...]      without a NAME all of them, which takes half an hour on 2 busy cores

What is doubled is counted at the peer: the stand-in provider's own bill, or the rows and objects that are there.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pkgutil import resolve_name

from bench.faults_rows import HEAD, Row

# Imported when it is measured: worker processes that are spawned import this file again, and nothing else with it.
FAULTS: Mapping[str, str] = {
    "provider": "bench.faults_provider:measure_provider",
    "outage": "bench.faults_provider:measure_outage",
    "budget": "bench.faults_provider:measure_budget",
    "batch": "bench.faults_provider:measure_batch",
    "kill": "bench.faults_processes:measure_kill",
    "terminate": "bench.faults_processes:measure_terminate",
    "postgres": "bench.faults_processes:measure_postgres",
    "locks": "bench.faults_processes:measure_locks",
    "s3": "bench.faults_store:measure_s3",
    "s3-kill": "bench.faults_store:measure_s3_kill",
    "disk": "bench.faults_store:measure_disk",
    "damage": "bench.faults_store:measure_damage",
    "operators": "bench.faults_workers:measure_operators",
    "ray": "bench.faults_ray:measure_ray",
    "training": "bench.faults_workers:measure_training",
}


def main(names: Sequence[str]) -> None:
    """Print the rows of `names`."""
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        sys.exit(f"there is no {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    print(f"Measured on {date.today()} on {os.cpu_count()} cores, `python -m bench.faults {' '.join(names)}`\n")
    print("\n".join(HEAD), flush=True)
    for name in names or FAULTS:
        measure: Callable[[], Iterator[Row]] = resolve_name(FAULTS[name])
        for row in measure():
            print(row.render(name), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
