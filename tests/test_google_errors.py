"""Trouble with a search is sorted: this query's, one that passes, one that every query would meet."""

import asyncio
import json
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmat_dagster.ledger.totals import forget
from mmat_dagster.tools import OperatorUnavailable, Passage, SearchFailed
from resources.google_errors import QUOTA_USED_UP, classify
from resources.google_requests import PROBE
from resources.google_search import GoogleSearch
from resources.outcomes import Again
from tests.google_server import ONE_PAGE, Asked, GoogleServer, SearchReply, error_info, google_error, in_turn, page
from tests.searching import make_search, search

INVALID = google_error(400, "Request contains an invalid argument.", "badRequest")
PER_DAY = "Quota exceeded for quota metric 'Queries' and limit 'Queries per day' of service 'customsearch' for 'x:1'."
PER_MINUTE = "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service 'x'."
SOON = {"retry-after": "0.001"}
SOON_TOLD = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.001s"}]
DAY_QUOTA = [error_info("RATE_LIMIT_EXCEEDED", quota_limit="DefaultPerDayPerProject", quota_limit_value="100")]
MINUTE_QUOTA = [error_info("RATE_LIMIT_EXCEEDED", quota_limit="DefaultPerMinutePerUser", quota_unit="1/min/{project}")]


async def search_all(engine: GoogleSearch, *queries: str) -> list[tuple[Passage, ...] | BaseException]:
    """Search for all at once, in one session."""
    async with engine.session("tests"):
        return await asyncio.gather(*(engine.search(query, 3) for query in queries), return_exceptions=True)


@pytest.mark.parametrize(
    "reply",
    [
        google_error(429, PER_DAY, "rateLimitExceeded"),
        google_error(429, "Quota exceeded.", "rateLimitExceeded", DAY_QUOTA),
        google_error(429, "Quota exceeded.", "", [error_info("RATE_LIMIT_EXCEEDED", quota_unit="1/d/{project}")]),
        google_error(403, "Daily Limit Exceeded", "dailyLimitExceeded"),
        google_error(403, "Quota Exceeded", "quotaExceeded"),
    ],
)
async def test_a_used_up_day_ends_the_run_and_what_was_found_is_kept(
    google_server: GoogleServer, tmp_path: Path, reply: SearchReply
) -> None:
    google_server.script = in_turn(ONE_PAGE, reply)
    engine = make_search(google_server.url, tmp_path, max_retries=5, concurrency=1)
    found, *ended = await search_all(engine, "one", "two", "three", "four")
    assert isinstance(found, tuple)
    assert {type(each) for each in ended} == {OperatorUnavailable}
    assert {str(each) for each in ended} == {QUOTA_USED_UP}
    assert google_server.queries == ["one", "two"]
    google_server.script = lambda asked: ONE_PAGE
    assert all(isinstance(each, tuple) for each in await search_all(engine, "one", "two"))
    assert google_server.queries == ["one", "two", "two"]


def test_the_sentence_for_a_used_up_day_says_when_to_run_again() -> None:
    assert QUOTA_USED_UP == (
        "the day's quota of Google search is used up; it is renewed at midnight Pacific time; run again then: what was "
        "found is kept"
    )


@pytest.mark.parametrize(
    "reply",
    [
        google_error(429, PER_MINUTE, "rateLimitExceeded", headers=SOON),
        google_error(429, PER_MINUTE, "rateLimitExceeded", [*MINUTE_QUOTA, *SOON_TOLD]),
        google_error(403, "Rate Limit Exceeded", "rateLimitExceeded", headers=SOON),
        google_error(403, "User Rate Limit Exceeded", "userRateLimitExceeded", headers=SOON),
        SearchReply(body="<html>Too Many Requests</html>", status=429, headers=SOON),
    ],
)
async def test_a_limit_of_a_minute_is_waited_out_however_often(
    google_server: GoogleServer, tmp_path: Path, reply: SearchReply
) -> None:
    google_server.script = in_turn(reply, reply, reply, ONE_PAGE)
    engine = make_search(google_server.url, tmp_path)
    assert len(await search(engine)) == 3
    assert (engine.spending.limited, engine.spending.retries, engine.spending.calls) == (3, 3, 1)


async def test_a_server_that_only_limits_is_given_up_in_the_end(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = lambda asked: google_error(429, PER_MINUTE, "rateLimitExceeded", headers=SOON)
    with pytest.raises(OperatorUnavailable, match=r"has let nothing through for .* minutes \(Quota exceeded"):
        await search(make_search(google_server.url, tmp_path, give_up_s=0.1))


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        (
            google_error(400, "API key not valid.", "badRequest", [error_info("API_KEY_INVALID")]),
            "valid GOOGLE_API_KEY",
        ),
        (
            google_error(400, "API key expired. Please renew the API key.", "badRequest"),
            "export a valid GOOGLE_API_KEY",
        ),
        (google_error(400, "Bad Request", "keyInvalid"), "export a valid GOOGLE_API_KEY"),
        (google_error(401, "Unauthorized", "authError"), "export a valid GOOGLE_API_KEY"),
        (google_error(403, "Not enabled: visit x", "accessNotConfigured"), "enable the Custom Search API .*visit x"),
        (google_error(403, "Off", "forbidden", [error_info("SERVICE_DISABLED")]), "enable the Custom Search API"),
        (google_error(403, "Blocked", "", [error_info("API_KEY_SERVICE_BLOCKED")]), "GOOGLE_API_KEY whose .*Blocked"),
        (google_error(403, "The caller has no permission", "forbidden"), "denies this key the search"),
        (google_error(404, "Requested entity was not found.", "notFound"), r"`engine_id` \(GOOGLE_CSE_ID\)"),
        (google_error(410, "Gone"), "set `endpoint` to a server with the same contract"),
        (google_error(418, "A teapot"), r"does not speak the Custom Search JSON API \(status 418\)"),
        (SearchReply(body="<html>no</html>", status=405, media_type="text/html"), "check `endpoint`"),
    ],
)
async def test_where_no_query_can_work_it_says_at_once_what_to_do(
    google_server: GoogleServer, tmp_path: Path, reply: SearchReply, advice: str
) -> None:
    google_server.script = lambda asked: reply
    with pytest.raises(OperatorUnavailable, match=advice) as stop:
        await search(make_search(google_server.url, tmp_path, max_retries=2))
    assert str(stop.value).startswith(google_server.url)
    assert "OPENAI" not in str(stop.value)
    assert "base_url" not in str(stop.value)
    assert len(google_server.received) == 1
    google_server.script = lambda asked: ONE_PAGE
    assert await search(make_search(google_server.url, tmp_path))  # nothing of it was kept


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(google_server: GoogleServer, tmp_path: Path, status: int) -> None:
    there = f"{google_server.host}/elsewhere?key=told"
    google_server.script = lambda asked: SearchReply(body="", status=status, headers={"location": there})
    with pytest.raises(OperatorUnavailable, match="set `endpoint` to where it leads") as stop:
        await search(make_search(google_server.url, tmp_path))
    assert "told" not in str(stop.value)
    assert [each.path for each in google_server.received] == ["/customsearch/v1"]


@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503])
async def test_a_passing_trouble_is_waited_out(google_server: GoogleServer, tmp_path: Path, status: int) -> None:
    google_server.script = in_turn(google_error(status, "Not now"), ONE_PAGE)
    engine = make_search(google_server.url, tmp_path, max_retries=1)
    assert len(await search(engine)) == 3
    assert (engine.spending.retries, engine.spending.limited) == (1, 0)


BAD_ANSWERS = [
    SearchReply(body="<html>Welcome</html>", media_type="text/html"),
    SearchReply(body=ONE_PAGE.body, media_type="text/html"),
    SearchReply(body="<html>Welcome</html>"),
    SearchReply(body=""),
    SearchReply(body="{}"),
    SearchReply(body="[]"),
    SearchReply(body='{"items": 5}'),
    SearchReply(body=b'{"kind": "customsearch#search", "items": [{"title": "\xff"}]}'),
    SearchReply(body=json.dumps({"error": {"code": 500}})),
    SearchReply(body="[" * 100_000),
    SearchReply(body=ONE_PAGE.body, is_cut=True),
    page([{"title": "x" * 60_000}]),
    SearchReply(body=ONE_PAGE.body, delay_s=1.0),
    SearchReply(body="not compressed", headers={"content-encoding": "gzip"}),
]


@pytest.mark.parametrize("reply", BAD_ANSWERS)
async def test_an_answer_that_is_none_is_asked_for_again(
    google_server: GoogleServer, tmp_path: Path, reply: SearchReply
) -> None:
    google_server.script = in_turn(reply, ONE_PAGE)
    engine = make_search(google_server.url, tmp_path, max_retries=1, max_response_bytes=50_000, timeout_s=0.5)
    assert len(await search(engine)) == 3
    assert (engine.spending.retries, engine.spending.calls) == (1, 1)


async def test_a_server_that_is_away_is_told_with_its_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
    with pytest.raises(OperatorUnavailable, match=f"^{url} fails after 1 retries: check `endpoint`, the network and"):
        await search(make_search(url, tmp_path, max_retries=1))


async def test_one_query_that_is_not_accepted_fails_alone_and_is_not_asked_again(
    google_server: GoogleServer, tmp_path: Path
) -> None:
    google_server.script = lambda asked: INVALID if asked["q"] == "bad" else ONE_PAGE
    for _ in range(2):
        engine = make_search(google_server.url, tmp_path)
        good, bad, better = await search_all(engine, "good", "bad", "better")
        assert isinstance(bad, SearchFailed)
        assert str(bad) == "the query was not accepted: Request contains an invalid argument."
        assert (type(good), type(better)) == (tuple, tuple)
    assert google_server.queries.count("bad") == 1
    google_server.script = lambda asked: ONE_PAGE
    assert forget(str(tmp_path / "ledger.sqlite")) == 1
    assert isinstance((await search_all(make_search(google_server.url, tmp_path), "bad"))[0], tuple)


async def test_where_the_first_query_is_not_accepted_a_plain_one_tells_whose_fault_it_is(
    google_server: GoogleServer, tmp_path: Path
) -> None:
    google_server.script = lambda asked: ONE_PAGE if asked["q"] == PROBE else INVALID
    engine = make_search(google_server.url, tmp_path)
    assert {type(each) for each in await search_all(engine, "bad", "worse")} == {SearchFailed}
    assert sorted(google_server.queries) == ["bad", PROBE, "worse"]
    assert (engine.spending.refused, engine.spending.calls, engine.spending.spent_usd) == (2, 1, 0.005)


async def test_an_engine_that_accepts_no_query_ends_the_run(google_server: GoogleServer, tmp_path: Path) -> None:
    """Google answers an unknown `cx` with the same words as a bad query."""
    google_server.script = lambda asked: INVALID
    for _ in range(2):
        with pytest.raises(
            OperatorUnavailable, match=r"refuses even a plain query .*check `engine_id` \(GOOGLE_CSE_ID"
        ):
            await search(make_search(google_server.url, tmp_path))
    assert google_server.queries == ["judo", PROBE]


async def test_a_query_that_never_gets_an_answer_fails_alone_where_others_get_theirs(
    google_server: GoogleServer, tmp_path: Path
) -> None:
    def script(asked: Asked) -> SearchReply:
        return google_error(500, "Out of order") if asked["q"] == "bad" else ONE_PAGE

    google_server.script = script
    engine = make_search(google_server.url, tmp_path, max_retries=2)
    bad, *good = await search_all(engine, "bad", *(f"good {number}" for number in range(10)))
    assert isinstance(bad, SearchFailed)
    assert str(bad) == "3 attempts; the last one: status 500 Out of order"
    assert {type(each) for each in good} == {tuple}
    google_server.script = lambda asked: ONE_PAGE
    assert await search(make_search(google_server.url, tmp_path), "bad")  # no verdict was kept


async def test_a_server_that_fails_at_everything_ends_the_run(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = lambda asked: google_error(500, "Out of order")
    with pytest.raises(OperatorUnavailable, match=r"fails after 2 retries: .*\(status 500 Out of order\)"):
        await search(make_search(google_server.url, tmp_path, max_retries=2))
    assert google_server.queries == ["judo"] * 3 + [PROBE]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "message", "errors", "details"]), inner),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.integers(300, 599), st.binary() | _JSON.map(lambda value: json.dumps(value).encode()))
def test_every_error_response_has_a_class(status: int, body: bytes) -> None:
    outcome = classify("server", status, body, {})
    assert isinstance(outcome, Again) == (status in {408, 409, 425, 429} or status >= 500) or b"aily" in body


@pytest.mark.parametrize(
    ("headers", "details", "after_s"),
    [
        ({"Retry-After": "7"}, [], 7.0),
        ({"Retry-After": "100000"}, [], 120.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, [], None),
        ({}, [{"retryDelay": "1.5s"}], 1.5),
        ({}, [{"retryDelay": "soon"}], None),
        ({}, [], None),
    ],
)
def test_the_pause_is_the_server_s(
    headers: dict[str, str], details: list[dict[str, object]], after_s: float | None
) -> None:
    body = google_error(429, PER_MINUTE, "rateLimitExceeded", details).body
    assert isinstance(body, str)
    outcome = classify("server", 429, body.encode(), headers)
    assert isinstance(outcome, Again)
    assert (outcome.kind, outcome.after_s) == ("limit", after_s)
