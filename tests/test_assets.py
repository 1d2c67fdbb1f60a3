"""The assets record what was made, source by source, whichever way a run asks for it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.definitions.observe import observe as observe_assets
from dagster._core.loader import LoadingContextForTest

from assets import audit, foundation, integration, rationale, reflection
from assets.metadata import describe
from assets.records import describe_history
from mmat_dagster import parts, wire
from mmat_dagster.audit import OF_DIALOGUES, OF_INTEGRATED
from mmat_dagster.datasets import code_version
from mmat_dagster.pipeline import Built, Pipeline
from mmat_dagster.schema import Dialogue, LeakPolicy
from tests import instances
from tests.layouts import write_tabmwp, write_visual_cot
from tests.test_pipeline import pipeline
from tests.written_parts import write_part

instance, work = instances.ephemeral, instances.work

ASSETS = [
    foundation.source_qa,
    rationale.rationales,
    reflection.rr_dialogues,
    integration.orr_dialogues,
    audit.dialogue_audit,
]
CHECKS = [
    foundation.source_qa_leaks_no_benchmark,
    reflection.rr_checks,
    integration.orr_checks,
]
RANGE = {"dagster/asset_partition_range_start": "visual_cot", "dagster/asset_partition_range_end": "infoseek"}


def run(instance: dg.DagsterInstance, work: Pipeline, *names: str, **options: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [foundation.source_files, *ASSETS, *CHECKS],
        instance=instance,
        selection=dg.AssetSelection.assets(*names),
        resources={"pipeline": work},
        raise_on_error=False,
        **options,
    )


def recorded(instance: dg.DagsterInstance, name: str) -> dict[str | None, dg.AssetMaterialization]:
    records = instance.fetch_materializations(dg.AssetKey(name), limit=100).records
    events = [record.asset_materialization for record in records]
    assert len(events) == len({event.partition for event in events if event})
    return {event.partition: event for event in events if event}


def test_one_asset_builds_and_records_what_it_stands_on(instance: dg.DagsterInstance, work: Pipeline) -> None:
    assert run(instance, work, "rr_dialogues", partition_key="tabmwp").success
    for name in ("source_qa", "rationales", "rr_dialogues"):
        event = recorded(instance, name)["tabmwp"]
        assert event.metadata["rows_out"].value == 3
        assert (event.tags or {})["dagster/code_version"] == code_version(name)
    assert not recorded(instance, "orr_dialogues")


def test_a_range_passes_over_absent_sources_and_records_the_others(
    instance: dg.DagsterInstance, work: Pipeline
) -> None:
    names = ("source_qa", "rationales", "rr_dialogues", "orr_dialogues")
    result = run(instance, work, *names, tags=RANGE)
    assert result.success
    for name in names:
        assert set(recorded(instance, name)) == {"tabmwp"}
        assert result.is_node_success(name)


def test_a_source_asked_for_by_name_must_be_there(instance: dg.DagsterInstance, work: Pipeline) -> None:
    result = run(instance, work, "source_qa", partition_key="llava_cot")
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.user_failure_data is not None
    assert "does not exist. It should hold train.jsonl" in str(failure.step_failure_data.user_failure_data.description)


def test_a_range_of_absent_sources_alone_fails(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    assert not run(instance, pipeline(tmp_path), "rr_dialogues", tags=RANGE).success


def test_a_source_in_another_layout_fails_the_range_at_its_end(instance: dg.DagsterInstance, work: Pipeline) -> None:
    (work.sources / "visual_cot").mkdir()
    assert not run(instance, work, "rr_dialogues", tags=RANGE).success
    assert set(recorded(instance, "rr_dialogues")) == {"tabmwp"}


def test_a_second_run_records_the_asset_again_but_not_its_upstream(
    instance: dg.DagsterInstance, work: Pipeline
) -> None:
    run(instance, work, "rr_dialogues", partition_key="tabmwp")
    run(instance, work, "rr_dialogues", partition_key="tabmwp")
    assert len(instance.fetch_materializations(dg.AssetKey("source_qa"), limit=9).records) == 1
    again = instance.fetch_materializations(dg.AssetKey("rr_dialogues"), limit=9).records
    assert len(again) == 2
    assert again[0].asset_materialization is not None
    assert again[0].asset_materialization.metadata["parts_reused"].value == 2


def test_upstream_can_be_required_instead_of_built(instance: dg.DagsterInstance, work: Pipeline) -> None:
    config = {"ops": {"rr_dialogues": {"config": {"upstream": "require"}}}}
    result = run(instance, work, "rr_dialogues", partition_key="tabmwp", run_config=config)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.user_failure_data is not None
    assert "dagster asset materialize --select rationales --partition tabmwp" in str(
        failure.step_failure_data.user_failure_data.description
    )


def test_metadata_shows_a_sample_with_its_picture(instance: dg.DagsterInstance, work: Pipeline) -> None:
    run(instance, work, "rr_dialogues", partition_key="tabmwp")
    shown = str(recorded(instance, "rr_dialogues")["tabmwp"].metadata["sample"].value)
    assert shown.startswith("![tabmwp/1](data:image/jpeg;base64,")
    assert "How much do 1 kilograms of sand cost?" in shown


def test_metadata_shows_a_plot_and_how_to_see_all_dialogues(instance: dg.DagsterInstance, work: Pipeline) -> None:
    run(instance, work, "orr_dialogues", partition_key="tabmwp")
    for name in ("source_qa", "rationales", "rr_dialogues"):
        plot = str(recorded(instance, name)["tabmwp"].metadata["plot"].value)
        assert plot.startswith("![plot](data:image/png;base64,")
    for name in ("rr_dialogues", "orr_dialogues"):
        viewer = str(recorded(instance, name)["tabmwp"].metadata["viewer"].value)
        assert viewer.startswith("`python -m mmat_dagster view`")
        assert "<http://127.0.0.1:8765/dialogues?source=tabmwp>" in viewer


def test_dollars_are_drawn_over_materializations_where_something_was_spent(
    instance: dg.DagsterInstance, work: Pipeline
) -> None:
    run(instance, work, "rationales", partition_key="tabmwp")
    manifest = parts.read_manifest(work.store, "rationales", "tabmwp")
    assert manifest is not None
    assert "dollars" not in recorded(instance, "rationales")["tabmwp"].metadata
    assert describe_history(instance, manifest, {"teacher_spent_usd": 0.0}) == {}
    drawn = describe_history(instance, manifest, {"teacher_spent_usd": 0.3, "search_spent_usd": 0.1})
    assert str(drawn["dollars"].value).startswith("![dollars](data:image/png;base64,")


def test_a_picture_that_is_gone_costs_no_dataset(instance: dg.DagsterInstance, work: Pipeline) -> None:
    run(instance, work, "rationales", partition_key="tabmwp")
    manifest = parts.read_manifest(work.store, "rationales", "tabmwp")
    assert manifest is not None
    built = Built(manifest=manifest, rows_in=3, upstream=None, reused_parts=0)
    (work.sources / "tabmwp" / "tables" / "1.png").unlink()
    assert "cannot be shown" in str(describe(work, built)["sample"].value)


def test_rejections_are_metadata_by_reason(instance: dg.DagsterInstance, work: Pipeline) -> None:
    (work.sources / "tabmwp" / "tables" / "2.png").unlink()
    run(instance, work, "source_qa", partition_key="tabmwp")
    metadata = recorded(instance, "source_qa")["tabmwp"].metadata
    assert (metadata["rows_in"].value, metadata["rows_out"].value, metadata["rejected"].value) == (3, 2, 1)
    assert "| missing image | 1 |" in str(metadata["rejected_by_reason"].value)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def test_checks_pass_on_what_the_engine_wrote(instance: dg.DagsterInstance, work: Pipeline) -> None:
    result = run(instance, work, "rr_dialogues", "orr_dialogues", partition_key="tabmwp")
    of_rr = {f"rr_{name}": True for name in OF_DIALOGUES}
    assert checks(result) == of_rr | {f"orr_{name}": True for name in OF_INTEGRATED}


def test_a_run_over_several_sources_tells_of_each_that_is_built(instance: dg.DagsterInstance, work: Pipeline) -> None:
    result = run(instance, work, "rr_dialogues", tags=RANGE)
    told = {(check.check_name, check.partition) for check in result.get_asset_check_evaluations() if check.partition}
    assert told == {(f"rr_{name}", "tabmwp") for name in OF_DIALOGUES}


def test_a_dialogue_with_another_answer_fails_its_check(instance: dg.DagsterInstance, work: Pipeline) -> None:
    def answer_otherwise(dialogue: Dialogue) -> Dialogue:
        transcript = replace(dialogue.transcript, answer="999")
        messages = wire.render_rr(transcript, dialogue.messages[0].content)
        return replace(dialogue, transcript=transcript, messages=messages)

    assert failed_after(instance, work, answer_otherwise) == {"rr_answers_are_gold"}


def test_a_dialogue_out_of_the_wire_form_fails_its_check(instance: dg.DagsterInstance, work: Pipeline) -> None:
    def break_a_tag(dialogue: Dialogue) -> Dialogue:
        opening, question, step, *rest = dialogue.messages
        return replace(dialogue, messages=(opening, question, replace(step, content="<THOUGHT>no end"), *rest))

    assert "rr_wire_form_round_trips" in failed_after(instance, work, break_a_tag)


def test_messages_that_say_something_else_than_the_turns_fail_their_check(
    instance: dg.DagsterInstance, work: Pipeline
) -> None:
    def reword(dialogue: Dialogue) -> Dialogue:
        *turns, last = dialogue.transcript.turns
        reworded = replace(last, step=replace(last.step, thought="Something else."))
        return replace(dialogue, transcript=replace(dialogue.transcript, turns=(*turns, reworded)))

    assert failed_after(instance, work, reword) == {"rr_wire_form_round_trips"}


def failed_after(instance: dg.DagsterInstance, work: Pipeline, spoil: Callable[[Dialogue], Dialogue]) -> set[str]:
    """Return the checks that fail after the first dialogue was spoilt behind the engine's back."""
    run(instance, work, "rr_dialogues", partition_key="tabmwp")
    manifest = parts.read_manifest(work.store, "rr_dialogues", "tabmwp")
    assert manifest is not None
    key = f"rr_dialogues/tabmwp/{manifest.parts[0].name}"
    first, *rest = parts.read_part(work.store, "rr_dialogues/tabmwp", manifest.parts[0].name, Dialogue)
    part = write_part(work.store, key, [spoil(first), *rest], Dialogue, manifest.parts[0].census)
    parts.publish(work.store, replace(manifest, parts=(part, *manifest.parts[1:])))
    result = run(instance, work, "rr_dialogues", partition_key="tabmwp")
    return {name for name, passed in checks(result).items() if not passed}


def test_samples_that_no_benchmark_was_compared_with_are_warned_of(
    instance: dg.DagsterInstance, work: Pipeline
) -> None:
    result = run(instance, work, "source_qa", partition_key="tabmwp")
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == "Compared with no benchmark: MMAT_BENCHMARKS names no folder."


@pytest.mark.parametrize("leaks", ["drop", "warn"])
def test_a_sample_that_gives_a_benchmark_away_fails_its_check_where_it_is_kept(
    leaks: LeakPolicy, instance: dg.DagsterInstance, work: Pipeline, tmp_path: Path
) -> None:
    image = (tmp_path / "sources" / "tabmwp" / "tables" / "1.png").read_bytes()
    (tmp_path / "benchmarks" / "mine").mkdir(parents=True)
    (tmp_path / "benchmarks" / "mine" / "1.png").write_bytes(image)
    item = {"id": 7, "image": "1.png", "question": "What is it?", "answer": "x"}
    (tmp_path / "benchmarks" / "mine" / "test.json").write_text(json.dumps([item]))
    settings = replace(work.settings, benchmarks=tmp_path / "benchmarks", leaks=leaks)
    result = run(instance, replace(work, settings=settings), "source_qa", partition_key="tabmwp")
    (check,) = result.get_asset_check_evaluations()
    assert check.passed == (leaks == "drop")
    assert check.metadata["checked"].value == (2 if leaks == "drop" else 3)
    assert ("first_failed" in check.metadata) == (leaks == "warn")
    told = str(recorded(instance, "source_qa")["tabmwp"].metadata["benchmarks"].value)
    assert "| mine | 1 | 1 | 1 | 0 | 0 | 0 | 1 questions too short |" in told


def test_a_dataset_is_in_step_with_what_it_stands_on_until_that_changes(
    instance: dg.DagsterInstance, work: Pipeline, tmp_path: Path
) -> None:
    write_visual_cot(tmp_path / "sources")
    assert run(instance, work, "source_qa", partition_key="visual_cot").success
    assert run(instance, work, "orr_dialogues", partition_key="tabmwp").success
    assert stale_causes(instance) == stale_causes(instance, "visual_cot") == {}
    write_tabmwp(tmp_path / "sources", 4)
    assert observe(instance, work)
    assert stale_causes(instance) == {"source_qa": ["has a new dependency data version"]}
    assert stale_causes(instance, "visual_cot") == {}
    assert run(instance, work, "source_qa", partition_key="tabmwp").success
    assert stale_causes(instance) == {"rationales": ["has a new dependency data version"]}
    assert run(instance, work, "orr_dialogues", partition_key="tabmwp").success
    assert stale_causes(instance) == {}


def observe(instance: dg.DagsterInstance, work: Pipeline) -> bool:
    return bool(observe_assets([foundation.source_files], instance=instance, resources={"pipeline": work}).success)


def stale_causes(instance: dg.DagsterInstance, source: str = "tabmwp") -> dict[str, list[str]]:
    """Return why Dagster takes the datasets of a source for stale, by dataset."""
    graph = dg.Definitions(
        assets=[foundation.source_files, *ASSETS], resources={"pipeline": None}
    ).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    causes = {asset.key.to_user_string(): resolver.get_stale_causes(asset.key, source) for asset in ASSETS}
    return {name: [cause.reason for cause in found] for name, found in causes.items() if found}
