"""A schedule asks for what is stale and for nothing else, and says of everything else why not."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

from assets import audit, foundation, integration, rationale, reflection, release, schedules
from assets.waiting import LABELS_TAG, STATE_TAG, WAITING
from mmat_dagster.definitions import defs
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.staleness import Patience
from mmat_dagster.tools import OperatorUnavailable
from tests import instances
from tests.code_copies import edit
from tests.layouts import write_visual_cot
from tests.test_assets import RANGE, run
from tests.test_pipeline import EndlessOcr, build, pipeline

instance = instances.instance
work = instances.work

ALL = ["source_qa", "rationales", "rr_dialogues", "orr_dialogues"]
MONDAY = datetime(2026, 11, 2, 3, tzinfo=UTC)
AT_ONCE = Patience(settle_s=0)
Status = dg.DagsterRunStatus


def tick(
    instance: dg.DagsterInstance, work: Pipeline, patience: Patience = AT_ONCE
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Evaluate the schedule once; return what it asks for and, where that is nothing, why, both by source."""
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=MONDAY,
        resources={"pipeline": work, "patience": patience},
    ) as context:
        told = list(cast("Iterator[dg.RunRequest | dg.SkipReason]", schedules.weekly()(context)))
    asked = {
        each.partition_key or "": [key.to_user_string() for key in each.asset_selection or ()]
        for each in told
        if isinstance(each, dg.RunRequest)
    }
    skipped = [each.skip_message or "" for each in told if isinstance(each, dg.SkipReason)]
    return asked, dict(line.split(": ", 1) for message in skipped for line in message.splitlines())


def begin(instance: dg.DagsterInstance, status: Status, tags: dict[str, str], *names: str) -> dg.DagsterRun:
    """Put a run into the history that is not over, of some assets or of all of its job's."""
    return instance.create_run_for_job(
        job_def=dg.Definitions(jobs=[schedules.data], assets=ASSETS_OF_JOBS, resources=NOTHING).resolve_job_def("data"),
        status=status,
        tags=tags,
        asset_selection=frozenset(dg.AssetKey(name) for name in names) or None,
        remote_job_origin=ORIGIN,
    )


# As of a code server's run.
ORIGIN = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("mmat"), "__repository__").get_job_origin("data")
ASSETS_OF_JOBS = [
    foundation.source_qa,
    rationale.rationales,
    reflection.rr_dialogues,
    integration.orr_dialogues,
    audit.dialogue_audit,
    release.dataset_release,
]
NOTHING: dict[str, Any] = {"pipeline": None, "release_hub": None, "outlays": None}


def test_only_what_is_stale_is_asked_for_in_one_run_per_source(instance: dg.DagsterInstance, work: Pipeline) -> None:
    write_visual_cot(work.sources)
    assert tick(instance, work)[0] == {"visual_cot": ALL, "tabmwp": ALL}
    build(work, "rationales")
    assert tick(instance, work)[0] == {"visual_cot": ALL, "tabmwp": ["rr_dialogues", "orr_dialogues"]}
    assert run(instance, work, "orr_dialogues", tags=RANGE).success
    asked, reasons = tick(instance, work)
    assert asked == {}
    assert reasons["tabmwp"] == reasons["visual_cot"] == "it is up to date."
    assert "infoseek, which does not exist. It should hold" in reasons["infoseek"]
    assert len(reasons) == 5


def test_the_daemon_can_launch_what_is_asked_for(instance: dg.DagsterInstance, work: Pipeline) -> None:
    repository = defs.get_repository_def()
    resources = {"pipeline": work, "patience": AT_ONCE}
    with dg.build_schedule_context(
        instance=instance, scheduled_execution_time=MONDAY, repository_def=repository, resources=resources
    ) as context:
        (request,) = repository.get_schedule_def("weekly").evaluate_tick(context).run_requests or ()
    assert (request.run_key, request.tags["dagster/partition"]) == ("2026-11-02T03:00+00:00 tabmwp", "tabmwp")


def test_a_changed_prompt_asks_for_its_stage_and_what_follows(
    instance: dg.DagsterInstance, work: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(work)
    build(work, "dialogue_audit")
    edit("prompts/rr_system.txt", tmp_path, monkeypatch)
    assert tick(instance, work)[0] == {"tabmwp": ["rr_dialogues", "orr_dialogues", "dialogue_audit"]}


def test_an_audit_is_asked_for_only_where_there_is_one(instance: dg.DagsterInstance, work: Pipeline) -> None:
    build(work)
    assert tick(instance, work)[0] == {}
    build(work, "dialogue_audit")
    (work.sources / "tabmwp" / "new.txt").write_text("new")
    assert tick(instance, work)[0] == {"tabmwp": [*ALL, "dialogue_audit"]}


@pytest.mark.parametrize("status", [Status.QUEUED, Status.NOT_STARTED, Status.STARTED, Status.CANCELING])
def test_a_source_that_a_run_makes_is_not_asked_for_twice(
    instance: dg.DagsterInstance, work: Pipeline, status: Status
) -> None:
    begun = begin(instance, status, {"dagster/partition": "tabmwp"}, "rationales")
    asked, reasons = tick(instance, work)
    assert asked == {}
    assert reasons["tabmwp"].startswith(f"the run {begun.run_id[:8]} of it is {status.value.lower().replace('_', ' ')}")


@pytest.mark.parametrize(("tags", "names"), [(RANGE, ALL), ({"dagster/partition": "tabmwp"}, [])])
def test_a_run_over_all_sources_or_of_the_whole_job_counts_too(
    instance: dg.DagsterInstance, work: Pipeline, tags: dict[str, str], names: list[str]
) -> None:
    begin(instance, Status.STARTED, tags, *names)
    assert tick(instance, work)[0] == {}


@pytest.mark.parametrize(
    ("tags", "names"),
    [
        ({"dagster/partition": "visual_cot"}, ALL),
        ({"dagster/partition": "tabmwp"}, ["dataset_release"]),
        ({}, ["rr_dialogues"]),
    ],
)
def test_runs_of_something_else_do_not_count(
    instance: dg.DagsterInstance, work: Pipeline, tags: dict[str, str], names: list[str]
) -> None:
    begin(instance, Status.STARTED, tags, *names)
    assert tick(instance, work)[0] == {"tabmwp": ALL}


def test_a_run_that_waits_for_a_batch_is_not_doubled_until_another_one_came_after_it(
    instance: dg.DagsterInstance, work: Pipeline
) -> None:
    labels = {STATE_TAG: WAITING, LABELS_TAG: "rationales of infoseek, rationales of tabmwp"}
    waiting = begin(instance, Status.SUCCESS, {**RANGE, **labels}, *ALL)
    asked, reasons = tick(instance, work)
    assert asked == {}
    assert f"the run {waiting.run_id[:8]} of it waits for a batch. The sensor `ended_batches`" in reasons["tabmwp"]
    begin(instance, Status.FAILURE, {"dagster/partition": "visual_cot"}, *ALL)
    assert tick(instance, work)[0] == {}
    begin(instance, Status.FAILURE, {"dagster/partition": "tabmwp"}, *ALL)
    assert tick(instance, work)[0] == {"tabmwp": ALL}


def test_a_folder_that_may_still_be_copied_is_left_alone(instance: dg.DagsterInstance, work: Pipeline) -> None:
    asked, reasons = tick(instance, work, Patience(settle_s=600))
    assert asked == {}
    assert "and may still be copied. It is left alone until nothing has changed for 10 min." in reasons["tabmwp"]


def test_a_copy_that_brings_its_old_times_along_is_seen_all_the_same(
    instance: dg.DagsterInstance, work: Pipeline
) -> None:
    for path in [*work.sources.rglob("*"), work.sources]:
        os.utime(path, (1e9, 1e9))
    assert "may still be copied" in tick(instance, work, Patience(settle_s=600))[1]["tabmwp"]


def test_a_hidden_file_that_a_downloader_still_writes_holds_its_source_up(work: Pipeline) -> None:
    visible = work.source_parts("tabmwp").glance()
    part = work.sources / "tabmwp" / "tables" / ".cache" / "download" / "1.incomplete"
    part.parent.mkdir(parents=True)
    part.write_text("half")
    seen = work.source_parts("tabmwp").glance()
    assert (seen.stamps, seen.unread_bytes) == (visible.stamps, visible.unread_bytes)
    assert seen.changed_at == part.stat().st_ctime >= visible.changed_at


def test_a_hard_link_to_a_file_that_is_known_is_no_change(work: Pipeline, tmp_path: Path) -> None:
    for path in [*work.sources.rglob("*"), work.sources]:
        os.utime(path, (1e9, 1e9))  # long enough ago to be kept in the book
    work.source_parts("tabmwp").state()
    before = work.source_parts("tabmwp").glance()
    (tmp_path / "link").hardlink_to(work.sources / "tabmwp" / "problems_train.json")
    assert work.source_parts("tabmwp").glance() == before
    assert before.unread_bytes == 0


def test_benchmarks_that_are_still_copied_hold_their_sources_up(
    instance: dg.DagsterInstance, work: Pipeline, tmp_path: Path
) -> None:
    guarded = replace(work, settings=replace(work.settings, benchmarks=tmp_path / "benchmarks"))
    assert "which does not exist. MMAT_BENCHMARKS should name one" in tick(instance, guarded)[1]["tabmwp"]
    (tmp_path / "benchmarks").mkdir()
    assert "or of the benchmarks', changed" in tick(instance, guarded, Patience(settle_s=600))[1]["tabmwp"]


class UnreachableOcr(EndlessOcr):
    """Is on a server that is down."""

    @property
    def version(self) -> str:
        raise OperatorUnavailable("The server at http://127.0.0.1:1 does not answer. Start it first.")


def test_what_cannot_be_told_is_said_and_not_asked_for(
    instance: dg.DagsterInstance, work: Pipeline, tmp_path: Path
) -> None:
    build(work)
    asked, reasons = tick(instance, pipeline(tmp_path, UnreachableOcr()))
    assert asked == {}
    assert reasons["tabmwp"] == (
        "whether it is stale cannot be told. The server at http://127.0.0.1:1 does not answer. Start it first."
    )


def test_files_that_are_too_large_to_be_read_here_are_left_to_the_run(
    instance: dg.DagsterInstance, work: Pipeline, tmp_path: Path
) -> None:
    build(work)
    later = time.time() + 3600  # as of what changed a moment ago, its hash is not kept
    os.utime(work.sources / "tabmwp" / "problems_train.json", (later, later))
    blind = pipeline(tmp_path, UnreachableOcr())
    assert tick(instance, blind)[0] == {}
    assert tick(instance, blind, Patience(settle_s=0, read_bytes=2))[0] == {"tabmwp": ALL}
