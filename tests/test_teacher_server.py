"""The tests' own teacher server does what OpenAI's API does, and fails as it was told to, no matter the order."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import openai
import pytest
from openai.types import Batch
from openai.types.chat import ChatCompletion

from mmat_dagster.interfaces import ChatTurn, Finding, Pictures
from mmat_dagster.schema import ImageRef, Observation, Sample, SourceName, Step, Transcript, Turn
from mmat_dagster.teachers import replies, requests
from tests.builders import make_sample
from tests.chat_server import Body, ServerReply
from tests.fakes import ToldOperator
from tests.teacher_server import Behaviour, TeacherServer
from tests.teacher_server_batches import BatchRules
from tests.teacher_server_brain import MARKS, TASKS, brain
from tests.teacher_server_faults import MALFORMED, PERMANENT, TRANSPORT, USUAL_FAULTS, Fault, Faults, canonical_sha
from tests.teacher_server_limits import Bucket, Limits, render_duration

ROOT = Path(__file__).parent.parent
REWRITE = "Your task: REWRITE"
REPLY = '{"thought": "It is 2."}'
# A lost answer and a broken one, as the SDK's transports tell of them.
BROKEN = (openai.APIConnectionError, httpx2.TransportError)


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[TeacherServer, openai.AsyncOpenAI]]:
    """Yield a server that behaves as told and a client that asks it once."""
    behaviour = Behaviour(**{"script": lambda body: REPLY, **options})
    async with AsyncExitStack() as stack:
        server = stack.enter_context(TeacherServer(behaviour))
        client = openai.AsyncOpenAI(api_key="sk-test", base_url=server.url, max_retries=0, timeout=20)
        yield server, await stack.enter_async_context(client)


def make_body(text: str = "How much?") -> Body:
    return {"model": "scripted", "messages": [{"role": "user", "content": text}]}


async def ask(client: openai.AsyncOpenAI, text: str = "How much?") -> ChatCompletion:
    completion: ChatCompletion = await client.chat.completions.create(**make_body(text))
    return completion


async def error_of(client: openai.AsyncOpenAI, text: str = "How much?") -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        await ask(client, text)
    return caught.value


async def test_a_completion_comes_with_its_tokens_and_is_paid_for() -> None:
    async with serving() as (server, client):
        completion = await ask(client, "ten chars.")
    assert completion.choices[0].message.content == REPLY
    assert completion.choices[0].finish_reason == "stop"
    usage = completion.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (6, 6, 12)
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 0
    (received,) = server.received
    assert (received.path, received.status, received.attempt) == ("/v1/chat/completions", 200, 0)
    assert received.body == make_body("ten chars.")
    assert received.headers["authorization"] == "Bearer sk-test"
    assert server.paid == {canonical_sha(received.body): 1}


async def test_an_image_costs_a_constant() -> None:
    url = "data:image/png;base64," + "A" * 1000
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "four"}]
    async with serving() as (_, client):
        completion = await client.chat.completions.create(
            model="scripted",
            messages=[{"role": "user", "content": parts}],  # type: ignore[list-item,misc]
        )
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == 1 + 4 + 85


async def test_every_response_has_an_id_of_its_own() -> None:
    async with serving() as (_, client):
        raw = [await client.models.with_raw_response.list() for _ in range(3)]
        await ask(client)
        error = await error_of_unknown_model(client)
    ids = [response.headers["x-request-id"] for response in raw] + [error.response.headers["x-request-id"]]
    assert len(set(ids)) == 4


async def error_of_unknown_model(client: openai.AsyncOpenAI) -> openai.APIStatusError:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("nobody")
    return caught.value


async def test_a_repeated_prefix_is_told_as_cached_in_steps() -> None:
    async with serving(prompt_cache=True) as (_, client):
        texts = ("x" * 5000, "x" * 5000, "x" * 4700 + "y" * 300, "z" * 5000)
        cached = [cached_tokens(await ask(client, text)) for text in texts]
    # A message's own tokens come first: 4 + 1250 tokens reach 1152, 4 + 1175 as well.
    assert cached == [0, 1152, 1152, 0]


async def test_a_share_of_the_prompt_can_be_told_as_cached() -> None:
    async with serving(cached_share=0.5) as (_, client):
        assert cached_tokens(await ask(client, "x" * 400)) == 52


def cached_tokens(completion: ChatCompletion) -> int | None:
    assert completion.usage is not None
    assert completion.usage.prompt_tokens_details is not None
    return completion.usage.prompt_tokens_details.cached_tokens


async def test_too_many_requests_are_refused_with_the_time_to_wait() -> None:
    async with serving(rpm=2) as (server, client):
        first = await client.chat.completions.with_raw_response.create(**make_body())
        await ask(client)
        error = await error_of(client)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert "x-ratelimit-limit-tokens" not in first.headers
    assert (error.status_code, error.code) == (429, "rate_limit_exceeded")
    assert error.response.headers["x-ratelimit-remaining-requests"] == "0"
    assert 0 < int(error.response.headers["retry-after-ms"]) <= 30_000
    assert 0 < int(error.response.headers["retry-after"]) <= 30
    assert [received.status for received in server.received] == [200, 200, 429]
    assert server.paid.total() == 2


async def test_too_many_tokens_are_refused_and_not_charged() -> None:
    async with serving(rpm=100, tpm=100) as (_, client):
        await ask(client, "x" * 200)  # 54 + 6
        error = await error_of(client, "x" * 200)
        raw = await client.chat.completions.with_raw_response.create(**make_body("x" * 80))
    assert error.code == "rate_limit_exceeded"
    assert error.response.headers["x-ratelimit-remaining-tokens"].startswith("4")
    assert error.response.headers["x-ratelimit-remaining-requests"] == "99"
    assert raw.headers["x-ratelimit-limit-tokens"] == "100"
    assert raw.headers["x-ratelimit-reset-tokens"].endswith("s")


async def test_the_limits_can_go_unsaid() -> None:
    async with serving(rpm=1, tpm=1000, limit_headers=False) as (_, client):
        raw = await client.chat.completions.with_raw_response.create(**make_body())
        error = await error_of(client)
    told = [name for name in (*raw.headers, *error.response.headers) if name.startswith("x-ratelimit")]
    assert told == []


def test_a_bucket_refills_continuously_up_to_one_minute() -> None:
    moments = [0.0]
    bucket = Bucket(60, lambda: moments[-1])
    bucket.take(60)
    assert (bucket.level, bucket.wait_s(3)) == (0, 3)
    moments.append(1.5)
    assert bucket.level == 1.5
    moments.append(1000.0)
    assert bucket.level == 60


def test_a_request_without_room_takes_from_no_bucket() -> None:
    moments = [0.0]
    limits = Limits(60, 600, lambda: moments[-1])
    assert limits.admit(600) == 0
    assert limits.admit(10) == 1
    assert limits.render_headers()["x-ratelimit-remaining-requests"] == "59"
    moments.append(1.0)
    assert limits.admit(10) == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0ms"), (0.006, "6ms"), (1, "1s"), (8.64, "8.64s"), (60, "1m0s"), (361.5, "6m1.5s")]
)
def test_a_duration_reads_as_in_the_headers_of_openai(seconds: float, text: str) -> None:
    assert render_duration(seconds) == text


@pytest.mark.parametrize(
    ("fault", "status", "code", "headers"),
    [
        ("429 with retry-after", 429, "rate_limit_exceeded", {"retry-after": "2"}),
        ("429 with retry-after-ms", 429, "rate_limit_exceeded", {"retry-after-ms": "2000"}),
        ("429 without", 429, "rate_limit_exceeded", {}),
        ("500", 500, None, {}),
        ("503", 503, None, {}),
        ("400", 400, None, {}),
        ("content policy", 400, "content_policy_violation", {}),
        ("context length", 400, "context_length_exceeded", {}),
    ],
)
async def test_a_fault_has_its_status_and_code(
    fault: Fault, status: int, code: str | None, headers: dict[str, str]
) -> None:
    faults = Faults(transport=1, permanent=1, only=(fault,), retry_after_s=2)
    async with serving(faults=faults) as (server, client):
        error = await error_of(client)
    told = {name: value for name, value in error.response.headers.items() if name.startswith("retry")}
    assert (error.status_code, error.code, told) == (status, code, headers)
    assert [received.fault for received in server.received] == [fault]
    assert server.paid.total() == 0


@pytest.mark.parametrize(
    ("fault", "content", "finish_reason"),
    [
        ("malformed JSON", "{" + REPLY, "stop"),
        ("wrong schema", '{"surprise": 1}', "stop"),
        ("cut at length", REPLY[: len(REPLY) // 2], "length"),
        ("empty", "", "stop"),
    ],
)
async def test_a_malformed_reply_is_paid_for(fault: Fault, content: str, finish_reason: str) -> None:
    async with serving(faults=Faults(malformed=1, only=(fault,))) as (server, client):
        choice = (await ask(client)).choices[0]
    assert (choice.message.content, choice.finish_reason) == (content, finish_reason)
    assert server.paid.total() == 1


async def test_a_refusal_is_a_message() -> None:
    async with serving(faults=Faults(permanent=1, only=("refusal",))) as (_, client):
        message = (await ask(client)).choices[0].message
    assert message.content is None
    assert message.refusal


async def test_a_reset_in_mid_body_breaks_the_answer_and_costs_all_the_same() -> None:
    async with serving(faults=Faults(transport=1, only=("reset in mid-body",))) as (server, client):
        with pytest.raises(BROKEN):
            await ask(client)
        with pytest.raises(aiohttp.ClientPayloadError):
            await read_raw(server, make_body())
    assert server.paid_unseen == {canonical_sha(make_body()): 2}
    assert server.paid.total() == 0


async def read_raw(server: TeacherServer, body: Body) -> bytes:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/chat/completions", json=body) as response,
    ):
        assert response.status == 200
        return await response.read()


async def until(happened: Callable[[], object]) -> None:
    """Wait until something has happened; fail where it does not."""
    for _ in range(2000):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not happen")


async def give_up(*asked: asyncio.Task[Any]) -> None:
    """Let the clients go away; fail where one has its answer."""
    assert not any(task.done() for task in asked)
    for task in asked:
        task.cancel()
    await asyncio.wait(asked)


async def test_a_stall_lasts_until_the_client_has_enough() -> None:
    async with serving(faults=Faults(transport=1, only=("stall",))) as (server, client):
        asked = [asyncio.create_task(ask(client, f"question {number}")) for number in range(7)]
        await until(lambda: len(server.received) == 7)
        await give_up(*asked)
    assert {received.status for received in server.received} == {0}
    assert server.in_flight_peak == 7
    assert server.paid.total() == server.paid_unseen.total() == 0


async def test_a_stall_that_outlasts_the_server_ends_without_an_answer() -> None:
    async with serving(faults=Faults(transport=1, only=("stall",), stall_s=0.05)) as (_, client):
        with pytest.raises(openai.APIConnectionError) as caught:
            await ask(client)
    assert not isinstance(caught.value, openai.APITimeoutError)


async def test_a_completion_whose_client_is_gone_counts_as_unseen() -> None:
    async with serving(delay_s=0.5) as (server, client):
        asked = asyncio.create_task(ask(client))
        await until(lambda: server.received)
        await give_up(asked)
        await until(lambda: server.paid_unseen)
    assert server.paid.total() == 0


async def test_a_server_with_work_at_hand_goes_down_at_once() -> None:
    with TeacherServer(Behaviour(script=lambda body: REPLY, delay_s=3600, batch_delay_s=3600)) as server:
        async with openai.AsyncOpenAI(api_key="sk-test", base_url=server.url, max_retries=0) as client:
            await create_batch(client, [make_line(1)])
        asked = asyncio.create_task(read_raw(server, make_body()))
        await until(lambda: server.received)
    with pytest.raises(aiohttp.ClientError):
        await asked


def faults_of(texts: Sequence[str], attempts: int, seed: int) -> dict[tuple[str, int], Fault | None]:
    faults = Faults(transport=0.2, malformed=0.2, permanent=0.1)
    bodies = [(text, make_body(text)) for text in texts]
    return {
        (text, attempt): faults.draw(body, canonical_sha(body), attempt, seed)
        for text, body in bodies
        for attempt in range(attempts)
    }


def test_faults_are_as_frequent_as_told_and_depend_on_the_seed() -> None:
    texts = [f"question {number}" for number in range(500)]
    drawn = faults_of(texts, 4, seed=1)
    for kinds, share in ((PERMANENT, 0.1), (TRANSPORT, 0.18), (MALFORMED, 0.18)):
        assert abs(sum(fault in kinds for fault in drawn.values()) / len(drawn) - share) < 0.03
    assert {*drawn.values()} == {None, *TRANSPORT, *MALFORMED, *PERMANENT}
    assert drawn == faults_of(texts[::-1], 4, seed=1)
    assert drawn != faults_of(texts, 4, seed=2)


def test_a_permanent_fault_stays_with_its_conversation() -> None:
    drawn = faults_of([f"question {number}" for number in range(200)], 3, seed=1)
    lost = {text for (text, _), fault in drawn.items() if fault in PERMANENT}
    assert lost
    for text in lost:
        assert len({drawn[text, attempt] for attempt in range(3)}) == 1
        later = {**make_body(text), "messages": [*make_body(text)["messages"], {"role": "user", "content": "Go on."}]}
        fault = Faults(permanent=0.1).draw(later, canonical_sha(later), 0, 1)
        assert fault == drawn[text, 0]


async def test_the_same_requests_meet_the_same_faults_in_any_order() -> None:
    texts = [f"question {number}" for number in range(40)]
    assert await faults_met(texts) == await faults_met(texts[::-1])


async def faults_met(texts: Sequence[str]) -> set[tuple[str, int, Fault | None, int]]:
    faults = Faults(transport=0.4, malformed=0.2, permanent=0.1, only=("500", "429 without", "empty", "400"))
    async with serving(faults=faults, seed=5) as (server, client):
        for _ in range(2):
            await asyncio.gather(*(ask(client, text) for text in texts), return_exceptions=True)
    assert any(received.fault for received in server.received)
    assert server.ledger.faults.total() == sum(received.fault is not None for received in server.received)
    return {
        (received.body["messages"][0]["content"], received.attempt, received.fault, received.status)
        for received in server.received
    }


def test_the_order_of_keys_makes_no_other_request() -> None:
    body = make_body()
    assert canonical_sha(body) == canonical_sha(dict(reversed(body.items())))


async def test_every_answer_is_booked_by_its_path_and_status() -> None:
    async with serving() as (server, client):
        await asyncio.gather(*(ask(client, f"question {number}") for number in range(7)))
        await error_of_unknown_model(client)
    assert server.ledger.calls == {("POST", "/v1/chat/completions", 200): 7, ("GET", "/v1/models/nobody", 404): 1}


async def test_bodies_need_not_be_kept() -> None:
    async with serving(keep_bodies=False) as (server, client):
        await ask(client)
    assert server.received == []
    assert server.paid.total() == 1


async def test_a_script_says_status_headers_and_raw_bodies() -> None:
    reply = ServerReply(body='{"choices": []}', raw=True, headers={"x-of-the-script": "yes"})
    async with serving(script=lambda body: reply) as (_, client):
        raw = await client.chat.completions.with_raw_response.create(**make_body())
    assert (raw.text, raw.headers["x-of-the-script"]) == ('{"choices": []}', "yes")


async def test_models_tell_when_they_go() -> None:
    async with serving(models={"old": "2027-01-31", "new": None}) as (_, client):
        models = {model.id: model async for model in client.models.list()}
        assert {name: model.shutdown_date for name, model in models.items()} == {"old": "2027-01-31", "new": None}
        assert (await client.models.retrieve("old")).shutdown_date == "2027-01-31"
        assert (await error_of_unknown_model(client)).code == "model_not_found"


async def test_without_the_key_every_door_is_closed() -> None:
    async with serving(key="sk-right") as (server, client):
        asked = (ask(client), client.models.list(), client.batches.list(), client.files.content("file-000001"))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [openai.AuthenticationError] * 4
        assert (await ask(client.with_options(api_key="sk-right"))).choices
    assert len(server.received) == 1


async def test_files_are_kept_listed_read_and_deleted() -> None:
    content = b'{"a": "\xc3\xa9"}\r\n\r\n--not-a-boundary\r\n\x00\xff'
    async with serving() as (server, client):
        stored = [await client.files.create(file=(f"{name}.jsonl", content), purpose="batch") for name in "abc"]
        assert (stored[0].filename, stored[0].bytes, stored[0].purpose) == ("a.jsonl", len(content), "batch")
        first_page = await client.files.list(limit=2)
        assert [file.filename for file in first_page.data] == ["c.jsonl", "b.jsonl"]
        assert first_page.has_more
        assert [file.filename async for file in client.files.list(limit=2)] == ["c.jsonl", "b.jsonl", "a.jsonl"]
        assert (await client.files.content(stored[0].id)).content == content
        assert (await client.files.retrieve(stored[0].id)).id == stored[0].id
        assert (await client.files.delete(stored[0].id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.content(stored[0].id)
    assert [file.filename for file in server.files] == ["b.jsonl", "c.jsonl"]


def make_line(number: int, **changes: Any) -> Body:
    body = make_body(f"question {number}")
    return {"custom_id": f"line-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body, **changes}


async def create_batch(client: openai.AsyncOpenAI, lines: Sequence[Body], **metadata: str) -> Batch:
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = await client.files.create(file=("input.jsonl", content), purpose="batch")
    return await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata=metadata
    )


async def end_of(client: openai.AsyncOpenAI, batch: Batch) -> Batch:
    async with asyncio.timeout(20):
        while batch.status in ("validating", "in_progress", "finalizing", "cancelling"):
            await asyncio.sleep(0.01)
            batch = await client.batches.retrieve(batch.id)
    return batch


async def read_lines(client: openai.AsyncOpenAI, file_id: str | None) -> list[Body]:
    assert file_id is not None
    return [json.loads(line) for line in (await client.files.content(file_id)).text.splitlines()]


async def test_a_batch_is_answered_in_another_order() -> None:
    lines = [make_line(number) for number in range(20)]
    async with serving() as (server, client):
        created = await create_batch(client, lines, run="one")
        batch = await end_of(client, created)
        answers = await read_lines(client, batch.output_file_id)
    assert (created.status, batch.status, batch.metadata) == ("validating", "completed", {"run": "one"})
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 20, "completed": 20, "failed": 0}
    assert batch.in_progress_at
    assert batch.completed_at
    assert batch.error_file_id is None
    ids = [answer["custom_id"] for answer in answers]
    assert ids != [line["custom_id"] for line in lines]
    assert sorted(ids) == sorted(line["custom_id"] for line in lines)
    response = answers[0]["response"]
    completion = ChatCompletion.model_validate(response["body"])
    assert (response["status_code"], completion.choices[0].message.content) == (200, REPLY)
    assert server.paid == {canonical_sha(line["body"]): 1 for line in lines}


async def test_lines_that_fail_stand_in_the_error_file() -> None:
    async with serving(faults=Faults(transport=0.5), seed=3) as (server, client):
        batch = await end_of(client, await create_batch(client, [make_line(number) for number in range(40)]))
        answers = await read_lines(client, batch.output_file_id)
        errors = await read_lines(client, batch.error_file_id)
    assert len(answers) + len(errors) == 40
    assert {error["response"]["status_code"] for error in errors} == {429, 500, 503}
    assert all(error["response"]["body"]["error"]["message"] and error["error"] is None for error in errors)
    assert server.paid.total() == len(answers)
    assert not server.paid_unseen


async def test_a_batch_line_can_be_refused_for_good() -> None:
    async with serving(faults=Faults(permanent=1, only=("content policy",))) as (_, client):
        batch = await end_of(client, await create_batch(client, [make_line(1)]))
        (error,) = await read_lines(client, batch.error_file_id)
    assert batch.output_file_id is None
    assert error["response"]["status_code"] == 400
    assert error["response"]["body"]["error"]["code"] == "content_policy_violation"


async def test_half_of_an_expired_batch_is_done() -> None:
    async with serving(batch_outcome=lambda index: "expired") as (server, client):
        batch = await end_of(client, await create_batch(client, [make_line(number) for number in range(10)]))
        answers = await read_lines(client, batch.output_file_id)
        errors = await read_lines(client, batch.error_file_id)
    assert batch.status == "expired"
    assert batch.expired_at
    assert {answer["custom_id"] for answer in answers} == {f"line-{number}" for number in range(5)}
    assert {error["custom_id"] for error in errors} == {f"line-{number}" for number in range(5, 10)}
    assert {(error["response"], error["error"]["code"]) for error in errors} == {(None, "batch_expired")}
    assert server.paid.total() == 5


async def test_batches_end_as_told_one_by_one() -> None:
    outcomes = ("failed", "cancelled", "completed")
    async with serving(batch_outcome=lambda index: outcomes[index]) as (server, client):
        batches = [await end_of(client, await create_batch(client, [make_line(1)])) for _ in outcomes]
    assert tuple(batch.status for batch in batches) == outcomes
    assert codes_of(batches[0]) == ["token_limit_exceeded"]
    assert tuple(batch.status for batch in server.batches) == outcomes


def codes_of(batch: Batch) -> list[str | None]:
    assert batch.errors is not None
    return [error.code for error in batch.errors.data or []]


async def test_a_cancelled_batch_says_which_lines_were_not_done() -> None:
    async with serving(batch_delay_s=3600) as (_, client):
        created = await create_batch(client, [make_line(number) for number in range(4)])
        assert (await client.batches.cancel(created.id)).status == "cancelling"
        batch = await end_of(client, created)
        errors = await read_lines(client, batch.error_file_id)
        with pytest.raises(openai.ConflictError):
            await client.batches.cancel(created.id)
    assert batch.status == "cancelled"
    assert [error["error"]["code"] for error in errors] == ["batch_cancelled"] * 2


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([], "empty_file"),
        ([make_line(number) for number in range(4)], "too_many_tasks"),
        ([make_line(1), make_line(2, body=make_body("x" * 2000))], "file_too_large"),
        ([make_line(1), make_line(2, custom_id="line-1")], "duplicate_custom_id"),
        ([make_line(1, custom_id="x" * 513)], "invalid_custom_id"),
        ([make_line(1, url="/v1/embeddings")], "invalid_url"),
        ([make_line(1), make_line(2, body={**make_body(), "model": "other"})], "mismatched_model"),
    ],
)
async def test_a_batch_that_breaks_a_rule_fails(lines: list[Body], code: str) -> None:
    rules = BatchRules(max_lines=3, max_bytes=2000)
    async with serving(batch_rules=rules, batch_delay_s=3600) as (server, client):
        batch = await end_of(client, await create_batch(client, lines))
    assert batch.status == "failed"
    assert batch.failed_at
    assert codes_of(batch) == [code]
    assert server.paid.total() == 0


async def test_a_batch_needs_a_file_that_is_there() -> None:
    async with serving() as (_, client):
        with pytest.raises(openai.BadRequestError):
            await client.batches.create(
                input_file_id="file-gone", endpoint="/v1/chat/completions", completion_window="24h"
            )


async def test_batches_are_listed_newest_first_page_by_page() -> None:
    async with serving() as (_, client):
        created = [(await create_batch(client, [make_line(1)])).id for _ in range(5)]
        page = await client.batches.list(limit=2)
        assert [batch.id for batch in page.data] == created[:2:-1]
        assert page.has_more
        assert [batch.id async for batch in client.batches.list(limit=2)] == created[::-1]


async def test_the_answer_to_a_new_batch_can_get_lost() -> None:
    async with serving(drop_batch_replies=1) as (server, client):
        with pytest.raises(openai.APIConnectionError):
            await create_batch(client, [make_line(1)], run="one")
        listed = [batch.metadata async for batch in client.batches.list()]
        assert listed == [{"run": "one"}]
        await create_batch(client, [make_line(1)], run="two")
    assert [batch.metadata for batch in server.batches] == [{"run": "one"}, {"run": "two"}]


class NoPictures(Pictures):
    """Has none, for samples that show none."""

    def locate(self, source: SourceName, image: ImageRef) -> Path:
        raise AssertionError("no sample here has an image")


SAMPLES = tuple(make_sample(question=f"How much is {number}?", answers=("2.50 $",), images=()) for number in range(60))


def body_of(messages: Sequence[ChatTurn], schema: str | None = None, required: Sequence[str] = ()) -> Body:
    body: Body = {"model": "scripted", "messages": [{"role": turn.role, "content": turn.text} for turn in messages]}
    if schema is not None:
        json_schema = {"name": schema, "schema": {"required": list(required)}}
        body["response_format"] = {"type": "json_schema", "json_schema": json_schema}
    return body


def say(*messages: ChatTurn) -> str:
    said = brain(body_of(messages))
    assert isinstance(said, str)
    return said


def reason_about(sample: Sample, operators: Sequence[ToldOperator], max_turns: int = 4) -> Transcript:
    """Let the brain write a whole rationale, as the prompted teacher asks for it."""
    turns: list[Turn] = []
    while not turns or turns[-1].step.signal != "end":
        said = say(*requests.render_next_step(sample, turns, operators, NoPictures(), max_turns))
        step = replies.parse_step(said, [operator.name for operator in operators])
        assert isinstance(step, Step)
        found = tuple(Observation(tool=name, text="sand $2.50") for name in step.operators)
        turns.append(Turn(step=step, observations=found, raw_reply=said))
    return Transcript(question=sample.question, image_count=0, turns=tuple(turns), answer=sample.answers[0])


@pytest.mark.parametrize("operators", [(ToldOperator(),), ()])
def test_the_brain_reasons_to_the_reference_answer(operators: Sequence[ToldOperator]) -> None:
    rationales = [reason_about(sample, operators).turns for sample in SAMPLES]
    assert {len(turns) for turns in rationales} == {2, 3}
    for turns in rationales:
        assert turns[0].step.operators == tuple(operator.name for operator in operators)
        assert not any(turn.step.operators for turn in turns[1:])
        assert "2.50 $" in turns[-1].step.thought


def test_the_brain_ends_when_one_step_is_left() -> None:
    assert all(len(reason_about(sample, (ToldOperator(),), max_turns=1).turns) == 1 for sample in SAMPLES)


def test_the_brain_does_not_take_a_repair_for_a_step() -> None:
    asked = requests.render_next_step(SAMPLES[0], (), (ToldOperator(),), NoPictures(), 4)
    bad = ChatTurn(role="assistant", text="{{")
    repair = ChatTurn(role="user", text="Your last reply cannot be used. Send the reply again.")
    assert say(*asked, bad, repair) == say(*asked)


def test_the_brain_finds_pretence_in_some_dialogues() -> None:
    asked = [requests.render_pretence(sample, reason_about(sample, ()), NoPictures()) for sample in SAMPLES]
    found = [replies.parse_pretence(say(*messages)) for messages in asked]
    assert all(reason is None or isinstance(reason, str) for reason in found)
    assert 0 < sum(reason is not None for reason in found) < len(SAMPLES) / 2


def test_the_brain_rewrites_a_thought_and_keeps_its_conclusion() -> None:
    sample = SAMPLES[0]
    asked = requests.render_rewrite(sample, reason_about(sample, ()), "a gap", NoPictures())
    thought = replies.parse_rewrite(say(*asked))
    assert isinstance(thought, str)
    assert thought.endswith("2.50 $")


def test_the_brain_makes_up_for_some_calculations() -> None:
    asked = [requests.render_skipped_calculation(sample, reason_about(sample, ()), NoPictures()) for sample in SAMPLES]
    found = [replies.parse_skipped_calculation(say(*messages)) for messages in asked]
    assert all(finding is None or isinstance(finding, Finding) for finding in found)
    assert 0 < sum(finding is not None for finding in found) < len(SAMPLES) / 2


def test_the_brain_knows_its_task_by_the_schema_or_by_any_message() -> None:
    block = ChatTurn(role="user", text="<dialogue>\nStep 1: I look.\n\nStep 2: It is 2.\n</dialogue>")
    by_schema = brain(body_of([block], schema="rewrite"))
    by_system = say(ChatTurn(role="system", text="You repair reasoning."), block)
    by_last_line = say(ChatTurn(role="system", text="Three tasks."), block, ChatTurn(role="user", text=REWRITE))
    assert by_schema == by_system == by_last_line
    assert json.loads(by_system)["thought"].endswith("It is 2.")


def test_a_strict_schema_gets_every_key() -> None:
    turn = ChatTurn(role="user", text="<dialogue>\nStep 1: so.\n</dialogue>")
    said = brain(body_of([turn], schema="pretence", required=("reason",)))
    assert isinstance(said, str)
    assert "reason" in json.loads(said)


def test_every_task_of_the_brain_has_its_prompt() -> None:
    texts = [file.read_text() for file in (ROOT / "mmat_dagster/prompts").glob("*.txt")]
    assert {MARKS[mark] for mark in MARKS for text in texts if mark in text} == TASKS


async def test_a_task_that_the_brain_does_not_know_is_refused() -> None:
    async with serving(script=brain) as (_, client):
        assert (await error_of(client, "Tell a joke.")).status_code == 418


def test_the_usual_faults_are_rare() -> None:
    assert USUAL_FAULTS.transport + USUAL_FAULTS.malformed + USUAL_FAULTS.permanent < 0.1


@contextmanager
def started(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the server in a process of its own, and its URL."""
    command = [sys.executable, "-m", "tests.teacher_server", *options]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


async def test_the_command_serves_until_its_input_closes() -> None:
    with started("--port", "0", "--delay-s", "0.01", "--rpm", "60", "--tpm", "9000") as (process, url):
        async with openai.AsyncOpenAI(api_key="any", base_url=url, max_retries=0) as client:
            body = body_of([ChatTurn(role="user", text="You audit reasoning. Step 1: so.")])
            raw = await client.chat.completions.with_raw_response.create(**body)
        assert raw.headers["x-ratelimit-limit-requests"] == "60"
        assert raw.headers["x-ratelimit-limit-tokens"] == "9000"
        process.communicate(timeout=20)
        assert process.returncode == 0


def test_the_command_ends_on_sigterm() -> None:
    with started() as (process, url):
        assert url.startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
