"""The paper's own tools through the whole graph: captions by scene graph, OCR and faces over HTTP, search by Google.

Every peer is a real server on loopback.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pytest

from mmat_dagster.cli import run
from mmat_dagster.schema import Dialogue
from mmat_dagster.tools import Failed, Look, Operator, Sight
from resources.operator_server import create_app
from tests import instances
from tests.chat_server import ChatServer
from tests.google_server import ENGINE, GoogleServer, item, page
from tests.layouts import write_tabmwp
from tests.operator_peers import running
from tests.test_graph import KEY, materialize, read, rejected, taught_by

instance = instances.instance

ROOT = Path(__file__).resolve().parents[1]
SEARCH_KEY = "AIza-never-told"
TOKEN = "t0ken-never-told"
READ = "sand | $2; gravel | $3"
CAPTION = "A price list names sand and gravel."


class ServedOcr(Operator):
    """An OCR as another machine has it; fails at one picture."""

    name: ClassVar[str] = "ocr"
    purpose: ClassVar[str] = "reads"
    version = "served 1"

    def __init__(self, smudged: bytes) -> None:
        self._smudged = smudged

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        return [Failed(detail="smudged") if look.image == self._smudged else Sight(text=READ) for look in looks]


def scripted(body: dict[str, Any]) -> str:
    """Play GPT-4o: as the describer of images, as the teacher that calls every tool, and as a judge who is content."""
    text = json.dumps(body["messages"], ensure_ascii=False)
    if "You describe images" in text:
        asks_for_caption = "Write the caption" in str(body["messages"][-1]["content"])
        graph = {"objects": ["price list"], "attributes": [], "relationships": []}
        return json.dumps({"caption": CAPTION} if asks_for_caption else graph)
    if "Your task:" in text:
        return json.dumps({"reason": None if "Your task: AUDIT" in text else "none is skipped", "thought": None})
    return next_step(sum(message["role"] == "assistant" for message in body["messages"]))


def next_step(made: int) -> str:
    steps: list[dict[str, Any]] = [
        {"operators": ["image_caption", "ocr"], "rag": {"needed": True, "query": "price of sand"}},
        {"operators": [], "rag": {"needed": False, "query": None}},
    ]
    action = "final_answer" if made else "continue"
    return json.dumps({"thought": f"Step {made}: the price is 2.", **steps[min(made, 1)], "next_action": action})


@pytest.fixture
def peers(google_server: GoogleServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Yield the variables of a deployment that uses them all."""
    write_tabmwp(tmp_path / "sources", 3)
    smudged = (tmp_path / "sources" / "tabmwp" / "tables" / "2.png").read_bytes()
    google_server.script = lambda asked: page([item(1, title="Sand", snippet="It is cheap.")])
    with ExitStack() as stack:
        chat = stack.enter_context(ChatServer())
        chat.script = scripted
        url = stack.enter_context(
            running(create_app({"ocr": ServedOcr(smudged)}, max_bytes=1_000_000, max_concurrent=2, token=TOKEN))
        )
        variables = {
            **taught_by(chat, tmp_path),
            "MMAT_OPERATORS": "image_caption=gpt4o,ocr=http",
            "MMAT_OPERATOR_URL": url,
            "MMAT_OPERATOR_TOKEN": TOKEN,
            "MMAT_SEARCH": "google",
            "GOOGLE_API_KEY": SEARCH_KEY,
            "GOOGLE_CSE_ID": ENGINE,
            "GOOGLE_SEARCH_URL": google_server.url,
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield variables


def test_dialogues_hold_what_the_papers_tools_said_and_none_is_paid_twice(
    peers: dict[str, str],
    instance: dg.DagsterInstance,
    google_server: GoogleServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = materialize(instance, peers, partition_key="tabmwp")
    assert result.success, [event.step_failure_data for event in result.all_events if event.is_step_failure]
    dialogues: list[Dialogue] = read(tmp_path / "store", "rr_dialogues", "tabmwp")
    assert rejected(tmp_path / "store", "rationales", "tabmwp") == []
    told = [[(item.tool, item.text) for item in each.transcript.turns[0].observations] for each in dialogues]
    rag = ("rag", "Sand: It is cheap.")
    assert told == [
        [("image_caption", CAPTION), ("ocr", READ), rag],
        [("image_caption", CAPTION), ("ocr", "the operator failed and returned nothing"), rag],
        [("image_caption", CAPTION), ("ocr", READ), rag],
    ]
    check_metadata(instance)
    assert len(google_server.received) == 1
    assert run(["ledger"]) == 0
    assert re.search(r"search at 127\.0\.0\.1 +rationales of tabmwp +1 .* 0\.0050", capsys.readouterr().out)
    leaks = [path for path in tmp_path.rglob("*") if path.is_file() and holds_secret(path.read_bytes())]
    assert leaks == []


def check_metadata(instance: dg.DagsterInstance) -> None:
    record = instance.get_latest_materialization_event(dg.AssetKey("rationales"))
    assert record is not None
    assert record.asset_materialization is not None
    metadata = record.asset_materialization.metadata
    assert metadata["search_queries_paid"].value == 1
    assert metadata["search_spent_usd"].value == 0.005
    # Two calls for each of three captions, two for each of three rationales.
    assert metadata["teacher_calls_paid"].value == 12
    assert "| ocr failed | 1 |" in str(metadata["census"].value)
    assert "| ocr | " in str(metadata["operators"].value)


def holds_secret(content: bytes) -> bool:
    return any(secret.encode() in content for secret in (SEARCH_KEY, TOKEN, KEY))


def test_what_it_will_cost_is_told_with_captions_and_searches(
    peers: dict[str, str],
) -> None:
    command = [sys.executable, "-m", "mmat_dagster", "estimate", "--source", "tabmwp"]
    told = subprocess.run(command, cwd=ROOT, env=os.environ | peers, capture_output=True, text=True, check=True).stdout
    assert re.search(r"tabmwp +3 +rationales +12 ", told)
    assert "web search: about 1 queries for $0.00 (19% of samples)" in told


def test_a_server_that_is_away_stops_the_run_and_rejects_nothing(
    peers: dict[str, str], instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    result = materialize(instance, {**peers, "MMAT_OPERATOR_URL": "http://127.0.0.1:9"}, partition_key="tabmwp")
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert any("127.0.0.1:9" in str(each.user_failure_data and each.user_failure_data.description) for each in failures)
    assert rejected(tmp_path / "store", "rationales", "tabmwp") == []
