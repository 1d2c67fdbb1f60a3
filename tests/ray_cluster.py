"""A Ray cluster of two nodes on this machine, one of which may be killed.

In a test file: `cluster = ray_cluster.cluster`, or `ray_here = ray_cluster.ray_here` for one node in this process.
Where Ray is not installed its tests are skipped, or fail if MMAT_REQUIRE_RAY is set.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests import postgres

ROOT = Path(__file__).resolve().parents[1]
KEY = "sk-a-key-of-the-machines"
OBJECTS_BYTES = 80 << 20
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def require_ray() -> None:
    """Skip a test that needs Ray where it is not installed, unless it must be."""
    if find_spec("ray") is None and not os.environ.get("MMAT_REQUIRE_RAY"):
        pytest.skip("Ray is not installed")


class TwoNodes:
    """Two nodes of one CPU each; the drivers are on the first one."""

    def __init__(self, ledger: str, *, include_dashboard: bool) -> None:
        from ray.cluster_utils import Cluster  # noqa: PLC0415

        settings = {"num_cpus": 1, "object_store_memory": OBJECTS_BYTES, "include_dashboard": False}
        head = {**settings, "include_dashboard": include_dashboard, "dashboard_port": 0}
        self.ledger = ledger
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self._settings = settings
        self._second: Any = None
        self.add_second()

    @property
    def address(self) -> str:
        """Where drivers find it."""
        return str(self._cluster.address)

    @property
    def job_server(self) -> str:
        """Where jobs are submitted; only with a dashboard."""
        return f"http://{self._cluster.head_node.webui_url}"

    def add_second(self) -> None:
        """Start the second node, unless it is there."""
        if self._second is None:
            self._second = self._cluster.add_node(**self._settings)
            self._cluster.wait_for_nodes()

    def kill_second(self) -> None:
        """Kill the second node, and with it what works there."""
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = None

    def end(self) -> None:
        """End all of it."""
        self._cluster.shutdown()


@contextmanager
def running(ledger: str, *, include_dashboard: bool = False) -> Iterator[TwoNodes]:
    """Run a cluster whose machines know key and ledger, as they are to be set up."""
    require_ray()
    with pytest.MonkeyPatch.context() as patch:
        # This code, wherever else the environment has it installed from.
        machines = {**QUIET, "MMAT_LEDGER": ledger, "OPENAI_API_KEY": KEY, "PYTHONPATH": str(ROOT)}
        for name, value in machines.items():
            patch.setenv(name, value)
        nodes = TwoNodes(ledger, include_dashboard=include_dashboard)
        try:
            yield nodes
        finally:
            nodes.end()


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[TwoNodes]:
    """Yield a cluster of a test's own."""
    with running(postgres.fresh_database(request.config)) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """Have Ray run on this machine for the tests of a file."""
    require_ray()
    import ray  # noqa: PLC0415

    from resources.ray_joining import connect  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        connect(None)
        yield
        ray.shutdown()
