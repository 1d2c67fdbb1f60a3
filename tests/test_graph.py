"""The whole graph, once offline with every real operator, and once with a scripted chat server as the teacher."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import pytest

from mmat_dagster import parts, wire
from mmat_dagster.corpus import ensure_corpus
from mmat_dagster.datasets import RECORDS
from mmat_dagster.definitions import defs
from mmat_dagster.environment import read_environment
from mmat_dagster.schema import DatasetName, Dialogue, Rejection, SourceName
from mmat_dagster.training.mixtures import CheckpointName
from resources.deployments import DEPLOYMENTS
from resources.store import LocalStore
from tests import instances
from tests.chat_server import ChatServer
from tests.layouts import write_tabmwp
from tests.test_assets import ASSETS, CHECKS, RANGE

instance = instances.instance

KEY = "sk-a-key-that-must-not-appear-anywhere"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "sources"


def materialize(instance: dg.DagsterInstance, variables: dict[str, str], **options: Any) -> dg.ExecuteInProcessResult:
    resources = DEPLOYMENTS["local"](read_environment({"MMAT_WORKERS": "1", **variables}))
    return dg.materialize([*ASSETS, *CHECKS], instance=instance, resources=resources, raise_on_error=False, **options)


def check_success(result: dg.ExecuteInProcessResult) -> None:
    """Say that a run has succeeded, or else why it has not."""
    failures = [str(event.event_specific_data) for event in result.all_events if event.is_failure]
    assert result.success, failures


def read(store: Path, dataset: DatasetName, source: SourceName) -> list[Any]:
    local = LocalStore(root=str(store))
    manifest = parts.read_manifest(local, dataset, source)
    return list(parts.read_records(local, manifest, RECORDS[dataset])) if manifest else []


def rejected(store: Path, dataset: DatasetName, source: SourceName) -> list[Rejection]:
    local = LocalStore(root=str(store))
    manifest = parts.read_manifest(local, dataset, source)
    return list(parts.read_rejected(local, manifest)) if manifest else []


def test_the_whole_graph_runs_offline_on_all_five_sources(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    ensure_corpus(tmp_path / "sources", records=4)
    variables = {
        "MMAT_SOURCES": str(tmp_path / "sources"),
        "MMAT_STORE": str(tmp_path / "store"),
        "MMAT_BENCHMARKS": str(tmp_path / "sources" / "benchmarks"),
    }
    result = materialize(instance, variables, tags=RANGE)
    check_success(result)
    assert all(check.passed for check in result.get_asset_check_evaluations())
    for source in get_args(SourceName):
        samples = [sample.id for sample in read(tmp_path / "store", "source_qa", source)]
        leaks = [item.record_id for item in rejected(tmp_path / "store", "source_qa", source)]
        assert len(leaks) == (source in {"tabmwp", "infoseek"})
        dialogues = read(tmp_path / "store", "rr_dialogues", source)
        lost = [
            item.record_id
            for dataset in get_args(DatasetName)
            for item in rejected(tmp_path / "store", dataset, source)
        ]
        assert dialogues
        assert sorted([*(dialogue.id for dialogue in dialogues), *lost]) == sorted([*samples, *leaks])
        assert len(read(tmp_path / "store", "orr_dialogues", source)) == len(dialogues)


def test_definitions_hold_assets_checks_jobs_and_schedule() -> None:
    assert {key.to_user_string() for key in defs.resolve_all_asset_keys()} == {
        "source_files",
        *get_args(DatasetName),
        *get_args(CheckpointName),
        "benchmark_scores",
        "dataset_release",
    }
    job = defs.resolve_job_def("data")
    assert job.partitions_def is not None
    assert list(job.partitions_def.get_partition_keys()) == list(get_args(SourceName))
    training = defs.resolve_job_def("training")
    assert training.partitions_def is not None
    assert list(training.partitions_def.get_partition_keys()) == [*get_args(SourceName), "mmat_1m"]
    evaluation = defs.resolve_job_def("evaluation")
    assert evaluation.partitions_def is not None
    assert list(evaluation.partitions_def.get_partition_keys()) == [*get_args(SourceName), "mmat_1m"]
    assert defs.resolve_schedule_def("weekly").job_name == "data"


def step(thought: str, *operators: str, query: str | None = None, action: str = "continue") -> str:
    rag = {"needed": query is not None, "query": query}
    return json.dumps({"thought": thought, "operators": operators, "rag": rag, "next_action": action})


def scripted(body: dict[str, Any]) -> str:
    """Play GPT-4o for four TabMWP problems: a sound one, a pretence, a skipped calculation, malformed replies."""
    text = json.dumps(body["messages"], ensure_ascii=False)
    number = next(n for n in "1234" if f"How much do {n} kilograms" in text)
    if "Your task: AUDIT" in text:
        return json.dumps({"reason": "The price was never read."} if number == "2" else {})
    if "Your task: REWRITE" in text:
        return json.dumps({"thought": "I had not read the price. The table says $2 a kilogram: $2 × 2 = $4."})
    if "Your task: CALCULATION" in text:
        return calculation(number)
    return next_step(number, sum(message["role"] == "assistant" for message in body["messages"]))


def next_step(number: str, replies: int) -> str:
    if (number == "3" and replies == 1) or (number == "4" and replies >= 1):
        return "I would rather not answer in JSON."
    if replies == 0:
        return step("I read the table and look for faces.", "ocr", "face_detection")
    if number == "1" and replies == 1:
        return step("Sand might have a usual price.", query="invention of the umbrella in London")
    return step(f"The sand costs ${2 * int(number)}.", action="final_answer")


def calculation(number: str) -> str:
    thought = "I skipped the product. $2 × 3 = $6." if number == "3" else None
    return json.dumps({"reason": "the product" if thought else "nothing is skipped", "thought": thought})


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ChatServer]]:
    """Run the data job once with the scripted server as the teacher; yield the folder of the run."""
    folder = tmp_path_factory.mktemp("taught")
    with ChatServer() as server, pytest.MonkeyPatch.context() as environment:
        server.script = scripted
        write_tabmwp(folder / "sources", 4)
        for name, value in taught_by(server, folder).items():
            environment.setenv(name, value)
        with instances.local_instance(folder) as instance:
            check_success(materialize(instance, taught_by(server, folder), partition_key="tabmwp"))
        yield folder, server


def taught_by(server: ChatServer, folder: Path) -> dict[str, str]:
    return {
        "MMAT_SOURCES": str(folder / "sources"),
        "MMAT_STORE": str(folder / "store"),
        "MMAT_LEDGER": str(folder / "ledger.sqlite"),
        "MMAT_TEACHER": "gpt4o",
        "MMAT_MODEL": "scripted",
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": server.url,
    }


def test_a_chat_model_teaches_the_whole_graph(taught: tuple[Path, ChatServer]) -> None:
    folder, server = taught
    sound, pretending, skipping = read(folder / "store", "rr_dialogues", "tabmwp")
    assert [dialogue.reflection for dialogue in (sound, pretending, skipping)] == ["none", "general", "math"]
    check_turns(sound, [("ocr", "face_detection"), ("rag",), ()], ["continue", "continue", "end"])
    assert sound.transcript.turns[1].observations[0].text.startswith("Umbrella: ")
    assert pretending.transcript.turns[-1].step.thought.endswith("$2 × 2 = $4.")
    assert skipping.transcript.turns[-1].step.thought == "I skipped the product. $2 × 3 = $6."
    assert {dialogue.teacher for dialogue in (sound, pretending, skipping)} == {"scripted"}
    (lost,) = rejected(folder / "store", "rationales", "tabmwp")
    assert (lost.record_id, lost.reason) == ("tabmwp/4", "malformed teacher reply")
    assert all(body.headers["authorization"] == f"Bearer {KEY}" for body in server.received)
    # The third problem's bad reply was repaired, the fourth one's twice was none.
    assert sum("cannot be used" in str(each.body["messages"][-1]["content"]) for each in server.received) == 2


def test_what_was_asked_once_is_never_asked_again_whatever_is_built_anew(taught: tuple[Path, ChatServer]) -> None:
    folder, server = taught
    asked, before = len(server.received), read(folder / "store", "orr_dialogues", "tabmwp")
    shutil.rmtree(folder / "store")
    with instances.local_instance(folder) as instance:
        check_success(materialize(instance, taught_by(server, folder), partition_key="tabmwp"))
    assert read(folder / "store", "orr_dialogues", "tabmwp") == before
    assert (len(server.received), server.lookups) == (asked, 2)


def check_turns(dialogue: Dialogue, tools: list[tuple[str, ...]], signals: list[str]) -> None:
    turns = wire.parse_rr(dialogue.messages).turns
    assert [tuple(dict.fromkeys(item.tool for item in turn.observations)) for turn in turns] == tools
    assert [turn.step.signal for turn in turns] == signals


def test_the_key_is_in_no_file_that_a_run_leaves(taught: tuple[Path, ChatServer]) -> None:
    folder, _ = taught
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any("event" in str(path) or path.suffix == ".db" for path in files)
    assert any(path.name == "ledger.sqlite" for path in files)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_missing_key_is_one_clear_error(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    write_tabmwp(tmp_path / "sources", 1)
    variables = {
        "MMAT_SOURCES": str(tmp_path / "sources"),
        "MMAT_STORE": str(tmp_path / "store"),
        "MMAT_LEDGER": str(tmp_path / "ledger.sqlite"),
        "MMAT_TEACHER": "gpt4o",
    }
    monkeypatch.setenv("MMAT_LEDGER", variables["MMAT_LEDGER"])
    result = materialize(instance, variables, partition_key="tabmwp")
    failure = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert failure.user_failure_data is not None
    assert "export OPENAI_API_KEY" in str(failure.user_failure_data.description)


@pytest.mark.long
@pytest.mark.skipif(not (DATA / "tabmwp").is_dir(), reason="needs the published data")
def test_real_sources_become_dialogues_and_the_absent_one_is_passed_over(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    variables = {"MMAT_SOURCES": str(DATA), "MMAT_STORE": str(tmp_path / "store"), "MMAT_LIMIT": "6"}
    assert materialize(instance, variables, tags=RANGE).success
    assert len(read(tmp_path / "store", "rr_dialogues", "tabmwp")) >= 5
    assert len(read(tmp_path / "store", "rr_dialogues", "visual_cot")) >= 5
    assert len(rejected(tmp_path / "store", "rationales", "the_cauldron")) == 6
    assert not (tmp_path / "store" / "rr_dialogues" / "llava_cot" / "manifest.json").exists()
