"""Dagster is told what an audit found, and what stands on broken dialogues is not built, source by source."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from assets.blocking import BLOCKED_TAG
from mmat_dagster import parts, wire
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.schema import Dialogue, SourceName
from tests import instances
from tests.audits import saying
from tests.layouts import write_tabmwp, write_visual_cot
from tests.test_assets import ASSETS, CHECKS, RANGE, recorded, run
from tests.test_audit import PatientJudge
from tests.written_parts import write_part

instance, work = instances.ephemeral, instances.work

Spoil = Callable[[Dialogue], Dialogue]


def answer_otherwise(dialogue: Dialogue) -> Dialogue:
    transcript = replace(dialogue.transcript, answer="999")
    messages = wire.render_rr(transcript, dialogue.messages[0].content)
    return replace(dialogue, transcript=transcript, messages=messages)


def break_a_tag(dialogue: Dialogue) -> Dialogue:
    return saying(dialogue, 2, lambda text: "<THOUGHT>no end")


def spoil(work: Pipeline, source: SourceName, damage: Spoil) -> None:
    """Damage the first dialogue of a source behind the engine's back."""
    manifest = parts.read_manifest(work.store, "rr_dialogues", source)
    assert manifest is not None
    name, folder = manifest.parts[0].name, parts.folder("rr_dialogues", source)
    first, *rest = parts.read_part(work.store, folder, name, Dialogue)
    records, census = [damage(first), *rest], manifest.parts[0].census
    part = write_part(work.store, f"{folder}/{name}", records, Dialogue, census)
    parts.publish(work.store, replace(manifest, parts=(part, *manifest.parts[1:])))


def evaluations(result: dg.ExecuteInProcessResult, name: str) -> dict[str | None, dg.AssetCheckEvaluation]:
    found = [check for check in result.get_asset_check_evaluations() if check.check_name == name]
    return {check.partition: check for check in found}


def metadata(instance: dg.DagsterInstance) -> dict[str, Any]:
    event = recorded(instance, "dialogue_audit")["tabmwp"]
    return {name: value.value for name, value in event.metadata.items()}


def test_an_audit_tells_the_share_of_high_quality_beside_the_papers(
    instance: dg.DagsterInstance, work: Pipeline
) -> None:
    judged = replace(work, judge=PatientJudge(), settings=replace(work.settings, audit_sample=2))
    assert run(instance, judged, "dialogue_audit", partition_key="tabmwp").success
    told = metadata(instance)
    assert (told["high_quality_share"], told["high_quality_from"]) == (1.0, 0.7)
    assert told["high_quality_share_in_the_paper"] == "over 89 %"
    assert told["mean_score"] == pytest.approx((2 * 0.8 + 1.0) / 3, abs=1e-4)
    assert "| patient | 2 | 100.0% |\n| checks | 1 | 100.0% |" in told["judged"]
    assert "| visual integration | 0.900 |" in told["aspects"]
    assert told["findings"] == "every check holds of every dialogue"
    assert "score 0.80 · judge: patient" in told["worst"]
    assert {"source_qa", "rationales", "rr_dialogues"} <= {
        name for name in ("source_qa", "rationales", "rr_dialogues") if recorded(instance, name)
    }


def test_what_counts_as_high_quality_changes_what_is_told_and_not_the_audit(
    instance: dg.DagsterInstance, work: Pipeline
) -> None:
    judged = replace(work, judge=PatientJudge())
    run(instance, judged, "dialogue_audit", partition_key="tabmwp")
    config = {"ops": {"dialogue_audit": {"config": {"high_quality": 0.81}}}}
    again = replace(work, judge=PatientJudge())
    run(instance, again, "dialogue_audit", partition_key="tabmwp", run_config=config)
    last = instance.fetch_materializations(dg.AssetKey("dialogue_audit"), limit=1).records[0].asset_materialization
    assert last is not None
    assert last.metadata["high_quality_share"].value == 0.0
    assert last.metadata["parts_reused"].value == 2


def test_findings_and_the_worst_dialogues_are_told(instance: dg.DagsterInstance, work: Pipeline) -> None:
    run(instance, work, "rr_dialogues", partition_key="tabmwp")
    spoil(work, "tabmwp", answer_otherwise)
    run(instance, work, "dialogue_audit", partition_key="tabmwp")
    told = metadata(instance)
    assert told["high_quality_share"] == pytest.approx(2 / 3, abs=1e-4)
    assert r"| answers\_are\_gold | 1 |" in told["findings"]
    assert "tabmwp/1 · score 0.20 · judge: checks" in told["worst"]


def test_dialogues_out_of_the_wire_form_stop_what_stands_on_them(instance: dg.DagsterInstance, work: Pipeline) -> None:
    run(instance, work, "rr_dialogues", partition_key="tabmwp")
    spoil(work, "tabmwp", break_a_tag)
    result = run(instance, work, "rr_dialogues", "orr_dialogues", partition_key="tabmwp")
    assert not result.success
    assert not recorded(instance, "orr_dialogues")
    (failed,) = evaluations(result, "rr_wire_form_round_trips").values()
    assert (failed.passed, failed.severity, failed.blocking) == (False, dg.AssetCheckSeverity.ERROR, True)
    assert failed.metadata["first_failed"].value == "tabmwp/1"
    assert "not a step" in str(failed.metadata["why"].value)


@pytest.mark.parametrize(("tolerated", "severity"), [(0.3, "ERROR"), (0.34, "WARN")])
def test_wrong_answers_stop_what_stands_on_them_above_the_configured_share(
    tolerated: float, severity: str, instance: dg.DagsterInstance, work: Pipeline
) -> None:
    run(instance, work, "rr_dialogues", partition_key="tabmwp")
    spoil(work, "tabmwp", answer_otherwise)
    config = {"ops": {name: {"config": {"max_answer_loss": tolerated}} for name in ("rr_checks", "orr_checks")}}
    result = run(instance, work, "rr_dialogues", "orr_dialogues", partition_key="tabmwp", run_config=config)
    (failed,) = evaluations(result, "rr_answers_are_gold").values()
    assert (failed.passed, failed.severity.name) == (False, severity)
    assert result.success == (severity == "WARN") == bool(recorded(instance, "orr_dialogues"))


def test_in_a_run_over_several_sources_a_broken_one_alone_is_stopped(
    instance: dg.DagsterInstance, work: Pipeline
) -> None:
    write_visual_cot(work.sources)
    run(instance, work, "rr_dialogues", tags=RANGE)
    spoil(work, "tabmwp", break_a_tag)
    result = run(instance, work, "rr_dialogues", "orr_dialogues", "dialogue_audit", tags=RANGE)
    assert not result.success
    assert set(recorded(instance, "orr_dialogues")) == set(recorded(instance, "dialogue_audit")) == {"visual_cot"}
    told = evaluations(result, "rr_wire_form_round_trips")
    assert (told["tabmwp"].passed, told["tabmwp"].severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert told["visual_cot"].passed
    stopped = instance.get_run_by_id(result.run_id)
    assert stopped is not None
    assert stopped.tags[BLOCKED_TAG] == "rr_dialogues of tabmwp: rr_wire_form_round_trips"
    failures = [event for event in result.all_events if event.is_step_failure]
    told_of = [str(event.step_failure_data.user_failure_data.description) for event in failures]  # type: ignore[union-attr]
    blocked = "of tabmwp: not built, since the check rr_wire_form_round_trips of rr_dialogues of tabmwp has failed"
    assert sorted(told_of) == [f"dialogue_audit {blocked}", f"orr_dialogues {blocked}"]


def test_orr_dialogues_are_compared_with_those_they_were_made_from_alone(
    instance: dg.DagsterInstance, work: Pipeline
) -> None:
    run(instance, work, "orr_dialogues", partition_key="tabmwp")
    write_tabmwp(work.sources, 2)
    run(instance, work, "rr_dialogues", partition_key="tabmwp")
    name = "orr_keeps_every_thought_and_result"
    # Dagster runs no check of a partition without an asset of its partitions.
    asked = dg.AssetSelection.assets("source_qa").without_checks() | dg.AssetSelection.checks(
        dg.AssetCheckKey(dg.AssetKey("orr_dialogues"), name)
    )
    result = dg.materialize(
        [*ASSETS, *CHECKS], instance=instance, selection=asked, resources={"pipeline": work}, partition_key="tabmwp"
    )
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.check_name) == (True, name)
    assert str(check.metadata["note"].value).startswith("Compared with no RR dialogues")
