"""A model is looked up before anything is spent: does the server know it, and for how long will it?"""

import asyncio
import json
import socket
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from mmat_dagster.chat.models import ModelFacts, facts
from mmat_dagster.interfaces import ChatReply, TeacherUnavailable
from resources.chat_lookup import ATTEMPTS, check_shutdown
from tests.asking import ASK, KEY, SOON, ask, make_model
from tests.chat_server import ChatServer, ServerReply, error_reply
from tests.teacher_server import Behaviour, TeacherServer

GPT4O = facts("gpt-4o-2024-11-20")
GONE = date(2027, 1, 14)


def warnings_of(today: date, shutdown: date | None, known: ModelFacts = GPT4O) -> list[str]:
    told: list[str] = []
    check_shutdown(known, shutdown, today, told.append)
    return told


@pytest.mark.parametrize("today", [GONE, date(2027, 1, 15), date(2031, 1, 1)])
def test_a_model_that_is_gone_stops_the_run_and_names_its_successor(today: date) -> None:
    with pytest.raises(TeacherUnavailable) as stop:
        check_shutdown(GPT4O, GONE, today, pytest.fail)
    assert str(stop.value) == (
        "the model gpt-4o-2024-11-20 was shut down on 2027-01-14: set `model` (MMAT_MODEL) to another one; "
        "its named successor is gpt-6-luna"
    )


def test_a_model_that_will_be_gone_soon_is_a_warning_with_the_days_that_are_left() -> None:
    assert warnings_of(date(2027, 1, 13), GONE) == [
        "the model gpt-4o-2024-11-20 will be shut down on 2027-01-14, in 1 days; its named successor is gpt-6-luna"
    ]
    (told,) = warnings_of(GONE - timedelta(days=90), GONE, ModelFacts(name="tiny"))
    assert told == "the model tiny will be shut down on 2027-01-14, in 90 days"


@pytest.mark.parametrize(
    ("today", "shutdown"), [(GONE - timedelta(days=91), GONE), (date(2020, 1, 1), GONE), (GONE, None)]
)
def test_a_model_that_stays_for_a_while_is_no_matter(today: date, shutdown: date | None) -> None:
    assert warnings_of(today, shutdown) == []


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[TeacherServer]:
    with TeacherServer(Behaviour(script=lambda body: "{}", models=request.param)) as running:
        yield running


def posted(server: TeacherServer) -> int:
    return sum(count for (method, _, _), count in server.ledger.calls.items() if method == "POST")


@pytest.mark.parametrize(
    ("server", "names"),
    [
        ({"llama": None, "gemma": None}, "one of gemma, llama"),
        ({f"m{number:02}": None for number in range(12)}, "m08, m09 and 2 more"),
    ],
    indirect=["server"],
)
async def test_an_unknown_model_lists_the_known_ones_and_nothing_is_spent(
    server: TeacherServer, names: str, tmp_path: Path
) -> None:
    with pytest.raises(TeacherUnavailable) as stop:
        await ask(make_model(server.url, tmp_path))
    assert str(stop.value).startswith(f"{server.url} does not know the model scripted: set `model` (MMAT_MODEL) to ")
    assert str(stop.value).endswith(names)
    assert posted(server) == 0


@pytest.mark.parametrize("server", [{"scripted": "2020-01-31"}], indirect=True)
async def test_a_shutdown_in_the_past_stops_the_run_before_anything_is_spent(
    server: TeacherServer, tmp_path: Path
) -> None:
    with pytest.raises(TeacherUnavailable, match="the model scripted was shut down on 2020-01-31"):
        await ask(make_model(server.url, tmp_path))
    assert posted(server) == 0


SOON_GONE = datetime.now(UTC).date() + timedelta(days=30)


@pytest.mark.parametrize("server", [{"scripted": SOON_GONE.isoformat(), "tiny": "2020-01-31"}], indirect=True)
async def test_a_near_shutdown_is_one_warning_however_many_sessions(
    server: TeacherServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model(server.url, tmp_path)
    assert isinstance(await ask(model), ChatReply)
    model_again = model.model_copy(update={"seed": 1})
    for each in (model, model_again):
        assert isinstance(await ask(each), ChatReply)
    told = [record.getMessage() for record in caplog.records if record.name == "resources.gpt4o"]
    assert told[0].startswith(f"the model scripted will be shut down on {SOON_GONE}, in ")
    assert set(told) == {told[0]}


@pytest.mark.parametrize("server", [{"scripted": "some day"}, {"scripted": ""}], indirect=True)
async def test_a_shutdown_that_is_no_date_is_passed_over(
    server: TeacherServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(await ask(make_model(server.url, tmp_path)), ChatReply)
    assert not [record for record in caplog.records if record.name == "resources.gpt4o"]


async def test_a_shutdown_may_be_told_in_seconds(chat_server: ChatServer, tmp_path: Path) -> None:
    listed = {"data": [{"id": "scripted", "shutdown_date": int(datetime(2020, 1, 31, tzinfo=UTC).timestamp())}]}
    chat_server.models = ServerReply(body=json.dumps(listed), raw=True)
    with pytest.raises(TeacherUnavailable, match="was shut down on 2020-01-31"):
        await ask(make_model(chat_server.url, tmp_path))


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_server_without_a_list_of_models_is_asked_all_the_same(
    chat_server: ChatServer, tmp_path: Path, status: int
) -> None:
    chat_server.models, chat_server.script = error_reply(status, "Not here"), lambda body: "{}"
    assert isinstance(await ask(make_model(chat_server.url, tmp_path)), ChatReply)


async def test_a_model_need_not_be_looked_up(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = lambda body: "{}"
    assert isinstance(await ask(make_model(chat_server.url, tmp_path, model="alias", check_model=False)), ChatReply)
    assert chat_server.lookups == 0


@pytest.mark.parametrize(
    "page", ["<!doctype html><title>Welcome</title>", "", "{}", '{"data": [{"name": "scripted"}]}']
)
async def test_a_base_url_that_is_a_web_page_is_one_clear_error(
    chat_server: ChatServer, tmp_path: Path, page: str
) -> None:
    chat_server.models = ServerReply(body=page, raw=True)
    with pytest.raises(TeacherUnavailable, match="does not list its models in the API's form: check `base_url`"):
        await ask(make_model(chat_server.url, tmp_path))
    assert chat_server.received == []


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "refuses the key: export a valid OPENAI_API_KEY"),
        (403, "denies this key the model scripted"),
        (400, "refuses GET /v1/models: "),
    ],
)
async def test_a_server_that_shuts_the_door_is_told_before_anything_is_spent(
    chat_server: ChatServer, tmp_path: Path, status: int, advice: str
) -> None:
    chat_server.models = error_reply(status, f"not with {KEY}")
    with pytest.raises(TeacherUnavailable) as stop:
        await ask(make_model(chat_server.url, tmp_path))
    assert f"{chat_server.url} {advice}" in str(stop.value)
    assert KEY not in str(stop.value)
    assert (chat_server.lookups, chat_server.received) == (1, [])


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_trouble_that_stays_is_told_after_some_attempts(
    chat_server: ChatServer, tmp_path: Path, status: int
) -> None:
    chat_server.models = error_reply(status, "Out of order", headers=SOON)
    with pytest.raises(TeacherUnavailable, match=r"refuses GET /v1/models: .*Out of order"):
        await ask(make_model(chat_server.url, tmp_path))
    assert (chat_server.lookups, chat_server.received) == (ATTEMPTS, [])


@pytest.mark.parametrize("base_url", ["https://api.openai.com/v1", "https://api.openai.com/v1/"])
async def test_openai_without_a_key_is_told_to_export_one(
    base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)  # the SDK would take it; here only the field counts
    with pytest.raises(TeacherUnavailable, match="export OPENAI_API_KEY"):
        await ask(make_model(base_url, tmp_path, api_key=""))


async def test_a_lookup_that_nobody_waits_for_any_more_ends_with_its_session(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        model = make_model(f"http://127.0.0.1:{silent.getsockname()[1]}/v1", tmp_path)
        async with model.session("tests"):
            waiting = asyncio.create_task(model.complete(ASK))
            peer, _ = await asyncio.to_thread(silent.accept)
            waiting.cancel()
        peer.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*left, return_exceptions=True)
    assert left == set()
