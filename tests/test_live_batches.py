"""On a live deployment a run waits for the teacher's batches without a worker, and the daemon goes on with it."""

from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest

from assets.sensors import CONTINUES_TAG
from assets.waiting import CONTINUED, STATE_TAG
from mmat_dagster import parts
from mmat_dagster.interfaces import Store
from resources.store import LocalStore
from tests import live_deployment, postgres
from tests.asking import KEY
from tests.layouts import write_tabmwp
from tests.live_deployment import RUNS_S, deployment, launch, switch_on, wait
from tests.teacher_server import Behaviour, TeacherServer

postgres_url = postgres.postgres_url
runs_url = live_deployment.runs_url


@pytest.mark.long
def test_the_daemon_goes_on_with_a_run_as_often_as_a_batch_of_it_has_ended(
    postgres_url: str, runs_url: str, tmp_path: Path
) -> None:
    settings = {
        "MMAT_SOURCES": str(write_tabmwp(tmp_path / "sources", 3)),
        "MMAT_TEACHER": "gpt4o",
        "MMAT_MODEL": "scripted",
        "MMAT_MODE": "batch",
        "OPENAI_API_KEY": KEY,
    }
    store = LocalStore(root=str(tmp_path / "store"))
    with (
        TeacherServer(Behaviour(key=KEY)) as server,
        deployment(tmp_path, runs_url, postgres_url, OPENAI_BASE_URL=server.url, **settings) as live,
        dg.DagsterInstance.get() as instance,
    ):
        switch_on(live, "Sensor", "ended_batches")
        launch(live, "data", "tabmwp", "source_qa", "rationales", "rr_dialogues", "orr_dialogues")
        wait(lambda: is_built(store) and all(run.is_finished for run in instance.get_runs()), RUNS_S, "the dialogues")
        runs = [*instance.get_runs()][::-1]
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        # A dialogue has several turns, and each comes with a batch of its own.
        assert len(runs) > 2
        assert [run.tags.get(STATE_TAG) for run in runs] == [*[CONTINUED] * (len(runs) - 1), None]
        assert all(later.tags[CONTINUES_TAG] == earlier.run_id for earlier, later in pairwise(runs))
        assert not server.received
        assert {*server.paid.values()} == {1}


def is_built(store: Store) -> bool:
    """Say whether all that was launched is there."""
    manifest = parts.read_manifest(store, "orr_dialogues", "tabmwp")
    return manifest is not None and manifest.rows + manifest.rejected.total() == 3
