"""What room a Ray cluster has: for what is waited, and what is said of it."""

import pytest

from resources.ray_news import Audience, Follower, News, Report, lost
from resources.ray_room import Room, Waiting


def room(*machines: float, free: float = 0.0) -> Room:
    return Room(resource="GPU", machines=machines, free=free, may_grow=True)


def test_workers_fit_into_each_machine_by_themselves() -> None:
    assert room(1.0, 1.0).places(0.25) == 8
    assert room(1.0, 1.0).places(2.0) == 0
    assert room(0.3, 0.3).places(0.1) == 6
    assert room().places(1.0) == 0


@pytest.mark.parametrize(
    ("has", "awaited"),
    [
        (room(), "a machine with 1 GPUs to join the Ray cluster (the largest has 0)"),
        (room(0.5, 0.5, free=1.0), "a machine with 1 GPUs to join the Ray cluster (the largest has 0.5)"),
        (room(1.0, 2.0, free=0.5), "1 of the Ray cluster's 3 GPUs, which others use now"),
        (room(1.0, free=1.0), None),
    ],
)
def test_it_is_told_for_what_a_worker_waits(has: Room, awaited: str | None) -> None:
    assert has.awaited(1.0) == awaited


def test_what_is_waited_for_is_said_once_in_a_while_and_at_once_where_it_changes() -> None:
    said: list[str] = []
    waiting = Waiting(said.append)
    for what in ("a card", "a card", None, "a card", "a machine", "a machine"):
        waiting.hear(what)
    assert said == ["a card", "a card", "a machine"]


def report(index: int) -> Report:
    return Report(index=index)


def test_a_part_that_is_begun_again_is_told_once_and_so_is_what_parts_wait_for() -> None:
    said: list[str] = []

    def watch(progress: object) -> None:
        pass

    follower = Follower(Audience(watch=watch, spent={}, say=said.append), "a CPU")
    follower.hear(News(reports=[], awaited=None))
    follower.hear(News(reports=[report(0), report(1)], awaited=None))
    assert said == ["parts wait for a CPU"]
    again = News(reports=[report(0), report(1), report(0), report(2)], awaited=None)
    follower.hear(again)
    follower.hear(again)
    assert said[1:] == [lost([0])]
    assert "part 0 is made again" in said[1]
