"""A node of a Ray cluster lost in the middle of a stage: what is measured, one row of the table of faults."""

import os
import subprocess
import time
from collections.abc import Iterator

from bench.faults_rows import Row, room, spread, wait_for
from mmat_dagster.parts import read_manifest
from resources.store import LocalStore
from tests import postgres, ray_cluster
from tests.teacher_server import Behaviour, TeacherServer
from tests.teaching import write_problems
from tests.test_ray import CONCURRENCY, OFF, SLOW, build, building, dataset_files
from tests.test_teacher_kill import read_books

PROBLEMS, KILLS = 120, 3


def measure_ray() -> Iterator[Row]:
    """Yield the row of a cluster of two nodes, one of which is killed and comes back, again and again."""
    os.environ.update(ray_cluster.QUIET)
    with postgres.temporary_folder() as data, postgres.run_postgres(data) as server_url, room() as folder:
        ledger = f"{server_url}/postgres"
        write_problems(folder / "sources", range(1, PROBLEMS + 1))
        with TeacherServer(Behaviour()) as server:
            expected = build(folder, "local", server, MMAT_OPERATORS=OFF)
        with ray_cluster.running(ledger) as cluster, TeacherServer(SLOW) as server:
            variables = {"MMAT_ENGINE": "ray", "MMAT_RAY_ADDRESS": cluster.address, "MMAT_LEDGER": ledger}
            with building(folder, "ray", server, MMAT_OPERATORS=OFF, **variables) as process:
                waits = [_kill(cluster, server, process) for _ in range(KILLS)]
                said, _ = process.communicate()
            assert process.returncode == 0, said
            books, charged = read_books(ledger), server.paid + server.paid_unseen
        made = read_manifest(LocalStore(root=str(folder / "ray")), "rr_dialogues", "tabmwp")
        lost = PROBLEMS - (made.rows + made.rejected.total() if made is not None else 0)
        same = "the same bytes" if dataset_files(folder / "ray") == expected else "OTHER BYTES"
        doubled = charged.total() - len(charged)
        yield Row(
            fault="node of a Ray cluster lost in the middle of a stage",
            tried=f"{KILLS} kills of one of two nodes, {CONCURRENCY} requests under way on it, {PROBLEMS} dialogues",
            lost=f"{lost}; {same} as in one process",
            doubled=f"{doubled} of {charged.total():,}: what was in flight (told: at most {books.account.lost_calls})",
            recovered=f"{spread(waits)} from the node's return until both work",
        )


def _kill(cluster: ray_cluster.TwoNodes, server: TeacherServer, process: "subprocess.Popen[str]") -> float:
    """Kill the second node while both have requests under way; return how long that took to come about."""
    cluster.add_second()
    begun, server.ledger.in_flight_peak = time.monotonic(), 0
    wait_for(lambda: server.in_flight_peak > CONCURRENCY or process.poll() is not None, "work on both nodes")
    took = time.monotonic() - begun
    cluster.kill_second()
    return took
