"""The key of the search goes where it must and nowhere else, whatever a server says about it."""

import logging
import sqlite3
import traceback
import zlib
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest

from mmat_dagster.tools import OperatorUnavailable, SearchFailed
from resources.google_search import GoogleSearch
from tests.google_server import ONE_PAGE, GoogleServer, SearchReply, google_error, in_turn, item, page
from tests.searching import KEY, make_search, search

TRACE = KEY[:12]
QUOTED = f"your key is {KEY}, so {KEY}"
ODD = "odd/key+with=signs&more"


def all_of(error: BaseException | None) -> str:
    """Return all that a traceback or a logger could tell of an error, causes and contexts included."""
    if error is None:
        return ""
    told = "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)
    return told + all_of(error.__cause__) + all_of(error.__context__)


def files_of(folder: Path) -> list[bytes]:
    """Return the bytes of every file below `folder`, and the ledger's bodies as they read."""
    found = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    with sqlite3.connect(folder / "ledger.sqlite") as connection:
        found += [zlib.decompress(body) for (body,) in connection.execute("SELECT body FROM replies")]
    connection.close()
    return found


async def tell(engine: GoogleSearch) -> str:
    """Search, and return whatever comes of it."""
    try:
        return repr(await search(engine))
    except (OperatorUnavailable, SearchFailed) as error:
        return all_of(error)


@pytest.mark.parametrize("key_place", ["header", "parameter"])
@pytest.mark.parametrize(
    "reply",
    [
        ONE_PAGE,
        page([item(1, title=KEY, snippet=QUOTED, link=f"https://b.org/?key={KEY}")]),
        SearchReply(body=QUOTED, media_type="text/html"),
        SearchReply(body=QUOTED),
        SearchReply(body=QUOTED, status=302, headers={"location": f"https://b.org/?key={KEY}"}),
        *(google_error(status, QUOTED, KEY) for status in (400, 401, 403, 404, 410, 418, 500)),
        google_error(429, QUOTED, "rateLimitExceeded", headers={"retry-after": "0.001"}),
    ],
)
async def test_an_answer_that_quotes_the_key_tells_it_nowhere(
    google_server: GoogleServer, tmp_path: Path, reply: SearchReply, key_place: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    # The server's own log of URLs is not ours; it is why the key goes into a header unless that is asked for.
    logging.getLogger("uvicorn.access").disabled = key_place == "parameter"
    google_server.script = lambda asked: reply
    engine = make_search(google_server.url, tmp_path, key_place=key_place, give_up_s=0.05)
    told = await tell(engine)
    assert TRACE not in told + repr(engine) + str(engine) + engine.version + str(engine.spending)
    assert TRACE not in caplog.text
    assert not any(TRACE.encode() in content for content in files_of(tmp_path))


async def test_the_key_is_not_told_as_a_url_holds_it_either(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = in_turn(google_error(404, f"no such page: ?key={quote(ODD, safe='')} or {ODD}"))
    told = await tell(make_search(google_server.url, tmp_path, api_key=ODD, key_place="parameter"))
    assert google_server.received[0].asked["key"] == ODD
    assert "key=*** or ***" in told
    assert "with" not in told.partition("no such page")[2]


@pytest.mark.parametrize("key_place", ["header", "parameter"])
async def test_a_server_that_is_away_is_told_without_the_key(tmp_path: Path, key_place: str) -> None:
    engine = make_search("http://127.0.0.1:9/customsearch/v1", tmp_path, key_place=key_place)
    assert TRACE not in await tell(engine)


@pytest.mark.parametrize("key", ["with\nlines", "ünïcode-key", "with\x00zero"])
async def test_a_key_that_no_header_can_hold_is_not_told_either(tmp_path: Path, key: str) -> None:
    engine = make_search("http://127.0.0.1:9/customsearch/v1", tmp_path, api_key=key)
    with pytest.raises(OperatorUnavailable, match="export GOOGLE_API_KEY again") as stop:
        await search(engine)
    assert key not in all_of(stop.value) + repr(engine)


async def test_a_password_in_the_endpoint_is_not_told(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = lambda asked: google_error(404, "No")
    engine = make_search(google_server.url.replace("//", "//me:p4ssw0rd@"), tmp_path)
    told = await tell(engine)
    assert google_server.url in told
    assert "p4ssw0rd" not in told + engine.version
    assert not any(b"p4ssw0rd" in content for content in files_of(tmp_path))


def test_dagster_shows_the_variable_and_not_the_key(
    google_server: GoogleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @dg.asset
    async def found(web: dg.ResourceParam[GoogleSearch]) -> int:
        async with web.session("tests"):
            return len(await web.search("judo", 3))

    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("A_KEY_FOR_TESTS", KEY)
    google_server.script = in_turn(ONE_PAGE)
    web = make_search(google_server.url, tmp_path, api_key=dg.EnvVar("A_KEY_FOR_TESTS"))
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([found], resources={"web": web}, instance=instance)
        shown = [repr(run) for run in instance.get_runs()]
        shown += [repr(record) for record in instance.all_logs(result.run_id)]
    assert result.output_for_node("found") == 3
    assert google_server.received[0].headers["x-goog-api-key"] == KEY
    assert TRACE not in "".join(shown) + caplog.text + repr(web) + str(web.model_dump())
    assert not any(TRACE.encode() in content for content in files_of(tmp_path))
