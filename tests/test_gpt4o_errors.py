"""Trouble is sorted: this row's, one that passes, one that every request would meet; each tells the way out of it."""

import asyncio
import json
import socket
from collections import Counter
from pathlib import Path

import pytest

from mmat_dagster.interfaces import ChatReply, RowError, TeacherUnavailable
from mmat_dagster.ledger.totals import forget
from resources.gpt4o import GPT4o
from tests.asking import KEY, SOON, ask, make_model, question
from tests.chat_server import Body, ChatServer, ServerReply, error_reply, in_turn
from tests.teacher_server import Behaviour, TeacherServer
from tests.teacher_server_faults import Fault, Faults

CANARY = "Reply with the JSON object {}."


def is_canary(body: Body) -> bool:
    return bool(body["messages"][-1]["content"] == CANARY)


@pytest.mark.parametrize(
    ("reply", "reason", "detail"),
    [
        (ServerReply(body=None, refusal="I cannot identify people."), "teacher refused", "I cannot identify people."),
        (ServerReply(body="{", finish_reason="content_filter"), "teacher refused", "content filter"),
        (error_reply(400, "Your image is unsafe", "content_policy_violation"), "teacher refused", "image is unsafe"),
        (error_reply(400, "Invalid image", "invalid_image"), "request not accepted", "Invalid image"),
        (error_reply(400, "Too long", "context_length_exceeded"), "request not accepted", "Too long"),
        (error_reply(413, "Payload too large"), "request not accepted", "Payload too large"),
        (error_reply(422, "Cannot process"), "request not accepted", "Cannot process"),
    ],
)
async def test_a_fault_of_one_request_is_a_row_error_that_is_asked_for_once_and_kept(
    chat_server: ChatServer, tmp_path: Path, reply: ServerReply, reason: str, detail: str
) -> None:
    chat_server.script = in_turn(reply)
    errors = [await ask(make_model(chat_server.url, tmp_path, max_retries=2)) for _ in range(2)]
    for error in errors:
        assert isinstance(error, RowError)
        assert error.reason == reason
        assert detail in error.detail
    assert len(chat_server.received) == 1


async def test_an_empty_or_cut_reply_is_one_for_whoever_asked_to_judge(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn(ServerReply(body=None), ServerReply(body='{"th', finish_reason="length"))
    model = make_model(chat_server.url, tmp_path)
    empty, cut = [await ask(model, question(text)) for text in ("one", "two")]
    assert isinstance(empty, ChatReply)
    assert (empty.text, empty.is_cut) == ("", False)
    assert isinstance(cut, ChatReply)
    assert (cut.text, cut.is_cut) == ('{"th', True)


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        (error_reply(401, f"Incorrect API key provided: {KEY[:8]}****6789"), "export a valid OPENAI_API_KEY"),
        (error_reply(402, "Insufficient credits"), "no credit left for this key: add credit"),
        (error_reply(403, "No access"), "denies this key the model scripted: ask for access or set another `model`"),
        (error_reply(404, "No such model"), "does not know the model scripted: check `model` and `base_url`"),
        (error_reply(429, "You exceeded your quota", "insufficient_quota"), "no quota left for this key: add credit"),
        (error_reply(429, "Billing", "billing_hard_limit_reached"), "no quota left for this key: add credit"),
        (error_reply(400, "No temperature here", "unsupported_value"), "does not take these settings"),
        (error_reply(400, "max_tokens?", "unsupported_parameter"), "change the field that it names (max_tokens?)"),
        (error_reply(400, "No such model", "model_not_found"), "does not take these settings"),
        (error_reply(418, "A teapot"), "does not speak the chat-completions protocol: check `base_url`"),
    ],
)
async def test_where_no_request_can_work_it_says_at_once_what_to_do(
    chat_server: ChatServer, tmp_path: Path, reply: ServerReply, advice: str
) -> None:
    chat_server.script = lambda body: reply
    with pytest.raises(TeacherUnavailable) as stop:
        await ask(make_model(chat_server.url, tmp_path, max_retries=2))
    assert advice in str(stop.value)
    assert chat_server.url in str(stop.value)
    assert KEY[:8] not in str(stop.value)
    assert len(chat_server.received) == 1
    chat_server.script = lambda body: "{}"
    assert isinstance(await ask(make_model(chat_server.url, tmp_path)), ChatReply)  # nothing of it was kept


async def test_after_such_an_error_nothing_new_is_sent(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = lambda body: error_reply(401, "No")
    model = make_model(chat_server.url, tmp_path, concurrency=1)
    async with model.session("tests"):
        told = await asyncio.gather(*(model.complete([question(str(n))]) for n in range(20)), return_exceptions=True)
    assert {type(each) for each in told} == {TeacherUnavailable}
    assert len(set(map(str, told))) == len(chat_server.received) == 1


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
async def test_a_passing_trouble_is_waited_out(chat_server: ChatServer, tmp_path: Path, status: int) -> None:
    chat_server.script = in_turn(error_reply(status, "Not now", headers=SOON), '{"thought": "2"}')
    model = make_model(chat_server.url, tmp_path, max_retries=1)
    reply = await ask(model)
    assert isinstance(reply, ChatReply)
    assert reply.text == '{"thought": "2"}'
    assert len(chat_server.received) == 2
    assert (model.spending.retries, model.spending.limited) == (1, int(status == 429))


async def test_a_limit_is_no_trouble_that_the_retries_count(chat_server: ChatServer, tmp_path: Path) -> None:
    limit = error_reply(429, "Slow down", "rate_limit_exceeded", SOON)
    chat_server.script = in_turn(*[limit] * 5, "{}")
    model = make_model(chat_server.url, tmp_path, max_retries=0)
    assert isinstance(await ask(model), ChatReply)
    assert (model.spending.retries, model.spending.limited, model.spending.calls) == (5, 5, 1)


async def test_a_server_that_only_limits_is_given_up_in_the_end(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = lambda body: error_reply(429, "Slow down", "rate_limit_exceeded", SOON)
    with pytest.raises(TeacherUnavailable, match=r"has let nothing through for .* minutes \(Slow down\)"):
        await ask(make_model(chat_server.url, tmp_path, give_up_s=0.1))


@pytest.mark.parametrize(
    "body", ["<html>Welcome</html>", '{"choices": []}', "", '{"error": {"message": "overloaded"}}']
)
async def test_a_body_that_is_no_completion_is_asked_for_again(
    chat_server: ChatServer, tmp_path: Path, body: str
) -> None:
    chat_server.script = in_turn(ServerReply(body=body, raw=True), "{}")
    assert isinstance(await ask(make_model(chat_server.url, tmp_path, max_retries=1)), ChatReply)
    assert len(chat_server.received) == 2


async def test_a_stalled_request_is_sent_again(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn(ServerReply(body="{}", delay_s=1.0), '{"thought": "2"}')
    reply = await ask(make_model(chat_server.url, tmp_path, timeout_s=0.3, max_retries=1))
    assert isinstance(reply, ChatReply)
    assert reply.text == '{"thought": "2"}'
    assert len(chat_server.received) == 2


async def test_a_server_that_stays_silent_is_given_up(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = lambda body: ServerReply(body="{}", delay_s=1.0)
    with pytest.raises(TeacherUnavailable, match=r"`timeout_s` \(no answer in 0\.1 s\)"):
        await ask(make_model(chat_server.url, tmp_path, timeout_s=0.1))


@pytest.mark.parametrize(
    ("fault", "seed"), [("reset in mid-body", 3), ("500", 4), ("503", 5), ("429 with retry-after-ms", 6)]
)
async def test_every_reply_comes_through_a_broken_line_and_none_is_kept_twice(
    tmp_path: Path, fault: Fault, seed: int
) -> None:
    faults = Faults(transport=0.5, only=(fault,), retry_after_s=0.001)
    script_of = Behaviour(script=lambda body: json.dumps(body["messages"][0]["content"]), faults=faults, seed=seed)
    with TeacherServer(script_of) as server:
        model = make_model(server.url, tmp_path, max_retries=30)
        async with model.session("tests"):
            asked = [question(f"JSON {number}") for number in range(40)]
            replies = await asyncio.gather(*(model.complete([turn]) for turn in asked))
        said = [json.loads(reply.text) for reply in replies if isinstance(reply, ChatReply)]
        assert said == [turn.text for turn in asked]
        assert server.ledger.faults[fault] == model.spending.retries > 0
        assert server.paid == Counter(dict.fromkeys(server.paid, 1))
        assert len(server.paid) == model.spending.calls == 40
        assert bool(server.paid_unseen) == (fault == "reset in mid-body")


async def test_a_request_that_always_fails_is_at_fault_where_others_are_answered(
    chat_server: ChatServer, tmp_path: Path
) -> None:
    def script(body: Body) -> str | ServerReply:
        is_bad = body["messages"][0]["content"] == "bad"
        return error_reply(500, "Out of order") if is_bad else "{}"

    chat_server.script = script
    model = make_model(chat_server.url, tmp_path, max_retries=3)
    async with model.session("tests"):
        texts = ["bad", *(f"good {number}" for number in range(20))]
        bad, *good = await asyncio.gather(*(model.complete([question(text)]) for text in texts))
    assert bad == RowError(reason="teacher gave no reply", detail="4 attempts; the last one: status 500 Out of order")
    assert all(isinstance(reply, ChatReply) for reply in good)
    assert model.spending.calls - sum(is_canary(each.body) for each in chat_server.received) == 20


async def test_a_lone_request_that_fails_is_at_fault_where_a_tiny_one_is_answered(
    chat_server: ChatServer, tmp_path: Path
) -> None:
    chat_server.script = lambda body: "{}" if is_canary(body) else error_reply(500, "Out of order")
    error = await ask(make_model(chat_server.url, tmp_path, max_retries=2))
    assert error == RowError(reason="teacher gave no reply", detail="3 attempts; the last one: status 500 Out of order")
    assert [is_canary(each.body) for each in chat_server.received] == [False] * 3 + [True]
    chat_server.script = lambda body: "{}"
    assert isinstance(await ask(make_model(chat_server.url, tmp_path)), ChatReply)  # no verdict was kept


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (error_reply(500, "Out of order"), "status 500 Out of order"),
        (error_reply(503, "Overloaded"), "status 503 Overloaded"),
        (ServerReply(body="<html>Bad Gateway</html>", status=502), "status 502 <html>Bad Gateway</html>"),
        (ServerReply(body="<html>Welcome</html>", raw=True), "the answer is no chat completion: <html>Welcome"),
    ],
)
async def test_a_server_that_fails_at_everything_ends_the_run(
    chat_server: ChatServer, tmp_path: Path, reply: ServerReply, said: str
) -> None:
    chat_server.script = lambda body: reply
    with pytest.raises(TeacherUnavailable) as stop:
        await ask(make_model(chat_server.url, tmp_path, max_retries=2))
    assert str(stop.value).startswith(f"{chat_server.url} fails after 2 retries: check `base_url`")
    assert said in str(stop.value)
    assert [is_canary(each.body) for each in chat_server.received] == [False] * 3 + [True]


async def test_a_server_that_fails_at_many_is_asked_with_one_tiny_request_at_a_time(
    chat_server: ChatServer, tmp_path: Path
) -> None:
    chat_server.script = lambda body: error_reply(500, "Out of order")
    model = make_model(chat_server.url, tmp_path)
    async with model.session("tests"):
        told = await asyncio.gather(*(model.complete([question(str(n))]) for n in range(16)), return_exceptions=True)
    assert {type(each) for each in told} == {TeacherUnavailable}
    assert 1 <= sum(is_canary(each.body) for each in chat_server.received) < 16


async def test_a_server_that_is_away_is_told_with_its_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
    with pytest.raises(TeacherUnavailable, match=f"{url} cannot be reached: check `base_url`"):
        await ask(make_model(url, tmp_path))
    with pytest.raises(TeacherUnavailable, match=f"{url} fails after 1 retries"):
        await ask(make_model(url, tmp_path, check_model=False, max_retries=1))


@pytest.mark.parametrize("base_url", ["localhost:8000/v1", "not a url", ""])
async def test_a_base_url_that_is_none_is_one_clear_error(base_url: str, tmp_path: Path) -> None:
    with pytest.raises(TeacherUnavailable, match="check `base_url`"):
        await ask(make_model(base_url, tmp_path))


async def ask_in_turn(model: GPT4o, *texts: str) -> None:
    async with model.session("tests"):
        for text in texts:
            await model.complete([question(text)])


async def test_what_is_asked_after_an_error_goes_on_where_it_stopped(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn("{}", "{}", error_reply(401, "No"))
    for _ in range(2):
        with pytest.raises(TeacherUnavailable):
            await ask_in_turn(make_model(chat_server.url, tmp_path), "0", "1", "2")
        chat_server.script = lambda body: error_reply(401, "No")
    assert [each.body["messages"][0]["content"] for each in chat_server.received] == ["0", "1", "2", "2"]


async def test_a_refused_request_is_asked_again_once_it_is_forgotten(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn(error_reply(400, "No"), "{}")
    model = make_model(chat_server.url, tmp_path)
    assert isinstance(await ask(model), RowError)
    assert isinstance(await ask(model), RowError)
    assert len(chat_server.received) == 1
    assert forget(str(tmp_path / "ledger.sqlite")) == 1
    assert isinstance(await ask(model), ChatReply)
    assert forget(str(tmp_path / "absent.sqlite")) == 0
