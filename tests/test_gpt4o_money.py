"""Money: what a request can cost is reserved, what it did cost is counted, and a budget stops in time."""

import asyncio
from pathlib import Path

import pytest

from mmat_dagster.interfaces import BudgetReached, ChatReply, TeacherUnavailable
from mmat_dagster.ledger.ledger import close_ledger, open_ledger
from mmat_dagster.spending import Spending
from resources.gpt4o import GPT4o
from tests.asking import ask, make_model, question, save_picture
from tests.chat_server import COMPLETION_TOKENS, PROMPT_TOKENS, Body, ChatServer, ServerReply, error_reply, in_turn
from tests.teacher_server import Behaviour, TeacherServer

# A dollar for each token of a reply, and nothing for the prompt: a reply costs $7, and $10 at most.
DOLLARS = {"usd_per_million_input": 0.0, "usd_per_million_output": 1_000_000.0, "max_completion_tokens": 10}
COST_USD = float(COMPLETION_TOKENS)


async def ask_all(model: GPT4o, *texts: str) -> list[object]:
    """Ask for every text at once, in one session; return replies and errors."""
    async with model.session("tests"):
        return await asyncio.gather(*(model.complete([question(text)]) for text in texts), return_exceptions=True)


def spent(folder: Path) -> list[float]:
    """Return what the ledger says was spent, what is still reserved, and what may be lost."""
    url = f"sqlite:///{folder}/ledger.sqlite"
    account = open_ledger(url).account()
    close_ledger(url)
    return [account.spent_usd, account.reserved_usd, account.lost_usd]


@pytest.mark.parametrize("budget", ["budget_usd", "budget_usd_per_run"])
@pytest.mark.parametrize("price", [{}, {"usd_per_million_input": 1.0}, {"usd_per_million_output": 1.0}])
async def test_a_budget_without_prices_is_refused_before_anything_is_sent(
    chat_server: ChatServer, tmp_path: Path, budget: str, price: dict[str, float]
) -> None:
    with pytest.raises(TeacherUnavailable) as stop:
        await ask(make_model(chat_server.url, tmp_path, **{budget: 5.0}, **price))
    assert "no price of scripted is known: set `usd_per_million_input` and `usd_per_million_output`" in str(stop.value)
    assert (chat_server.lookups, chat_server.received) == (0, [])
    assert not (tmp_path / "ledger.sqlite").exists()


async def test_at_the_cap_it_says_what_was_spent_and_what_to_raise(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = lambda body: "{}"
    model = make_model(chat_server.url, tmp_path, budget_usd=20.0, **DOLLARS)
    await ask(model, question("one"))
    await ask(model, question("two"))
    with pytest.raises(BudgetReached) as stop:
        await ask(model, question("three"))
    assert str(stop.value) == (
        "the budget of $20 in all is reached: $14.0000 spent on 2 calls, and the next one may cost $10.0000. "
        "Every reply is kept: raise `budget_usd` and run again to go on where this run has stopped"
    )
    assert len(chat_server.received) == 2
    assert isinstance(await ask(model, question("two")), ChatReply)  # what is paid for is there all the same
    assert spent(tmp_path) == [2 * COST_USD, 0.0, 0.0]


async def test_a_run_has_a_budget_of_its_own(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = lambda body: "{}"
    first = make_model(chat_server.url, tmp_path, budget_usd_per_run=10.0, **DOLLARS)
    first._run_id = "first"
    await ask(first, question("one"))
    with pytest.raises(BudgetReached, match=r"\$10 for this run is reached: \$7\.0000 .* raise `budget_usd_per_run`"):
        await ask(first, question("two"))
    second = make_model(chat_server.url, tmp_path, budget_usd_per_run=10.0, **DOLLARS)
    second._run_id = "second"
    assert isinstance(await ask(second, question("two")), ChatReply)
    assert spent(tmp_path) == [2 * COST_USD, 0.0, 0.0]


async def test_many_at_once_stay_below_the_cap_and_a_higher_one_pays_only_the_rest(
    chat_server: ChatServer, tmp_path: Path
) -> None:
    chat_server.script = lambda body: ServerReply(body="{}", delay_s=0.02)
    texts = [str(number) for number in range(12)]
    model = make_model(chat_server.url, tmp_path, budget_usd=40.0, **DOLLARS)
    told = await ask_all(model, *texts)
    kept = [each for each in told if isinstance(each, ChatReply)]
    assert {type(each) for each in told} == {ChatReply, BudgetReached}
    # $35 are spent, $10 more do not fit: five replies.
    assert len(kept) == len(chat_server.received) == model.spending.calls == 5
    assert spent(tmp_path) == [5 * COST_USD, 0.0, 0.0]
    richer = make_model(chat_server.url, tmp_path, budget_usd=1000.0, **DOLLARS)
    assert {type(each) for each in await ask_all(richer, *texts)} == {ChatReply}
    assert (richer.spending.reused, richer.spending.calls) == (5, 7)
    assert (
        len({each.body["messages"][0]["content"] for each in chat_server.received}) == len(chat_server.received) == 12
    )
    assert spent(tmp_path) == [12 * COST_USD, 0.0, 0.0]


async def test_what_was_in_flight_at_the_cap_is_stored(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = lambda body: ServerReply(body="{}", delay_s=0.2)
    # Here the length of a text decides what it may cost.
    prices = {"usd_per_million_input": 10_000.0, "usd_per_million_output": 10_000.0, "budget_usd": 20.0}
    model = make_model(chat_server.url, tmp_path, **prices)
    with pytest.raises(BudgetReached, match=r"\$0\.0000 spent on 0 calls, and the next one may cost"):
        await ask_both(model, "short", "long" * 1000)
    assert [each.body["messages"][0]["content"] for each in chat_server.received] == ["short"]
    assert isinstance(await ask(model, question("short")), ChatReply)
    assert len(chat_server.received) == 1
    assert spent(tmp_path) == pytest.approx([(PROMPT_TOKENS + COMPLETION_TOKENS) * 0.01, 0.0, 0.0])


async def ask_both(model: GPT4o, first: str, second: str) -> None:
    """Ask for the second while the first is under way; the first error ends the session."""
    async with model.session("tests"):
        under_way = asyncio.create_task(model.complete([question(first)]))
        await asyncio.sleep(0.1)
        try:
            await model.complete([question(second)])
        finally:
            under_way.cancel()


async def test_an_error_costs_nothing_and_frees_what_was_reserved(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn(error_reply(400, "No"), error_reply(401, "No"))
    model = make_model(chat_server.url, tmp_path, budget_usd=10.0, **DOLLARS)
    await ask(model, question("refused"))
    with pytest.raises(TeacherUnavailable, match="refuses the key"):
        await ask(model, question("forbidden"))
    assert spent(tmp_path) == [0.0, 0.0, 0.0]
    assert (model.spending.asked, model.spending.calls, model.spending.spent_usd) == (1, 0, None)


async def test_a_server_that_fails_at_the_cap_is_told_like_any_other(chat_server: ChatServer, tmp_path: Path) -> None:
    # The tiny request that tells whose fault it is fits in as soon as the failed one has given its share back.
    chat_server.script = lambda body: error_reply(500, "Out of order")
    model = make_model(chat_server.url, tmp_path, budget_usd=100.0, **{**DOLLARS, "max_completion_tokens": 100})
    async with asyncio.timeout(10):
        with pytest.raises(TeacherUnavailable, match="fails after 0 retries"):
            await ask(model)
    assert spent(tmp_path) == [0.0, 0.0, 0.0]


async def test_images_that_cannot_be_counted_are_not_sent_for_money(chat_server: ChatServer, tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "a.png")
    chat_server.script = lambda body: "{}"
    with pytest.raises(TeacherUnavailable, match="how scripted counts images is not known: set `image_tokens_at_most`"):
        await ask(make_model(chat_server.url, tmp_path, **DOLLARS), question("?", picture))
    assert chat_server.received == []
    bounded = make_model(chat_server.url, tmp_path, image_tokens_at_most=1000, **DOLLARS)
    assert isinstance(await ask(bounded, question("?", picture)), ChatReply)
    unpriced = make_model(chat_server.url, tmp_path / "unpriced")
    assert isinstance(await ask(unpriced, question("?", picture)), ChatReply)


async def test_an_image_counts_in_what_a_request_may_cost(chat_server: ChatServer, tmp_path: Path) -> None:
    prices = {"usd_per_million_input": 1000.0, "usd_per_million_output": 0.0, "budget_usd": 1.0}
    chat_server.script = lambda body: "{}"
    model = make_model(chat_server.url, tmp_path, image_tokens_at_most=1000, **prices)
    assert isinstance(await ask(model, question("?")), ChatReply)
    with pytest.raises(BudgetReached, match=r"may cost \$1\.0"):
        await ask(model, question("?", save_picture(tmp_path / "a.png")))


async def test_a_known_model_is_priced_by_the_table_and_its_cached_tokens_cost_less(tmp_path: Path) -> None:
    behaviour = Behaviour(script=lambda body: "{}" * 200, cached_share=0.5, image_tokens=765)
    with TeacherServer(behaviour) as server:
        model = make_model(server.url, tmp_path, model="gpt-4o-2024-11-20", check_model=False, budget_usd=1.0)
        await ask(model, question("?" * 4000, save_picture(tmp_path / "a.png", (1024, 1024))))
    prompt, completion = 1000 + 4 + 765, 400 // 4 + 1
    spending = model.spending
    assert spending == Spending(
        calls=1,
        prompt_tokens=prompt,
        cached_tokens=prompt // 2,
        completion_tokens=completion,
        spent_usd=spending.spent_usd,
        lost_usd=0.0,
    )
    listed = (prompt - prompt // 2) * 2.50 + (prompt // 2) * 1.25 + completion * 10.00
    assert spending.spent_usd == pytest.approx(listed / 1e6)
    assert spent(tmp_path) == pytest.approx([listed / 1e6, 0.0, 0.0])


async def test_prices_that_are_set_stand_above_the_table(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = lambda body: "{}"
    prices = {"usd_per_million_input": 1000.0, "usd_per_million_output": 2000.0}
    model = make_model(chat_server.url, tmp_path, model="gpt-4o", check_model=False, **prices)
    await ask(model)
    assert model.spending.spent_usd == pytest.approx((PROMPT_TOKENS + 2 * COMPLETION_TOKENS) / 1000)


async def test_without_a_price_no_dollar_is_named(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = lambda body: "{}"
    model = make_model(chat_server.url, tmp_path)
    await ask(model)
    assert model.spending.spent_usd is None
    assert model.spending.prompt_tokens == PROMPT_TOKENS


async def test_retries_limits_and_reuse_are_counted(chat_server: ChatServer, tmp_path: Path) -> None:
    soon = {"retry-after-ms": "1"}
    chat_server.script = in_turn(error_reply(500, "No"), error_reply(429, "Slow", headers=soon), "{}", "{}")
    model = make_model(chat_server.url, tmp_path, max_retries=1, **DOLLARS)
    for text in ("one", "two", "one"):
        await ask(model, question(text))
    assert model.spending == Spending(
        reused=1,
        calls=2,
        prompt_tokens=2 * PROMPT_TOKENS,
        completion_tokens=2 * COMPLETION_TOKENS,
        spent_usd=2 * COST_USD,
        retries=2,
        limited=1,
        lost_usd=0.0,
    )


async def test_a_bad_reply_is_paid_for_all_the_same(chat_server: ChatServer, tmp_path: Path) -> None:
    def script(body: Body) -> ServerReply:
        return ServerReply(body=None, refusal="I cannot help with that.")

    chat_server.script = script
    model = make_model(chat_server.url, tmp_path, **DOLLARS)
    await ask(model)
    assert model.spending.spent_usd == COST_USD
    assert spent(tmp_path) == [COST_USD, 0.0, 0.0]
