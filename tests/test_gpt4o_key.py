"""The key goes into one header and nowhere else, whatever a server says about it."""

import base64
import json
import logging
import sqlite3
import traceback
import zlib
from pathlib import Path
from urllib.parse import quote

import pytest

from mmat_dagster.interfaces import RowError, TeacherUnavailable
from resources.gpt4o import GPT4o
from tests.asking import KEY, SOON, ask, make_model, question
from tests.chat_server import ChatServer, ServerReply, error_reply, in_turn

# So much of it must not be found anywhere.
TRACE = KEY[:12]
ODD = 'sk-0dd/k3y+with="signs\\&more'
QUOTED_AS = {
    "JSON": json.dumps(ODD)[1:-1],
    "JSON of PHP": json.dumps(ODD)[1:-1].replace("/", "\\/"),
    "JSON in numbers": "".join(f"\\u{ord(each):04x}" for each in ODD),
    "a URL": quote(ODD, safe=""),
    "base64": base64.b64encode(ODD.encode()).decode(),
}
QUOTED = "x" * 240 + f" your key is {KEY}, so {KEY}"


def all_of(error: BaseException | None) -> str:
    """Return all that a traceback, a debugger or a logger could tell of an error, causes and contexts included."""
    if error is None:
        return ""
    told = "".join(traceback.format_exception(error)) + repr(error) + str(error) + repr(error.args)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if "resources" in frame.f_code.co_filename]
    return told + f"{len(frames)}" + all_of(error.__cause__) + all_of(error.__context__)


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below `folder`, and the ledger's bodies as they read."""
    found = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with sqlite3.connect(folder / "ledger.sqlite") as connection:
        for (body,) in connection.execute("SELECT body FROM replies"):
            found[f"body {len(found)}"] = zlib.decompress(body)
    connection.close()
    return found


async def tell(model: GPT4o) -> str:
    """Ask, and return whatever comes of it."""
    try:
        return repr(await ask(model))
    except TeacherUnavailable as stop:
        return all_of(stop)


def check_nothing_tells(model: GPT4o, told: str, logged: str, folder: Path) -> None:
    assert TRACE not in told
    assert TRACE not in repr(model) + str(model) + model.version + str(model.spending)
    assert TRACE not in logged
    assert [name for name, content in files_of(folder).items() if TRACE.encode() in content] == []


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 418, 422, 429, 500, 503])
async def test_an_error_that_quotes_the_key_tells_it_nowhere(
    chat_server: ChatServer, tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    chat_server.script = lambda body: error_reply(status, QUOTED, headers=SOON)
    model = make_model(chat_server.url, tmp_path, give_up_s=0.05)
    told = await tell(model)
    assert chat_server.received[0].headers["authorization"] == f"Bearer {KEY}"
    check_nothing_tells(model, told, caplog.text, tmp_path)
    assert ("***" in told) == (status != 401)  # of a bad key parts may be quoted: nothing of it is told


@pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500])
async def test_a_lookup_that_quotes_the_key_tells_it_nowhere(
    chat_server: ChatServer, tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    chat_server.models = error_reply(status, QUOTED, headers=SOON)
    model = make_model(chat_server.url, tmp_path)
    check_nothing_tells(model, await tell(model), caplog.text, tmp_path)


@pytest.mark.parametrize(
    "reply",
    [
        ServerReply(body=None, refusal=f"I will not tell {KEY}."),
        ServerReply(body=f'{{"thought": "{KEY}"}}'),
        ServerReply(body=f"<html>{KEY}</html>", raw=True),
        ServerReply(body=f'{{"choices": [], "key": "{KEY}"}}', raw=True),
        error_reply(400, QUOTED, code=KEY),
    ],
)
async def test_a_server_that_echoes_the_key_writes_it_into_no_file(
    chat_server: ChatServer, tmp_path: Path, reply: ServerReply, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    chat_server.script = lambda body: reply
    model = make_model(chat_server.url, tmp_path)
    check_nothing_tells(model, await tell(model), caplog.text, tmp_path)


async def test_what_the_ledger_keeps_of_an_error_still_reads_without_the_key(
    chat_server: ChatServer, tmp_path: Path
) -> None:
    chat_server.script = in_turn(error_reply(400, f"not with {KEY}"))
    told = [await ask(make_model(chat_server.url, tmp_path)) for _ in range(2)]
    assert told == [RowError(reason="request not accepted", detail="not with ***")] * 2


@pytest.mark.parametrize("status", [200, 400, 404, 429, 500])
@pytest.mark.parametrize("form", QUOTED_AS)
async def test_a_key_is_not_told_in_another_form_either(
    chat_server: ChatServer, tmp_path: Path, status: int, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    quoted = QUOTED_AS[form]
    body = f'{{"choices": [{{"message": {{"content": "{quoted}"}}}}]}}' if status == 200 else quoted
    chat_server.script = lambda asked: ServerReply(body=body, status=status, raw=True, headers=SOON)
    model = make_model(chat_server.url, tmp_path, api_key=ODD, give_up_s=0.05)
    told = await tell(model) + caplog.text
    assert chat_server.received[0].headers["authorization"] == f"Bearer {ODD}"
    found = [name for name, content in files_of(tmp_path).items() if quoted.encode() in content]
    assert found == []
    assert quoted not in told
    assert ODD not in told
    assert not any(ODD.encode() in content for content in files_of(tmp_path).values())


async def test_a_request_id_that_is_the_key_is_not_kept(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn(ServerReply(body="{}", headers={"x-request-id": f"req-{ODD}"}))
    await ask(make_model(chat_server.url, tmp_path, api_key=ODD))
    assert not any(ODD.encode() in content for content in files_of(tmp_path).values())


async def test_files_are_searched_while_the_ledger_is_open(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn(error_reply(400, QUOTED), "{}")
    model = make_model(chat_server.url, tmp_path)
    async with model.session("tests"):
        for text in ("one", "two"):
            await model.complete([question(text)])
        assert any(name.endswith("-wal") for name in files_of(tmp_path))
        assert [name for name, content in files_of(tmp_path).items() if TRACE.encode() in content] == []


async def test_the_client_s_logs_do_not_hold_the_key(
    chat_server: ChatServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    chat_server.script = in_turn(error_reply(500, "Not now"), "{}")
    await ask(make_model(chat_server.url, tmp_path, max_retries=1))
    assert [record for record in caplog.records if record.name.startswith("openai")]
    assert TRACE not in caplog.text


async def test_a_server_that_is_away_is_told_without_the_key(tmp_path: Path) -> None:
    model = make_model("http://127.0.0.1:9/v1", tmp_path, check_model=False)
    assert TRACE not in await tell(model)


@pytest.mark.parametrize("base_url", [f"http://me:{KEY}@127.0.0.1:9/v1", f"http://127.0.0.1:9/v1?key={KEY}"])
async def test_a_key_in_an_address_is_refused_and_not_told(base_url: str, tmp_path: Path) -> None:
    told = await tell(make_model(base_url, tmp_path))
    assert "`base_url` must be like https://host/v1" in told
    assert TRACE not in told


@pytest.mark.parametrize(
    "key",
    [
        "sk-with spaces",
        "sk-ünïcode",
        "sk-two\nlines",
        "sk-\x00",
    ],
)
async def test_a_key_that_no_header_can_hold_is_not_told_either(tmp_path: Path, key: str) -> None:
    model = make_model("http://127.0.0.1:9/v1", tmp_path, api_key=key)
    assert key not in await tell(model) + repr(model)
