"""Operators over HTTP when the server is in trouble: it is waited for, and no image pays for it."""

import asyncio
import threading
from contextlib import ExitStack

from starlette.requests import Request
from starlette.responses import Response

from mmat_dagster.tools import Failed, Sight
from tests.operator_peers import Measuring, picture, running
from tests.operator_script import BAD, GOOD, Scripted, answer, error, make_client, scripted, see, serve_app, stop_of


async def test_a_poisoned_image_alone_never_stops_a_run() -> None:
    server = Scripted(lambda image: error(500, "CUDA error") if image == BAD else answer())
    with running(server.app) as url:
        client = make_client(url, breaker_failures=2, concurrency=1)
        for images in ([BAD], [BAD, BAD, BAD], [GOOD[0], BAD, GOOD[1]], [BAD]):
            told = await see(client, *images)
            assert [isinstance(each, Failed) for each in told] == [image == BAD for image in images]


async def test_several_poisoned_images_among_many_do_not_stop_a_run_either() -> None:
    poisoned = [picture(13, 13 + number) for number in range(7)]
    server = Scripted(lambda image: error(500) if image in poisoned else answer())
    with running(server.app) as url:
        client = make_client(url, breaker_failures=3, concurrency=2, give_up_s=20.0, breaker_pause_s=0.02)
        told = await see(client, *poisoned, *GOOD)
    assert [isinstance(each, Failed) for each in told] == [True] * 7 + [False] * 12


async def test_a_server_that_comes_back_loses_nothing() -> None:
    away = 3 * [error(503, "loading", Retry_After="0"), error(500), error(429, "slowly", Retry_After="0.01")]
    with scripted(*away) as (_, url):
        assert await see(make_client(url, max_retries=5, give_up_s=20.0), *GOOD) == [Sight(text="seen")] * 12


async def test_a_server_whose_operator_fails_at_everything_ends_the_run() -> None:
    with scripted(then=error(500, "device lost")) as (server, url):
        client = make_client(url, breaker_failures=5, concurrency=4)
        said = await stop_of(client, *GOOD)
    assert f"measure: the server {url} has answered nothing for 1 s (at last: status 500 device lost)" in said
    assert server.most <= 4
    assert len(server.images) < 40


async def test_a_server_that_says_it_is_unavailable_is_waited_for_then_ends_the_run() -> None:
    away = error(503, "the model does not load", Retry_After="0.05")
    with scripted(then=away) as (_, url):
        said = await stop_of(make_client(url))
    assert "(at last: status 503 the model does not load): see whether it is up" in said


async def test_a_server_that_dies_ends_the_run_and_fails_no_image() -> None:
    with ExitStack() as alive:
        server = Scripted(lambda image: answer())
        url = alive.enter_context(running(server.app))
        client = make_client(url)
        async with client.session("work"):
            assert await see(client) == [Sight(text="seen")]
            await asyncio.to_thread(alive.close)
            said = await stop_of(client, *GOOD)
            assert "has answered nothing for 1 s (at last: " in said
            assert "run again" in said
            assert await stop_of(client, GOOD[0]) == said


async def test_a_server_that_hangs_fails_no_image_even_one_by_one() -> None:
    hangs = threading.Event()

    async def hang(request: Request, image: bytes) -> Response:
        while not hangs.is_set():  # noqa: ASYNC110  the event is a thread's
            await asyncio.sleep(0.01)
        return answer()

    with scripted(then=hang) as (server, url):
        client = make_client(url, timeout_s=0.1, max_retries=1)
        _ = client.version
        server.listing = error(504)
        said = await stop_of(client, GOOD[0])
        hangs.set()
    assert "has answered nothing" in said


async def test_a_server_that_is_restarted_in_between_is_found_again() -> None:
    server = Scripted(lambda image: answer())
    with running(server.app) as url:
        client = make_client(url, give_up_s=20.0)
        _ = client.version
    async with client.session("work"):
        waiting = asyncio.ensure_future(see(client, *GOOD))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        with running(server.app, int(url.rpartition(":")[2])):
            assert await waiting == [Sight(text="seen")] * 12


async def test_a_server_that_is_replaced_by_another_version_is_found_out() -> None:
    operator = Measuring()
    with running(serve_app(operator)) as url:
        client = make_client(url)
        await see(client)
    with running(serve_app(Measuring("measure 2")), int(url.rpartition(":")[2])):
        assert "changed in mid-run, from version 'measure 1' to 'measure 2': run again" in await stop_of(client)
        assert (await see(make_client(url)))[0] == Sight(text="20x10", details={"size": [20, 10]})


async def test_no_more_images_are_under_way_than_allowed() -> None:
    async def soon(request: Request, image: bytes) -> Response:
        await asyncio.sleep(0.03)
        return answer()

    with scripted(then=soon) as (server, url):
        client = make_client(url, concurrency=3)
        async with client.session("work"):
            await asyncio.gather(*(see(client, image) for image in GOOD))
    assert server.most == 3
