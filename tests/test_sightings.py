"""What operators saw is kept: nothing is looked at twice, in any stage, run or process, and no failure stays."""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from mmat_dagster.interfaces import LedgerError
from mmat_dagster.operators.observation import MAX_CHARS
from mmat_dagster.operators.sightings import Sightings
from mmat_dagster.tools import Failed, Look, Operator, OperatorUnavailable, Sight
from tests import postgres

ledger_url = postgres.ledger_url


class Counting(Operator):
    """Tells how often it was asked, keeps what it was asked, and fails or breaks where a look says so."""

    name: ClassVar[str] = "counting"
    purpose: ClassVar[str] = "counts"

    def __init__(self, version: str = "1", asks: str = "question") -> None:
        self.max_chars = MAX_CHARS
        self.told, self.asks = version, asks
        self.batches: list[list[str]] = []
        self.pause_s = 0.0

    @property
    def version(self) -> str:
        return self.told

    def parameters(self, look: Look) -> str | None:
        return {"question": look.question, "nothing": "", "not kept": None}[self.asks]

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        self.batches.append([look.sha256 for look in looks])
        await asyncio.sleep(self.pause_s)
        if any(look.question == "broken" for look in looks):
            raise OperatorUnavailable("away")
        return [self._seen(look) for look in looks]

    def _seen(self, look: Look) -> Sight | Failed:
        if look.question == "fail":
            return Failed(detail="not this one")
        return Sight(text=f"{look.sha256} {look.question} \ud800é", details={"n": [1, None, "é"]})


def look(image: str, question: str = "") -> Look:
    return Look(image=b"", sha256=image, question=question)


@pytest.fixture
def sightings(tmp_path: Path) -> Iterator[Sightings]:
    opened = Sightings(str(tmp_path / "operators.sqlite"))
    yield opened
    opened.close()


async def test_what_was_seen_is_told_again_to_the_letter(sightings: Sightings) -> None:
    operator = Counting()
    first = await sightings.look(operator, [look("a"), look("b")])
    assert await sightings.look(operator, [look("b"), look("a")]) == [first[1], first[0]]
    assert first[0] == Sight(text="a  \ud800é", details={"n": [1, None, "é"]})
    assert operator.batches == [["a", "b"]]


async def test_only_what_is_missing_is_looked_at_and_the_order_stays(sightings: Sightings) -> None:
    operator = Counting()
    await sightings.look(operator, [look("b")])
    seen = await sightings.look(operator, [look("a"), look("b"), look("c"), look("a")])
    assert [sight.text[0] for sight in seen if isinstance(sight, Sight)] == ["a", "b", "c", "a"]
    assert operator.batches == [["b"], ["a", "c"]]


async def test_another_image_version_parameter_or_operator_is_another_look(sightings: Sightings) -> None:
    class Other(Counting):
        name: ClassVar[str] = "other"

    operators = [Counting(), Counting("2"), Other()]
    for operator in operators:
        await sightings.look(operator, [look("a", "why?")])
        await sightings.look(operator, [look("a", "how?")])
        await sightings.look(operator, [look("a", "why?")])
    assert [len(operator.batches) for operator in operators] == [2, 2, 2]


async def test_a_question_that_decides_nothing_makes_no_difference(sightings: Sightings) -> None:
    operator = Counting(asks="nothing")
    assert await sightings.look(operator, [look("a", "why?")]) == await sightings.look(operator, [look("a", "how?")])
    assert len(operator.batches) == 1


async def test_an_operator_that_wants_nothing_kept_is_asked_each_time(sightings: Sightings, tmp_path: Path) -> None:
    operator = Counting(asks="not kept")
    for _ in range(2):
        await sightings.look(operator, [look("a")])
    assert len(operator.batches) == 2
    assert not (tmp_path / "operators.sqlite").exists()


async def test_a_failure_is_told_and_tried_again(sightings: Sightings) -> None:
    operator = Counting()
    for _ in range(2):
        failed, seen = await sightings.look(operator, [look("a", "fail"), look("b")])
        assert failed == Failed(detail="not this one")
        assert isinstance(seen, Sight)
    assert operator.batches == [["a", "b"], ["a"]]


async def test_all_who_ask_at_once_share_one_look(sightings: Sightings) -> None:
    operator = Counting()
    operator.pause_s = 0.5
    seen = await asyncio.gather(*(sightings.look(operator, [look("a"), look(each)]) for each in "bcb"))
    assert sorted(image for batch in operator.batches for image in batch) == ["a", "b", "c"]
    assert seen[0] == seen[2]


async def test_who_gives_up_takes_the_look_from_nobody(sightings: Sightings) -> None:
    operator = Counting()
    operator.pause_s = 0.5
    first, second = (asyncio.ensure_future(sightings.look(operator, [look("a")])) for _ in range(2))
    await asyncio.sleep(0.02)
    first.cancel()
    assert isinstance((await second)[0], Sight)
    assert operator.batches == [["a"]]


async def test_an_operator_that_is_away_is_told_to_all_and_asked_again(sightings: Sightings) -> None:
    operator = Counting()
    operator.pause_s = 0.5  # however busy the machine is, all three have found nothing kept by then
    asked = [sightings.look(operator, [look("a", "broken")]) for _ in range(3)]
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(error) for error in told] == ["away"] * 3
    with pytest.raises(OperatorUnavailable):
        await sightings.look(operator, [look("a", "broken")])
    assert len(operator.batches) == 2


def test_another_run_and_event_loop_finds_what_was_kept(ledger_url: str) -> None:
    operator = Counting()
    for _ in range(2):
        sightings = Sightings(ledger_url)
        asyncio.run(_look_in_two_loops(sightings, operator))
        sightings.close()
    assert operator.batches == [["a"]]


async def _look_in_two_loops(sightings: Sightings, operator: Counting) -> None:
    await sightings.look(operator, [look("a")])
    await asyncio.to_thread(lambda: asyncio.run(sightings.look(operator, [look("a")])))


def test_a_cache_that_cannot_be_written_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sightings = Sightings(str(tmp_path / "file" / "operators.sqlite"))
    with pytest.raises(LedgerError, match=r"^the cache of what operators saw .*operators\.sqlite cannot be written"):
        asyncio.run(sightings.look(Counting(), [look("a")]))
    sightings.close()


def test_a_cache_of_another_version_is_not_misread(tmp_path: Path) -> None:
    path = tmp_path / "operators.sqlite"
    sightings = Sightings(str(path))
    asyncio.run(sightings.look(Counting(), [look("a")]))
    sightings.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE sightings_about SET version = 7")
    connection.close()
    sightings = Sightings(str(path))
    with pytest.raises(LedgerError, match="the cache of what operators saw has version 7"):
        asyncio.run(sightings.look(Counting(), [look("a")]))
    sightings.close()
