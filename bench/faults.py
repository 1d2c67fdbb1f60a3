"""The table of faults in docs/reliability.md: every row is measured here.

    python -m bench.faults [NAME ...]      without a NAME all of them, which takes about 20 minutes on 2 cores

What is doubled is counted at the peer: the stand-in provider's own bill, or the rows and objects that are there.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date

from bench import faults_processes, faults_provider, faults_store, faults_workers
from bench.faults_rows import HEAD, Row

FAULTS: Mapping[str, Callable[[], Iterator[Row]]] = {
    "provider": faults_provider.measure_provider,
    "outage": faults_provider.measure_outage,
    "budget": faults_provider.measure_budget,
    "batch": faults_provider.measure_batch,
    "kill": faults_processes.measure_kill,
    "terminate": faults_processes.measure_terminate,
    "postgres": faults_processes.measure_postgres,
    "locks": faults_processes.measure_locks,
    "s3": faults_store.measure_s3,
    "s3-kill": faults_store.measure_s3_kill,
    "disk": faults_store.measure_disk,
    "damage": faults_store.measure_damage,
    "operators": faults_workers.measure_operators,
    "training": faults_workers.measure_training,
}


def main(names: Sequence[str]) -> None:
    """Print the rows of `names`."""
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        sys.exit(f"there is no {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    print(f"Measured on {date.today()} on {os.cpu_count()} cores, `python -m bench.faults {' '.join(names)}`\n")
    print("\n".join(HEAD), flush=True)
    for name in names or FAULTS:
        for row in FAULTS[name]():
            print(row.render(name), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
