"""What Ray's workers make, refuse and hold: parts of a stage, and models that look at images."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmat_dagster.engine import EngineError
from mmat_dagster.interfaces import TeacherUnavailable
from mmat_dagster.processes import SECRETS
from mmat_dagster.progress import Progress
from mmat_dagster.tools import OperatorUnavailable
from resources.ray_engine import told
from resources.vision_worker import ModelSpec
from resources.vision_workers import VisionWorkers
from tests import ray_cluster
from tests.ray_pipelines import variables_of, with_ray
from tests.teacher_server import Behaviour, TeacherServer
from tests.teaching import PRICES, Job, make_pipeline, read_files, write_problems
from tests.test_vision_workers import failure, handling, seen, task

ray_here = ray_cluster.ray_here

ROOT = Path(__file__).resolve().parents[1]
# Starts Ray as a run does, and has others try to join it without what that run knows.
HOST = """
import os, subprocess, sys
from resources.ray_engine import prepare
prepare(None)
from resources import ray_joining
ray_joining.connect(None)
import ray
own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
address = ray.get_runtime_context().gcs_address
for variables in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "c4nary"}):
    subprocess.run([sys.executable, "-c", sys.argv[1], address], env={**own, **variables}, stderr=subprocess.STDOUT)
"""
STRANGER = """
import sys
from mmat_dagster.engine import EngineError
from resources.ray_engine import prepare
prepare(sys.argv[1])
from resources import ray_joining
try:
    ray_joining.connect(sys.argv[1])
except EngineError as refused:
    print(refused)
"""
MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeJob:
    """Make the job to build twelve problems in four parts, and tell the workers of it."""
    write_problems(tmp_path / "sources", range(1, 13))

    def make(server: TeacherServer, name: str = "ray", **fields: object) -> Job:
        job = Job(
            sources=str(tmp_path / "sources"),
            store=str(tmp_path / name),
            url=server.url,
            ledger=f"sqlite:///{tmp_path}/{name}.sqlite",
            part_rows=3,
            fields={**PRICES, **fields},
        )
        for variable, value in variables_of(job).items():
            monkeypatch.setenv(variable, value)
        return job

    return make


@pytest.mark.usefixtures("ray_here")
def test_workers_make_the_same_bytes_and_tell_how_far_they_are_and_what_it_has_cost(make_job: MakeJob) -> None:
    told_of: list[Progress] = []
    with TeacherServer() as server:
        here = make_job(server, "here")
        list(make_pipeline(here).build("rr_dialogues", "tabmwp", told_of.append))
        local, paid_here, told_of[:] = told_of[-1], server.paid.total(), []
        job = make_job(server)
        pipeline = with_ray(job)
        list(pipeline.build("rr_dialogues", "tabmwp", told_of.append))
        paid = server.paid.total() - paid_here
    assert read_files(job) == read_files(here)
    assert (told_of[-1].accepted, told_of[-1].total) == (local.accepted, local.total) == (12, 12)
    spent = pipeline.spendings["teacher"]
    assert spent.calls == paid == paid_here
    assert spent.spent_usd == pytest.approx(local.spending.spent_usd if local.spending else None)
    assert told_of[-1].spending == spent


@pytest.mark.usefixtures("ray_here")
def test_what_ends_a_run_here_ends_it_there_and_is_said_in_the_same_words(make_job: MakeJob) -> None:
    with TeacherServer(Behaviour(key="sk-another")) as server:
        words = []
        for pipeline in (make_pipeline(make_job(server, "here")), with_ray(make_job(server))):
            with pytest.raises(TeacherUnavailable) as refused:
                list(pipeline.build("rr_dialogues", "tabmwp", lambda progress: None))
            words.append(str(refused.value))
    assert words[0] == words[1]


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize(
    ("opens", "why"), [("open_elsewhere", "shares ledger"), ("open_otherwise", "would be made otherwise")]
)
def test_a_worker_that_is_set_up_otherwise_makes_nothing(make_job: MakeJob, opens: str, why: str) -> None:
    with TeacherServer() as server:
        pipeline = with_ray(make_job(server), opens)
        with pytest.raises(EngineError, match=why):
            list(pipeline.build("rr_dialogues", "tabmwp", lambda progress: None))
        assert not server.received


@pytest.fixture(scope="module")
def actors(ray_here: None) -> Iterator[VisionWorkers]:
    """Yield workers that are Ray actors."""
    from resources.ray_vision import ActorWorker, Models  # noqa: PLC0415

    models = Models(variables={})
    workers = VisionWorkers([ActorWorker(actor) for actor in models.of("test", 2, 0.0)])
    yield workers
    workers.close()


def test_actors_look_at_images_and_know_no_secret(actors: VisionWorkers, tmp_path: Path) -> None:
    looks = [actors.look(task(tmp_path, f"{n}"), handling()) for n in range(6)]
    details = [seen(look) for look in looks]
    assert 1 <= len({each["process"] for each in details}) <= 2
    assert all(each["secrets"] == [] and each["threads"] == ["1"] for each in details)


def test_an_image_that_ends_its_actor_is_tried_once_more_and_harms_no_other(
    actors: VisionWorkers, tmp_path: Path
) -> None:
    once = actors.look(task(tmp_path, "once", f"die once at {tmp_path / 'died'}"), handling())
    deadly = actors.look(task(tmp_path, "deadly", "die"), handling())
    slow = actors.look(task(tmp_path, "slow", "sleep 60"), handling(timeout_s=0.5))
    assert seen(once)
    assert failure(deadly) == "its worker died, twice"
    assert failure(slow) == "it took longer than 0.5 s, twice"
    assert seen(actors.look(task(tmp_path, "sound"), handling()))


def test_an_actor_that_cannot_load_a_model_says_why(actors: VisionWorkers, tmp_path: Path) -> None:
    unloadable = ModelSpec(path="tests.vision_models:Unloadable")
    with pytest.raises(OperatorUnavailable, match="no weights at hand"):
        actors.look(task(tmp_path, "one"), handling(unloadable)).result(60)


def test_workers_are_told_what_decides_results_and_no_secret() -> None:
    variables = dict.fromkeys(SECRETS, "c4nary") | {"MMAT_MODEL": "a", "MMAT_MIRROR": "/m", "HOME": "/root"}
    assert told({**variables, "OPENAI_BASE_URL": "http://127.0.0.1/v1"}) == {
        "MMAT_MODEL": "a",
        "OPENAI_BASE_URL": "http://127.0.0.1/v1",
    }


def test_nothing_of_ray_is_imported_where_it_is_not_used() -> None:
    code = (
        "import sys, mmat_dagster.definitions, mmat_dagster.cli; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'ray', 'dagster_ray'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_ray_that_a_run_starts_tells_others_at_once_that_it_asks_for_a_token(tmp_path: Path) -> None:
    ray_cluster.require_ray()
    environment = {**os.environ, "HOME": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", HOST, STRANGER]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    without, wrong = done.stdout.splitlines()
    assert re.fullmatch(
        "the Ray cluster .+ asks for a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to .+", without
    )
    assert "refuses the token that it is shown: set RAY_AUTH_TOKEN" in wrong
    assert "c4nary" not in wrong


@pytest.mark.usefixtures("ray_here")
def test_a_part_that_no_machine_is_large_enough_for_ends_the_run_at_once(make_job: MakeJob) -> None:
    with TeacherServer() as server:
        pipeline = with_ray(make_job(server), cpus_per_part=4096.0)
        with pytest.raises(
            EngineError, match=r"no machine of the Ray cluster has the 4096 CPUs of a part \(the largest"
        ):
            list(pipeline.build("rr_dialogues", "tabmwp", lambda progress: None))
        assert not server.received


@pytest.mark.usefixtures("ray_here")
def test_a_model_that_no_gpu_is_there_for_is_told_at_once_unless_machines_may_join() -> None:
    from resources.ray_vision import Models  # noqa: PLC0415

    with pytest.raises(EngineError, match=r"^MMAT_RAY_GPUS is 1: no machine of the Ray cluster has as many GPUs"):
        Models(variables={}).of("dino", None, 1.0)
    growing = Models(variables={}, may_grow=True)
    assert len(growing.of("dino", 3, 1.0)) == 3
    awaited = "the model of dino waits for a machine with 1 GPUs to join the Ray cluster (the largest has 0)"
    assert growing.awaited() == awaited
