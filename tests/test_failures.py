"""Of every run that fails people are told what failed, of what, why in a sentence, and where to look."""

from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest

from assets import foundation
from assets.failures import failed_runs
from mmat_dagster.messages import MessageNotSent, Messenger
from mmat_dagster.pipeline import Pipeline
from tests import instances
from tests.test_assets import ASSETS, RANGE, run

instance = instances.instance
work = instances.work

SECRET = "sk-proj-abcdefgh12345678"


@dataclass
class ToldMessenger(Messenger):
    """Keeps what it is told, or is out of order."""

    webserver: str | None = "http://host:3000"
    trouble: str = ""
    told: list[str] = field(default_factory=list)

    @property
    def webserver_url(self) -> str | None:
        return self.webserver

    def send(self, text: str) -> None:
        if self.trouble:
            raise MessageNotSent(self.trouble)
        self.told.append(text)


@dataclass
class Watch:
    """The sensor as the daemon evaluates it: for a code location of its own, with the cursor of the last tick."""

    instance: dg.DagsterInstance
    messenger: ToldMessenger
    cursor: str | None = None

    def tick(self) -> Any:
        """Evaluate the sensor once; what it is asked the first time is from when on."""
        with dg.build_sensor_context(
            self.instance, self.cursor, repository_name="__repository__", resources={"messenger": self.messenger}
        ) as context:
            result = failed_runs(is_running=True).evaluate_tick(context)
        self.cursor = result.cursor
        return result


@pytest.fixture
def watch(instance: dg.DagsterInstance) -> Watch:
    begun = Watch(instance, ToldMessenger())
    begun.tick()
    return begun


def test_a_run_of_the_command_line_is_told_once_with_its_link(
    instance: dg.DagsterInstance, work: Pipeline, watch: Watch
) -> None:
    assert run(instance, work, "source_qa", partition_key="tabmwp").success
    assert not run(instance, work, "source_qa", partition_key="llava_cot").success
    run_id = instance.get_runs(limit=1)[0].run_id
    watch.tick()
    watch.tick()
    (told,) = watch.messenger.told
    head, why, link = told.splitlines()
    assert head == f"source_qa of llava_cot failed in the run {run_id[:8]} of assets."
    assert why.startswith("source_qa of llava_cot: The source llava_cot was looked for in the folder")
    assert link == f"http://host:3000/runs/{run_id}"


def test_a_run_over_several_sources_tells_which_of_them_failed(
    instance: dg.DagsterInstance, work: Pipeline, watch: Watch
) -> None:
    for source in ("visual_cot", "infoseek"):
        (work.sources / source).mkdir()
    run(instance, work, "source_qa", tags=RANGE)
    watch.messenger.webserver = None
    watch.tick()
    (told,) = watch.messenger.told
    head, *whys = told.splitlines()
    assert head.startswith("source_qa of visual_cot, llava_cot, the_cauldron, tabmwp, infoseek failed in the run")
    assert [why.split(":")[0] for why in whys] == ["source_qa of visual_cot", "source_qa of infoseek"]


def test_a_run_of_a_job_that_ends_by_an_error_of_the_program_is_told_without_secrets(
    instance: dg.DagsterInstance, watch: Watch
) -> None:
    @dg.asset
    def broken() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError(f"the key {SECRET} is wrong\nand more {'of it' * 200}") from error

    job = dg.Definitions(assets=[broken], jobs=[dg.define_asset_job("evaluation", "*")]).resolve_job_def("evaluation")
    job.execute_in_process(instance=instance, raise_on_error=False)
    watch.tick()
    (told,) = watch.messenger.told
    assert told.startswith("broken failed in the run ")
    assert " of the job evaluation.\n" in told
    assert "ValueError: the key *** is wrong\nhttp://host:3000/runs/" in told


def test_a_run_that_was_killed_is_told_with_what_it_was_to_make(instance: dg.DagsterInstance, watch: Watch) -> None:
    job = dg.Definitions(
        assets=[foundation.source_files, *ASSETS], resources={"pipeline": None}
    ).resolve_implicit_global_asset_job_def()
    begun = instance.create_run_for_job(
        job_def=job,
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": "tabmwp"},
        asset_selection=frozenset({dg.AssetKey("rationales"), dg.AssetKey("rr_dialogues")}),
    )
    instance.report_run_failed(begun, "Detected run worker status failed: the process was killed.")
    watch.tick()
    (told,) = watch.messenger.told
    assert told.splitlines()[:2] == [
        f"rationales, rr_dialogues of tabmwp failed in the run {begun.run_id[:8]} of assets.",
        "Detected run worker status failed: the process was killed.",
    ]


def test_what_cannot_be_sent_fails_the_tick_which_holds_it(
    instance: dg.DagsterInstance, work: Pipeline, watch: Watch
) -> None:
    run(instance, work, "source_qa", partition_key="llava_cot")
    watch.messenger.trouble = "Slack could not be reached"
    (reaction,) = watch.tick().dagster_run_reactions
    assert "Slack could not be reached\nIt was to be told: source_qa of llava_cot failed" in str(reaction.error)


def test_to_name_whom_to_tell_is_to_switch_it_on() -> None:
    assert failed_runs(is_running=True).default_status is dg.DefaultSensorStatus.RUNNING
    assert failed_runs(is_running=False).default_status is dg.DefaultSensorStatus.STOPPED
