"""Google's results become passages: paged, plain, in the language of the question, from the sites that are meant."""

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.operators.observation import CUT
from mmat_dagster.tools import OperatorUnavailable, Passage
from resources.google_requests import LAST_START, MAX_QUERY_CHARS, Scope, bare_site, cut_at_word, lies_on
from resources.google_results import plain
from resources.google_search import GOOGLE_URL, SHUTDOWN, GoogleSearch, shutdown_warnings
from resources.own_passages import OwnPassagesFirst
from resources.search import BM25Search
from tests.google_server import ENGINE, ONE_PAGE, Asked, GoogleServer, SearchReply, in_turn, item, page
from tests.searching import make_search, search

ROOT = Path(__file__).resolve().parents[1]


async def test_a_proxy_of_the_environment_is_used(
    google_server: GoogleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", google_server.host)
    google_server.script = in_turn(ONE_PAGE)
    assert await search(make_search("http://search.invalid/customsearch/v1", tmp_path))
    assert google_server.received[0].headers["host"] == "search.invalid"


async def test_results_become_passages_best_first(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = in_turn(ONE_PAGE)
    found = await search(make_search(google_server.url, tmp_path))
    assert found[0] == Passage(id="https://www.example.org/page/1", title="Title 1", text="Text number 1 says so.")
    assert [passage.title for passage in found] == ["Title 1", "Title 2", "Title 3"]
    assert [passage.score for passage in found] == [1, 1 / 2, 1 / 3]


async def test_the_request_is_the_one_that_the_api_documents(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = in_turn(ONE_PAGE)
    await search(make_search(google_server.url, tmp_path, country="de"), "judo\n kano")
    (received,) = google_server.received
    fields = received.asked.pop("fields")
    assert {"items", "queries", "searchInformation"} <= {part.partition("(")[0] for part in fields.split(",")}
    assert received.asked == {
        "q": "judo kano",
        "cx": ENGINE,
        "num": "10",
        "start": "1",
        "safe": "active",
        "gl": "de",
    }
    assert received.headers["accept"] == "application/json"
    assert "gzip" in received.headers["accept-encoding"]


async def test_the_key_may_go_where_older_servers_look_for_it(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = lambda asked: ONE_PAGE
    await search(make_search(google_server.url, tmp_path, api_key=" secret "))
    await search(make_search(google_server.url, tmp_path, api_key="secret", key_place="parameter"), "other")
    header, parameter = google_server.received
    assert (header.headers["x-goog-api-key"], header.asked.get("key")) == ("secret", None)
    assert (parameter.headers.get("x-goog-api-key"), parameter.asked["key"]) == (None, "secret")


@pytest.mark.parametrize("safe", ["active", "off"])
async def test_safe_search_is_asked_for_as_configured(google_server: GoogleServer, tmp_path: Path, safe: str) -> None:
    google_server.script = in_turn(ONE_PAGE)
    await search(make_search(google_server.url, tmp_path, safe=safe))
    assert google_server.received[0].asked["safe"] == safe


@pytest.mark.parametrize(
    ("sites", "not_sites", "expected"),
    [
        ([], [], ("judo", None, None)),
        (["b.org"], [], ("judo", "b.org", "i")),
        ([], ["b.org"], ("judo", "b.org", "e")),
        (["b.org", "c.org/wiki"], [], ("judo (site:b.org OR site:c.org/wiki)", None, None)),
        ([], ["b.org", "c.org"], ("judo -site:b.org -site:c.org", None, None)),
        (["b.org"], ["x.b.org"], ("judo -site:x.b.org", "b.org", "i")),
        (["b.org", "c.org"], ["d.org"], ("judo (site:b.org OR site:c.org) -site:d.org", None, None)),
        (["https://B.org/"], [" http://x.b.org/a/ "], ("judo -site:x.b.org/a", "b.org", "i")),
    ],
)
async def test_sites_go_into_the_request(
    google_server: GoogleServer,
    tmp_path: Path,
    sites: list[str],
    not_sites: list[str],
    expected: tuple[str | None, ...],
) -> None:
    google_server.script = in_turn(page())
    await search(make_search(google_server.url, tmp_path, sites=sites, not_sites=not_sites))
    asked = google_server.received[0].asked
    assert (asked["q"], asked.get("siteSearch"), asked.get("siteSearchFilter")) == expected


async def test_a_result_from_elsewhere_is_passed_over_whatever_the_server_thinks(
    google_server: GoogleServer, tmp_path: Path
) -> None:
    links = ["https://b.org/1", "https://c.org/2", "https://www.b.org/3", "https://bad.b.org/4", "https://notb.org/5"]
    google_server.script = in_turn(page([item(number, link=link) for number, link in enumerate(links)]))
    engine = make_search(google_server.url, tmp_path, sites=["b.org"], not_sites=["bad.b.org"])
    assert [found.id for found in await search(engine)] == ["https://b.org/1", "https://www.b.org/3"]


@pytest.mark.parametrize(
    ("link", "site", "lies"),
    [
        ("https://en.wikipedia.org/wiki/Judo", "wikipedia.org", True),
        ("https://EN.Wikipedia.org:443/wiki/Judo", "en.wikipedia.org/wiki", True),
        ("https://en.wikipedia.org/w/index", "en.wikipedia.org/wiki", False),
        ("https://notwikipedia.org/", "wikipedia.org", False),
        ("https://www.mit.edu/", "*.edu", True),
        ("https://evil.com/?wikipedia.org", "wikipedia.org", False),
    ],
)
def test_a_link_lies_on_a_site_or_below_it(link: str, site: str, *, lies: bool) -> None:
    assert lies_on(link, bare_site(site)) is lies


@pytest.mark.parametrize(
    ("query", "question", "language"),
    [
        ("Gregorian telescope designer", "What city is home to the pictured museum?", "en"),
        ("Gregorian telescope designer", "In welchem Jahr wurde dieses Schloss gebaut?", "de"),
        ("Gregorian telescope designer", "この建物は誰が設計しましたか?", "ja"),
        ("In welchem Jahr wurde dieses Schloss gebaut?", "", "de"),
        ("In welchem Jahr wurde dieses Schloss gebaut?", "Judo?", "de"),
        ("judo", "Judo?", None),
        ("42 + 17", "", None),
    ],
)
async def test_results_are_in_the_language_of_the_question(
    google_server: GoogleServer, tmp_path: Path, query: str, question: str, language: str | None
) -> None:
    google_server.script = in_turn(ONE_PAGE)
    await search(make_search(google_server.url, tmp_path), query, question=question)
    asked = google_server.received[0].asked
    assert (asked.get("lr"), asked.get("hl")) == ((f"lang_{language}", language) if language else (None, None))


@pytest.mark.parametrize(("language", "lr"), [("any", None), ("fr", "lang_fr"), ("zh-TW", "lang_zh-TW")])
async def test_a_language_can_be_fixed(
    google_server: GoogleServer, tmp_path: Path, language: str, lr: str | None
) -> None:
    google_server.script = in_turn(ONE_PAGE)
    engine = make_search(google_server.url, tmp_path, language=language)
    await search(engine, question="What city is home to the pictured museum?")
    assert google_server.received[0].asked.get("lr") == lr


async def test_further_pages_are_asked_for_until_there_is_enough(google_server: GoogleServer, tmp_path: Path) -> None:
    bare = [item(number, title=None, htmlTitle=None) for number in range(8)]
    google_server.script = in_turn(
        page([*bare, item(1), item(2)], next_start=11),
        page([item(2), item(3)], next_start=21),
        page([item(4)], next_start=31),
    )
    found = await search(make_search(google_server.url, tmp_path), top_k=4)
    assert [passage.title for passage in found] == ["Title 1", "Title 2", "Title 3", "Title 4"]
    assert [each.asked["start"] for each in google_server.received] == ["1", "11", "21"]


async def test_paging_ends_with_the_pages(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = in_turn(page([item(1)], next_start=11), page([item(2)]))
    assert len(await search(make_search(google_server.url, tmp_path), top_k=5)) == 2


async def test_no_more_than_a_hundred_results_are_asked_for(google_server: GoogleServer, tmp_path: Path) -> None:
    def script(asked: Asked) -> SearchReply:
        start = int(asked["start"])
        return page([item(start + number) for number in range(10)], next_start=start + 10)

    google_server.script = script
    found = await search(make_search(google_server.url, tmp_path), top_k=1000)
    assert len(found) == len(google_server.received) * 10 == 100
    assert google_server.received[-1].asked["start"] == str(LAST_START)


@pytest.mark.parametrize("next_start", [1, 0, -5, 1000])
async def test_a_server_that_pages_in_circles_is_asked_once(
    google_server: GoogleServer, tmp_path: Path, next_start: int
) -> None:
    google_server.script = in_turn(page([item(1)], next_start=next_start))
    assert len(await search(make_search(google_server.url, tmp_path))) == 1


async def test_what_the_first_pages_hold_is_told_where_the_next_one_fails(
    google_server: GoogleServer, tmp_path: Path
) -> None:
    def script(asked: Asked) -> SearchReply:
        if asked["start"] == "11":
            return SearchReply(body="{}", status=500)
        return page([item(1)], next_start=11)

    google_server.script = script
    assert [found.title for found in await search(make_search(google_server.url, tmp_path))] == ["Title 1"]


async def test_nothing_is_found_where_nothing_is_there(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = in_turn(page())
    engine = make_search(google_server.url, tmp_path)
    assert await search(engine) == ()
    assert (engine.spending.calls, engine.spending.spent_usd) == (1, 0.005)  # that word is paid for too


@pytest.mark.parametrize(("query", "top_k"), [("", 3), (" \n\x00 ", 3), ("judo", 0)])
async def test_nothing_is_asked_where_nothing_is_wanted(
    google_server: GoogleServer, tmp_path: Path, query: str, top_k: int
) -> None:
    assert await search(make_search(google_server.url, tmp_path), query, top_k) == ()
    assert google_server.received == []


async def test_snippets_are_plain_text_in_one_line(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = in_turn(
        page(
            [
                item(
                    1, title="Tom &amp; <b>Jerry</b>", snippet="It&#39;s\n5 &lt; 7&nbsp;...\u00a0<br>so a < b and c > d"
                ),
                item(2, title=None, snippet=None, htmlSnippet="The <b>judo</b> &quot;dojo&quot;"),
                item(3, snippet=None, htmlSnippet=None),
                item(4, link="javascript:alert(1)"),
                item(5, link=None),
                item(6, snippet="\n &nbsp; "),
                item(7, snippet="word " * 1000),
            ]
        )
    )
    one, two, seven = await search(make_search(google_server.url, tmp_path, max_chars=100))
    assert (one.title, one.text) == ("Tom & Jerry", "It's 5 < 7 ... so a < b and c > d")
    assert (two.title, two.text) == ("Title 2", 'The judo "dojo"')
    assert (seven.title, len(seven.text) <= 100, seven.text.endswith(CUT)) == ("Title 7", True, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>foo</b>bar", "foobar"),
        ("one<BR/>two<p class='x'>three", "one two three"),
        ("&lt;b&gt;", "<b>"),
        ("x<y and y>z, a <b and c> d", "x<y and y>z, a <b and c> d"),
        ("List<String>", "List<String>"),
        ('<a href="x">y</a><b >z</b>', "yz"),
        ("1 <2> 3", "1 <2> 3"),
        ("tab\tand\u2028line\ud800", "tab and line"),
    ],
)
def test_tags_and_entities_are_taken_out(text: str, expected: str) -> None:
    assert plain(text) == expected


async def test_a_query_that_is_too_long_is_cut_at_a_word(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = lambda asked: ONE_PAGE
    words = " ".join(f"word{number}" for number in range(1000))
    await search(make_search(google_server.url, tmp_path, not_sites=["b.org", "c.org"]), words)
    (query,) = google_server.queries
    assert MAX_QUERY_CHARS - 10 < len(query) <= MAX_QUERY_CHARS
    assert query.endswith(" -site:b.org -site:c.org")
    assert words.startswith(query.removesuffix(" -site:b.org -site:c.org") + " ")


@given(st.text(), st.integers(1, 30))
def test_a_cut_query_is_the_beginning_of_it(text: str, room: int) -> None:
    cut = cut_at_word(text, room)
    assert len(cut) <= room
    assert text.startswith(cut)


def test_a_word_that_is_too_long_is_cut() -> None:
    assert [cut_at_word("ab cd ef", room) for room in (8, 7, 5, 4, 1)] == ["ab cd ef", "ab cd", "ab cd", "ab", "a"]


def test_the_version_tells_apart_what_decides_the_results_and_holds_no_secret() -> None:
    changes: list[dict[str, object]] = [
        {},
        {"engine_id": "other"},
        {"endpoint": "https://host/customsearch/v1"},
        {"safe": "off"},
        {"sites": ["a.org"]},
        {"not_sites": ["a.org"]},
        {"sites": ["a.org"], "not_sites": ["b.org"]},
        {"language": "any"},
        {"country": "de"},
        {"max_chars": 100},
    ]
    assert len({GoogleSearch.model_validate(change).version for change in changes}) == len(changes)
    others = {"api_key": "secret", "ledger": "elsewhere", "usd_per_query": 1.0, "timeout_s": 1.0, "concurrency": 1}
    assert GoogleSearch.model_validate(others).version == GoogleSearch().version
    told = GoogleSearch(endpoint="https://me:secret@host/v1", engine_id="cx").version
    assert "secret" not in told
    assert "cx" in told


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"endpoint": "localhost:8000"}, r"`endpoint` is no http\(s\) URL"),
        ({"endpoint": "https://host/v1?key=1"}, r"without parameters: 'https://host/v1'"),
        ({"language": "xx"}, "`language` is 'xx'; it may be auto, any, ar, bg"),
        ({"sites": ["a b"]}, "hold what is no site"),
        ({"not_sites": [" "]}, "hold what is no site"),
        ({"sites": [f"site-number-{number}.org" for number in range(60)]}, "leave no room for a query"),
    ],
)
async def test_fields_that_cannot_work_are_complained_of(
    tmp_path: Path, fields: dict[str, object], complaint: str
) -> None:
    with pytest.raises(OperatorUnavailable, match=complaint):
        await search(make_search("http://127.0.0.1:9/v1", tmp_path, **fields))


@pytest.mark.parametrize("missing", [{"api_key": ""}, {"engine_id": " "}])
async def test_google_needs_a_key_and_an_engine(tmp_path: Path, missing: dict[str, str]) -> None:
    with pytest.raises(OperatorUnavailable, match="export GOOGLE_API_KEY and GOOGLE_CSE_ID"):
        await search(make_search(GOOGLE_URL, tmp_path, **missing))


async def test_a_server_of_one_s_own_needs_no_key(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = in_turn(ONE_PAGE)
    assert await search(make_search(google_server.url, tmp_path, api_key="", engine_id=""))
    assert "x-goog-api-key" not in google_server.received[0].headers


def test_the_end_of_the_api_is_told_when_it_is_near() -> None:
    assert shutdown_warnings(date(2026, 1, 1)) == []
    assert "2027-01-01, in 10 days" in shutdown_warnings(SHUTDOWN - timedelta(days=10))[0]
    assert "that day is past" in shutdown_warnings(SHUTDOWN)[0]


def test_a_source_s_own_passages_come_first_where_that_is_wanted(tmp_path: Path) -> None:
    google, local = GoogleSearch(), BM25Search(corpus=str(tmp_path / "default.jsonl"))
    own = tmp_path / "own.jsonl"
    assert google.over(own) is google.over(None) is google
    both = OwnPassagesFirst(own=local, web=google)
    assert both.over(None) is google
    assert both.over(own) is local.over(own)


def test_dagster_hands_it_to_an_asset_with_run_and_key(
    google_server: GoogleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.asset
    async def found(engine: dg.ResourceParam[OwnPassagesFirst]) -> list[str]:
        retriever = engine.over(None)
        async with retriever.session("tests"):
            assert isinstance(retriever, GoogleSearch)
            assert retriever._run_id != "none"
            return [passage.title for passage in await retriever.search("judo", 1)]

    monkeypatch.setenv("A_KEY_FOR_TESTS", "a-key-for-tests")
    google_server.script = in_turn(ONE_PAGE)
    web = make_search(google_server.url, tmp_path, api_key=dg.EnvVar("A_KEY_FOR_TESTS"))
    engine = OwnPassagesFirst(own=BM25Search(corpus="none"), web=web)
    result = dg.materialize([found], resources={"engine": engine})
    assert result.output_for_node("found") == ["Title 1"]
    assert google_server.received[0].headers["x-goog-api-key"] == "a-key-for-tests"


def test_importing_the_resource_loads_no_language_model() -> None:
    code = "import sys, resources.google_search; assert not {'py3langid', 'openai'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_a_scope_leaves_the_rest_of_the_query_to_the_query() -> None:
    assert Scope(engine_id="x", safe="off").room == MAX_QUERY_CHARS
    assert Scope(engine_id="x", safe="off", not_sites=("a.org", "b.org")).room == MAX_QUERY_CHARS - len(
        " -site:a.org -site:b.org"
    )
