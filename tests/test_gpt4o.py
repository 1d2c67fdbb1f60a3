"""The chat model over real HTTP on loopback: what it sends, how it reads replies, and that it asks everything once."""

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mmat_dagster import wire
from mmat_dagster.interfaces import ChatImage, ChatModel, ChatReply, ChatTurn, Pictures, ReplySchema, RowError
from mmat_dagster.reasoning import Toolbox
from mmat_dagster.schema import Dialogue, ImageRef, Rationale, SourceName
from mmat_dagster.spending import Spending
from mmat_dagster.stages.rationale import write_rationale
from mmat_dagster.stages.reflection import reflect
from mmat_dagster.teachers.prompted import PromptedTeacher
from mmat_dagster.teachers.replies import STEP
from resources.gpt4o import GPT4o
from tests.asking import ASK, KEY, SYSTEM, ask, make_model, question, save_picture
from tests.builders import make_sample
from tests.chat_server import COMPLETION_TOKENS, PROMPT_TOKENS, Body, ChatServer, ServerReply, in_turn
from tests.fakes import ToldOperator, ToldRetriever
from tests.teacher_server import Behaviour, TeacherServer

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ReplySchema(name="step", json_schema='{"type": "object", "properties": {}}')


async def test_a_reply_comes_back_with_its_tokens(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn('{"thought": "2"}')
    reply = await ask(make_model(chat_server.url, tmp_path))
    assert reply == ChatReply(text='{"thought": "2"}', prompt_tokens=PROMPT_TOKENS, completion_tokens=COMPLETION_TOKENS)


async def test_a_request_holds_the_messages_and_every_setting(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn("{}")
    model = make_model(chat_server.url, tmp_path, temperature=0.5, top_p=0.9, seed=7, max_completion_tokens=99)
    await ask(model, *ASK, ChatTurn(role="assistant", text='{"thought": "so"}'), question("Go on."))
    (received,) = chat_server.received
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert received.headers["content-type"] == "application/json"
    assert received.body == {
        "model": "scripted",
        "messages": [
            {"role": "system", "content": "Reply in JSON."},
            {"role": "user", "content": "How much?"},
            {"role": "assistant", "content": '{"thought": "so"}'},
            {"role": "user", "content": "Go on."},
        ],
        "response_format": {"type": "json_object"},
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "max_completion_tokens": 99,
    }


async def test_settings_that_a_model_does_not_take_are_left_out(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn("{}")
    await ask(make_model(chat_server.url, tmp_path, temperature=None, seed=None))
    assert {"temperature", "seed", "top_p", "reasoning_effort"}.isdisjoint(chat_server.received[0].body)


@pytest.mark.parametrize(
    ("model", "reply_format", "asked"),
    [
        ("gpt-4o-2024-11-20", "auto", "json_schema"),
        ("scripted", "auto", "json_object"),
        ("gpt-4o-2024-11-20", "json_object", "json_object"),
        ("scripted", "json_schema", "json_schema"),
        ("scripted", "json_object_with_schema", "json_object"),
        ("gpt-4o-2024-11-20", "text", None),
    ],
)
async def test_a_model_that_takes_a_schema_is_given_it(
    chat_server: ChatServer, tmp_path: Path, model: str, reply_format: str, asked: str | None
) -> None:
    chat_server.script = in_turn("{}")
    teacher = make_model(chat_server.url, tmp_path, model=model, check_model=False, reply_format=reply_format)
    async with teacher.session("tests"):
        await teacher.complete(ASK, STEP)
    told: dict[str, Any] = chat_server.received[0].body.get("response_format", {})
    assert told.get("type") == asked
    assert told.get("json_schema", {}).get("strict") == (True if asked == "json_schema" else None)
    schema = told.get("json_schema", told).get("schema")
    is_given = asked == "json_schema" or reply_format == "json_object_with_schema"
    assert schema == (json.loads(STEP.json_schema) if is_given else None)


async def test_the_successor_is_told_not_to_reason(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn("{}")
    await ask(make_model(chat_server.url, tmp_path, model="gpt-6-luna", check_model=False))
    body = chat_server.received[0].body
    assert (body["reasoning_effort"], body["temperature"]) == ("none", 0.3)


async def test_images_stand_before_the_text_as_they_are_on_disk(chat_server: ChatServer, tmp_path: Path) -> None:
    pictures = [save_picture(tmp_path / name) for name in ("a.png", "b.jpg", "c.webp")]
    chat_server.script = in_turn("{}")
    text = 'How much is "url":"mmat:image" \\ "quoted"?'
    await ask(make_model(chat_server.url, tmp_path, image_detail="high"), SYSTEM, question(text, *pictures))
    *images, told = chat_server.received[0].body["messages"][1]["content"]
    assert told == {"type": "text", "text": text}
    for image, picture, kind in zip(images, pictures, ("png", "jpeg", "webp"), strict=True):
        before, _, content = image["image_url"]["url"].partition(";base64,")
        assert before == f"data:image/{kind}"
        assert base64.b64decode(content, validate=True) == picture.path.read_bytes()
        assert image["image_url"]["detail"] == "high"


async def test_a_server_can_be_told_where_to_fetch_images(chat_server: ChatServer, tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "a.png")
    picture.path.unlink()
    chat_server.script = in_turn("{}")
    model = make_model(chat_server.url, tmp_path, image_url="https://host/{reference}?v={sha256}")
    assert isinstance(await ask(model, question("?", picture)), ChatReply)
    image, _ = chat_server.received[0].body["messages"][0]["content"]
    assert image["image_url"]["url"] == f"https://host/tabmwp/a.png?v={picture.sha256}"


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("tabmwp/a b#c?d=%2e&é.png", "tabmwp/a%20b%23c%3Fd%3D%252e%26%C3%A9.png"),
        ("tabmwp/tables/../a.png", "tabmwp/a.png"),
        ("tabmwp//tables/./a.png", "tabmwp/tables/a.png"),
    ],
)
async def test_a_name_of_an_image_leads_nowhere_else_on_that_server(
    chat_server: ChatServer, tmp_path: Path, reference: str, path: str
) -> None:
    picture = replace(save_picture(tmp_path / "a.png"), reference=reference)
    chat_server.script = in_turn("{}")
    await ask(make_model(chat_server.url, tmp_path, image_url="https://host/{reference}"), question("?", picture))
    image, _ = chat_server.received[0].body["messages"][0]["content"]
    assert image["image_url"]["url"] == f"https://host/{path}"


async def test_a_model_that_cannot_see_is_sent_no_image(chat_server: ChatServer, tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "a.png")
    picture.path.unlink()
    chat_server.script = in_turn("{}")
    prices = {"usd_per_million_input": 1.0, "usd_per_million_output": 1.0}  # no image needs to be counted
    model = make_model(chat_server.url, tmp_path, image_detail="none", **prices)
    assert isinstance(await ask(model, SYSTEM, question("How much?", picture)), ChatReply)
    assert chat_server.received[0].body["messages"] == [
        {"role": "system", "content": "Reply in JSON."},
        {"role": "user", "content": "How much?"},
    ]


async def test_a_large_image_is_scaled_once_and_kept_on_the_shelf(chat_server: ChatServer, tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "a.png", (400, 200))
    chat_server.script = lambda body: "{}"
    model = make_model(chat_server.url, tmp_path, max_image_side=100, shelf=str(tmp_path / "shelf"))
    for text in ("one", "two"):
        await ask(model, question(text, picture))
    (copy,) = (tmp_path / "shelf").rglob("*.jpg")
    urls = [each.body["messages"][0]["content"][0]["image_url"]["url"] for each in chat_server.received]
    assert urls == [f"data:image/jpeg;base64,{base64.b64encode(copy.read_bytes()).decode()}"] * 2


async def test_a_missing_image_is_the_sample_s_fault(chat_server: ChatServer, tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "gone.png")
    picture.path.unlink()
    error = await ask(make_model(chat_server.url, tmp_path), question("?", picture))
    assert error == RowError(reason="missing image", detail=str(picture.path))
    assert chat_server.received == []


async def test_an_unreadable_or_changed_image_is_the_sample_s_fault(chat_server: ChatServer, tmp_path: Path) -> None:
    torn = save_bytes(tmp_path / "torn.png", b"\x89PNG\r\n\x1a\nno more")
    changed = save_picture(tmp_path / "changed.png")
    changed.path.write_bytes(b"another picture")
    model = make_model(chat_server.url, tmp_path)
    errors = [await ask(model, question("?", image)) for image in (torn, changed)]
    assert [error.reason for error in errors if isinstance(error, RowError)] == ["unreadable image", "image changed"]
    assert chat_server.received == []
    assert model.spending.asked == 0


def save_bytes(path: Path, content: bytes) -> ChatImage:
    """Save what is no picture and return it as if it were one."""
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return ChatImage(path=path, sha256=sha256, width=1, height=1, reference=f"tabmwp/{path.name}")


async def test_a_request_is_asked_once_whatever_resource_session_and_server(
    chat_server: ChatServer, tmp_path: Path
) -> None:
    picture = save_picture(tmp_path / "a.png")
    chat_server.script = in_turn('{"thought": "2"}')
    model = make_model(chat_server.url, tmp_path)
    async with model.session("tests"):
        replies = [await model.complete([question("?", picture)]) for _ in range(2)]
    replies.append(await ask(model, question("?", picture)))
    elsewhere = make_model("http://127.0.0.1:9/v1", tmp_path, timeout_s=1.0, api_key="", concurrency=1)
    replies.append(await ask(elsewhere, question("?", picture)))
    picture.path.unlink()  # what is answered needs no image any more
    replies.append(await ask(elsewhere, question("?", picture)))
    assert len(chat_server.received) == chat_server.lookups == 1
    assert len(set(replies)) == 1
    assert (model.spending.asked, model.spending.reused, model.spending.calls) == (3, 2, 1)
    assert (elsewhere.spending.asked, elsewhere.spending.reused, elsewhere.spending.calls) == (2, 2, 0)


async def test_another_setting_or_sample_is_another_request(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = lambda body: "{}"
    model = make_model(chat_server.url, tmp_path)
    async with model.session("tests"):
        for sample_number in (0, 1, 1):
            await model.complete(ASK, sample_number=sample_number)
        await model.complete(ASK, SCHEMA)
    await ask(make_model(chat_server.url, tmp_path, temperature=0.0))
    assert len(chat_server.received) == 4
    assert chat_server.received[0].body == chat_server.received[1].body


async def test_identical_requests_at_once_are_sent_once(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn(ServerReply(body='{"thought": "2"}', delay_s=0.05))
    model = make_model(chat_server.url, tmp_path)
    async with model.session("tests"):
        replies = await asyncio.gather(*(model.complete(ASK) for _ in range(20)))
    assert len(set(replies)) == len(chat_server.received) == 1
    assert (model.spending.asked, model.spending.calls) == (20, 1)


async def test_many_requests_at_once_get_each_its_own_reply(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = lambda body: json.dumps({"said": body["messages"][0]["content"]})
    model = make_model(chat_server.url, tmp_path)
    asked = [question(f"JSON number {number}") for number in range(200)]
    async with model.session("tests"):
        replies = await asyncio.gather(*(model.complete([turn]) for turn in asked))
    said = [json.loads(reply.text)["said"] for reply in replies if isinstance(reply, ChatReply)]
    assert said == [turn.text for turn in asked]
    assert chat_server.lookups == 1
    assert model.spending == Spending(
        calls=200,
        prompt_tokens=200 * PROMPT_TOKENS,
        completion_tokens=200 * COMPLETION_TOKENS,
        lost_usd=0.0,
    )


async def test_whoever_stops_waiting_loses_no_reply(chat_server: ChatServer, tmp_path: Path) -> None:
    is_asked = threading.Event()

    def reply_late(body: Body) -> ServerReply:
        is_asked.set()
        return ServerReply(body='{"thought": "2"}', delay_s=0.2)

    chat_server.script = reply_late
    model = make_model(chat_server.url, tmp_path)
    async with model.session("tests"):
        waiting = asyncio.create_task(model.complete(ASK))
        assert await asyncio.to_thread(is_asked.wait, 10)
        waiting.cancel()
    assert isinstance(await ask(model), ChatReply)
    assert len(chat_server.received) == 1
    assert (model.spending.calls, model.spending.lost_calls) == (1, 0)


def test_every_event_loop_has_its_own_session(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = lambda body: "{}"
    model = make_model(chat_server.url, tmp_path)
    for number in range(2):
        assert isinstance(asyncio.run(ask(model, question(str(number)))), ChatReply)
    assert len(chat_server.received) == chat_server.lookups == 2


async def test_a_local_server_needs_no_key(
    chat_server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    chat_server.script = in_turn("{}")
    assert isinstance(await ask(make_model(chat_server.url, tmp_path, api_key="")), ChatReply)
    assert KEY not in chat_server.received[0].headers["authorization"]


def test_the_version_changes_with_everything_that_decides_a_reply_and_with_nothing_else() -> None:
    changes: list[dict[str, object]] = [
        {},
        {"model": "gpt-4o-2024-08-06"},
        {"temperature": 0.0},
        {"top_p": 0.5},
        {"seed": 1},
        {"max_completion_tokens": 64},
        {"reasoning_effort": "low"},
        {"reply_format": "text"},
        {"image_detail": "low"},
        {"max_image_side": 512},
    ]
    assert len({GPT4o.model_validate(change).version for change in changes}) == len(changes)
    others: dict[str, object] = {
        "api_key": KEY,
        "base_url": "http://host/v1",
        "check_model": False,
        "ledger": "elsewhere.sqlite",
        "mode": "batch",
        "image_url": "https://host/{reference}",
        "shelf": "shelf",
        "concurrency": 1,
        "budget_usd": 1.0,
        "timeout_s": 1.0,
    }
    assert GPT4o.model_validate(others).version == GPT4o().version
    assert GPT4o(model="tiny").model_name == "tiny"


def test_dagster_hands_it_to_an_asset_with_the_key_from_the_environment(
    chat_server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.asset
    def said(gpt4o: GPT4o) -> str:
        async def ask_it(model: ChatModel) -> ChatReply | RowError:
            async with model.session("tests"):
                return await model.complete(ASK)

        reply = asyncio.run(ask_it(gpt4o))
        return reply.text if isinstance(reply, ChatReply) else reply.detail

    monkeypatch.setenv("A_KEY_FOR_TESTS", KEY)
    chat_server.script = in_turn('{"thought": "2"}')
    model = make_model(chat_server.url, tmp_path, api_key=dg.EnvVar("A_KEY_FOR_TESTS"))
    result = dg.materialize([said], resources={"gpt4o": model})
    assert result.output_for_node("said") == '{"thought": "2"}'
    assert chat_server.received[0].headers["authorization"] == f"Bearer {KEY}"


class OnePicture(Pictures):
    """Has one picture for every reference."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def locate(self, source: SourceName, image: ImageRef) -> Path:
        return self.path


async def test_a_dialogue_is_written_and_reflected_on_over_http(chat_server: ChatServer, tmp_path: Path) -> None:
    no_search = {"needed": False, "query": None}
    look = {"thought": "I read the tag.", "operators": ["ocr"], "rag": no_search, "next_action": "continue"}
    end = {"thought": "The sand costs 2.", "operators": [], "rag": no_search, "next_action": "final_answer"}
    verdict = {"reason": "The tag is not cited."}
    rewrite = {"thought": "I left the tag out; it says $2.00, so the sand costs 2."}
    chat_server.script = in_turn(*map(json.dumps, (look, {"thought": ""}, end, verdict, rewrite)))
    picture = save_picture(tmp_path / "tag.png")
    sample = make_sample(images=(ImageRef(home="source", path="tag.png", sha256=picture.sha256, width=40, height=20),))
    pictures = OnePicture(picture.path)
    teacher = PromptedTeacher(model=make_model(chat_server.url, tmp_path), pictures=pictures, max_turns=6)
    tools = Toolbox(operators={"ocr": ToldOperator("sand $2.00")}, retriever=ToldRetriever())

    async with teacher.session("tests"):
        rationale = await write_rationale(sample, teacher, tools, pictures)
        assert isinstance(rationale, Rationale)
        dialogue = await reflect(rationale, teacher, "the system prompt", max_turns=6)

    assert isinstance(dialogue, Dialogue)
    assert (dialogue.reflection, dialogue.teacher) == ("general", "scripted")
    assert wire.parse_rr(dialogue.messages).turns[-1].step.thought == rewrite["thought"]
    assert [len(received.body["messages"]) for received in chat_server.received] == [2, 4, 6, 2, 2]
    assert "-ocr information: sand $2.00" in chat_server.received[1].body["messages"][-1]["content"]
    assert "operators: Field required" in chat_server.received[2].body["messages"][-1]["content"]
    assert teacher.spending is not None
    assert (teacher.spending.calls, teacher.spending.repaired) == (5, 1)


async def test_as_many_requests_are_under_way_as_the_concurrency_says(tmp_path: Path) -> None:
    # The SDK's aiohttp transport takes None for 100 connections; the first 16 go alone, to learn.
    with TeacherServer(Behaviour(script=lambda body: "{}", delay_s=1.0)) as server:
        model = make_model(server.url, tmp_path, concurrency=200)
        async with model.session("tests"):
            await asyncio.gather(*(model.complete([question(f"JSON number {number}")]) for number in range(216)))
    assert server.in_flight_peak == 200


def test_importing_the_resource_does_not_load_the_sdk() -> None:
    code = "import sys, resources.deployments; assert 'openai' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
