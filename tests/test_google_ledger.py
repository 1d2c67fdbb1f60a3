"""What was searched for is paid once: over runs, event loops and processes, also where a run is interrupted."""

import asyncio
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from mmat_dagster.interfaces import BudgetReached
from mmat_dagster.ledger import tables
from mmat_dagster.ledger.accounts import Paid
from mmat_dagster.ledger.ledger import close_ledger, open_ledger
from mmat_dagster.ledger.orders import Admit, Settle, StoredReply
from mmat_dagster.ledger.totals import read_totals
from mmat_dagster.spending import Spending
from tests import postgres
from tests.google_server import ONE_PAGE, Asked, GoogleServer, SearchReply, in_turn, item, page
from tests.ledgers import make_key, make_terms, opened
from tests.searching import make_search, search

ROOT = Path(__file__).resolve().parents[1]
ledger_url = postgres.ledger_url
PROCESS_S = 60


async def test_a_query_is_paid_once_whatever_run_and_key(
    google_server: GoogleServer, tmp_path: Path, ledger_url: str
) -> None:
    google_server.script = in_turn(ONE_PAGE)
    first = make_search(google_server.url, tmp_path, ledger=ledger_url)
    second = make_search(google_server.url, tmp_path, ledger=ledger_url, api_key="another", concurrency=1)
    found = [await search(first), await search(first), await search(second, " judo\n")]
    assert found[0] == found[1] == found[2] != ()
    assert len(google_server.received) == 1
    assert first.spending == Spending(calls=1, reused=1, spent_usd=0.005, lost_usd=0.0)
    assert second.spending == Spending(reused=1, lost_usd=0.0)


async def test_how_many_passages_are_wanted_and_how_they_are_cut_makes_no_other_request(
    google_server: GoogleServer, tmp_path: Path
) -> None:
    google_server.script = in_turn(ONE_PAGE)
    sizes = [
        len(await search(make_search(google_server.url, tmp_path, max_chars=40), top_k=top_k)) for top_k in (1, 10)
    ]
    assert sizes == [1, 10]
    assert len(google_server.received) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"engine_id": "other"},
        {"safe": "off"},
        {"sites": ["example.org"]},
        {"not_sites": ["b.org"]},
        {"language": "de"},
        {"country": "de"},
    ],
)
async def test_what_decides_the_results_makes_another_request(
    google_server: GoogleServer, tmp_path: Path, change: dict[str, object]
) -> None:
    google_server.script = lambda asked: ONE_PAGE
    for fields in ({}, change, {}, change):
        await search(make_search(google_server.url, tmp_path, **fields))
    assert len(google_server.received) == 2


async def test_the_same_at_once_is_sent_once(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = in_turn(page([item(1)], delay_s=0.05))
    engine = make_search(google_server.url, tmp_path)
    async with engine.session("tests"):
        found = await asyncio.gather(*(engine.search("judo", 3) for _ in range(20)))
    assert len(set(found)) == len(google_server.received) == engine.spending.calls == 1


def test_two_event_loops_at_once_send_one_request(google_server: GoogleServer, tmp_path: Path, ledger_url: str) -> None:
    google_server.script = in_turn(page([item(1)], delay_s=0.1))
    engine = make_search(google_server.url, tmp_path, ledger=ledger_url)
    start, found = threading.Barrier(2), []

    def run() -> None:
        start.wait()
        found.append(asyncio.run(search(engine)))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert len(set(found)) == len(google_server.received) == 1


SEARCHER = """
import asyncio, json, sys
from pathlib import Path
from tests.searching import make_search, search
url, ledger = sys.argv[1:]
engine = make_search(url, Path("."), ledger=ledger)
print("ready", flush=True)
sys.stdin.readline()
found = asyncio.run(search(engine))
print(json.dumps([[passage.id for passage in found], engine.spending.calls]))
"""


def begin_searches(url: str, ledger: str, count: int) -> list[subprocess.Popen[str]]:
    """Let so many processes search for the same at once."""
    command = [sys.executable, "-c", SEARCHER, url, ledger]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        for _ in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
    return processes


def test_two_processes_at_once_send_one_request(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = in_turn(page([item(1)], delay_s=0.5))
    both = begin_searches(google_server.url, str(tmp_path / "ledger.sqlite"), 2)
    told = [json.loads(process.communicate(timeout=PROCESS_S)[0]) for process in both]
    assert [ids for ids, _ in told] == [["https://www.example.org/page/1"]] * 2
    assert sorted(calls for _, calls in told) == [0, 1]
    assert len(google_server.received) == 1


async def test_a_session_can_be_opened_inside_another(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = lambda asked: ONE_PAGE
    engine = make_search(google_server.url, tmp_path)
    async with engine.session("outer"):
        async with engine.session("inner"):
            await engine.search("one", 1)
        await engine.search("two", 1)
    await search(engine, "three")
    assert google_server.queries == ["one", "two", "three"]
    assert engine._sessions == {}


async def test_at_the_cap_nothing_more_is_sent_and_what_was_found_is_there(
    google_server: GoogleServer, tmp_path: Path
) -> None:
    google_server.script = lambda asked: ONE_PAGE
    engine = make_search(google_server.url, tmp_path, usd_per_query=2.0, budget_usd=5.0)
    await search(engine, "one")
    await search(engine, "two")
    with pytest.raises(BudgetReached, match=r"the budget of \$5 in all is reached: \$4.0000 spent on 2 calls"):
        await search(engine, "three")
    assert await search(engine, "two")
    assert google_server.queries == ["one", "two"]
    assert engine.spending.spent_usd == 4.0


async def test_a_run_has_a_budget_of_its_own(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = lambda asked: ONE_PAGE
    for run_id in ("first", "second"):
        engine = make_search(google_server.url, tmp_path, usd_per_query=2.0, budget_usd_per_run=3.0)
        engine._run_id = run_id
        await search(engine, f"{run_id} one")
        with pytest.raises(BudgetReached, match=r"for this run is reached.*`budget_usd_per_run`"):
            await search(engine, f"{run_id} two")


async def test_what_a_teacher_has_spent_counts_too(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = lambda asked: ONE_PAGE
    engine = make_search(google_server.url, tmp_path, budget_usd=1.0)
    terms, key = make_terms(), make_key(1)
    with opened(f"sqlite:///{engine.ledger}") as ledger:
        await ledger.admit(Admit(key=key, terms=terms, tokens=0.0, reserve_usd=0.999))
        reply = StoredReply(status=200, body=b"{}", paid=Paid(cost_usd=0.999))
        await ledger.do(Settle(key=key, terms=terms, tokens=0.0, reserve_usd=0.999, reply=reply))
    with pytest.raises(BudgetReached):
        await search(engine)
    assert google_server.received == []


async def test_the_totals_tell_searches_apart(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = lambda asked: ONE_PAGE
    engine = make_search(google_server.url, tmp_path)
    for query in ("one", "two"):
        await search(engine, query)
    totals = read_totals(engine.ledger)
    assert totals is not None
    assert totals.lines == (("search at 127.0.0.1", "tests", 2, 0, 0, 0, 0.01),)
    assert totals.account.spent_usd == 0.01


async def test_all_who_share_the_ledger_share_one_limit(google_server: GoogleServer, tmp_path: Path) -> None:
    google_server.script = lambda asked: ONE_PAGE
    engines = [make_search(google_server.url, tmp_path, queries_per_minute=60, api_key=key) for key in ("one", "two")]
    for number, engine in enumerate(engines):
        await search(engine, str(number))
    ledger = open_ledger(engines[0].ledger)
    with ledger.database.read() as connection:
        ((name, left),) = connection.execute(sa.select(tables.buckets.c.name, tables.buckets.c.requests)).all()
    close_ledger(engines[0].ledger)
    assert name == f"search at {google_server.url}"
    assert 58 <= left < 60  # both were taken out of it; one a second comes back


async def test_an_interrupted_run_keeps_what_is_under_way(google_server: GoogleServer, tmp_path: Path) -> None:
    is_asked = threading.Event()

    def script(asked: Asked) -> SearchReply:
        is_asked.set()
        return page([item(1)], delay_s=0.2)

    google_server.script = script
    engine = make_search(google_server.url, tmp_path)
    async with engine.session("tests"):
        waiting = asyncio.create_task(engine.search("judo", 3))
        assert await asyncio.to_thread(is_asked.wait, 10)
        waiting.cancel()
    assert len(await search(engine)) == 1
    assert len(google_server.received) == 1
    assert (engine.spending.calls, engine.spending.lost_calls) == (1, 0)


def test_what_a_killed_process_had_under_way_is_counted_as_lost(google_server: GoogleServer, tmp_path: Path) -> None:
    is_asked = threading.Event()

    def script(asked: Asked) -> SearchReply:
        is_late = not is_asked.is_set()
        is_asked.set()
        return page([item(1)], delay_s=10.0 if is_late else 0.0)

    google_server.script = script
    (process,) = begin_searches(google_server.url, str(tmp_path / "ledger.sqlite"), 1)
    assert is_asked.wait(PROCESS_S)
    process.kill()
    process.communicate()
    engine = make_search(google_server.url, tmp_path)
    assert len(asyncio.run(search(engine))) == 1
    assert (engine.spending.calls, engine.spending.lost_calls, engine.spending.lost_usd) == (1, 1, 0.005)
