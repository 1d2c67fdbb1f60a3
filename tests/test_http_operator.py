"""Operators over HTTP: against the real server, and against one that answers from a script."""

import asyncio
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import dagster as dg
import pytest
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mmat_dagster.operators.observation import CUT
from mmat_dagster.operators.purposes import PURPOSES
from mmat_dagster.tools import Failed, Look, OperatorUnavailable, Sight
from resources.http_operator import HttpFaceDetection, HttpImageCaption, HttpLabelBbox, HttpOCR, HttpOperator
from tests.operator_peers import Measuring, Speaking, look_at, picture, running
from tests.operator_script import (
    BAD,
    GOOD,
    LISTED,
    HttpMeasuring,
    Scripted,
    answer,
    error,
    make_client,
    scripted,
    see,
    serve_app,
    stop_of,
)
from tests.test_gpt4o_key import all_of

TOKEN = "t0ken-that-nobody-may-see"


@pytest.fixture(scope="module")
def real() -> Iterator[tuple[Measuring, str]]:
    operator = Measuring()
    with running(serve_app(operator, Speaking(Failed(detail="too dark")), token=TOKEN)) as url:
        yield operator, url


async def test_images_are_looked_at_by_the_server(real: tuple[Measuring, str], tmp_path: Path) -> None:
    client = make_client(real[1], token=TOKEN)
    (tmp_path / "a.png").write_bytes(GOOD[1])
    on_disk = Look(image=tmp_path / "a.png", sha256=look_at(GOOD[1]).sha256)
    asked = look_at(GOOD[0], "How?", ("cät", "\ud800"))
    sights = await client.look([asked, on_disk, look_at(b"no image")])
    assert sights[:2] == [
        Sight(text="20x10 How? cät ?", details={"size": [20, 10]}),
        Sight(text="21x10", details={"size": [21, 10]}),
    ]
    assert isinstance(sights[2], Failed)
    assert sights[2].detail.startswith("these bytes begin like no image")
    assert client.version == "measure 1 max_chars=4000"
    assert await client.look([]) == []


async def test_large_images_are_sent_whole_and_too_large_ones_fail_alone(real: tuple[Measuring, str]) -> None:
    client = make_client(real[1], token=TOKEN)
    large = picture(1200, 900, kind="BMP")
    assert 2_000_000 < len(large) < 5_000_000
    told = await see(client, large, picture(2000, 900, kind="BMP"), picture(6000, 6000, kind="BMP"), GOOD[0])
    assert told[0] == Sight(text="1200x900", details={"size": [1200, 900]})
    assert told[3] == Sight(text="20x10", details={"size": [20, 10]})
    for failed in told[1:3]:
        assert failed == Failed(detail="the body is longer than 5,000,000 bytes")


async def test_an_operator_that_fails_at_an_image_is_quoted(real: tuple[Measuring, str]) -> None:
    class HttpSpeaking(HttpMeasuring):
        name: ClassVar[str] = "speak"

    assert await see(make_client(real[1], HttpSpeaking, token=TOKEN)) == [Failed(detail="too dark")]


async def test_files_that_are_gone_or_have_changed_fail_alone(real: tuple[Measuring, str], tmp_path: Path) -> None:
    (tmp_path / "changed.png").write_bytes(GOOD[1])
    looks = [Look(image=tmp_path / name, sha256=look_at(GOOD[0]).sha256) for name in ("absent.png", "changed.png")]
    assert await make_client(real[1], token=TOKEN).look(looks) == [
        Failed(detail="No such file or directory"),
        Failed(detail="the image has changed since its record was built"),
    ]


async def test_long_observations_are_cut_on_one_line() -> None:
    with scripted(answer(text="a\nb " + "c" * 100)) as (_, url):
        client = make_client(url, max_chars=30)
        assert await see(client) == [Sight(text="a b " + "c" * 20 + CUT)]
        assert client.version == "measure 1 max_chars=30"


def test_each_operator_sends_what_it_depends_on_and_nothing_else() -> None:
    look = look_at(GOOD[0], "Who?", ("cat",))
    kinds = (HttpOCR, HttpFaceDetection, HttpLabelBbox, HttpImageCaption)
    assert {kind.name: kind().parameters(look) for kind in kinds} == {
        "ocr": "",
        "face_detection": "",
        "label_bbox": '{"question":"Who?","phrases":["cat"]}',
        "image_caption": '{"question":"Who?"}',
    }
    assert {kind.name: kind.purpose for kind in kinds} == dict(PURPOSES)


@pytest.mark.parametrize(
    "fields", [{"max_chars": 20}, {"timeout_s": 0}, {"concurrency": 0}, {"max_retries": -1}, {"give_up_s": 0}]
)
@pytest.mark.parametrize("kind", [HttpOperator, HttpOCR])
def test_fields_out_of_range_are_refused(kind: type[HttpOperator], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        kind(**fields)


def test_a_run_looks_at_images_by_the_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", TOKEN)

    @dg.asset
    def seen(operator: HttpMeasuring) -> list[str]:
        return [operator.version, *(repr(each) for each in asyncio.run(see(operator)))]

    with scripted() as (server, url):
        client = HttpMeasuring(url=url, token=dg.EnvVar("A_TOKEN"), allowed_hosts=["127.0.0.1"])
        result = dg.materialize([seen], resources={"operator": client})
        told = result.output_for_node("seen")
        assert told == ["measure 1 max_chars=4000", repr(Sight(text="seen"))]
        assert {headers["authorization"] for headers in server.headers} == {f"Bearer {TOKEN}"}


def test_the_version_is_asked_for_once_even_within_a_running_loop() -> None:
    with scripted() as (server, url):
        client = make_client(url)

        async def read_it() -> str:
            return client.version

        assert asyncio.run(read_it()) == client.version == "measure 1 max_chars=4000"
        assert asyncio.run(see(client)) == [Sight(text="seen")]
        assert server.listings == 1


def test_one_client_works_in_several_loops_at_once_and_sessions_are_shared() -> None:
    async def work(client: HttpOperator, number: int) -> Sequence[Sight | Failed]:
        async with client.session("outer"), client.session("inner"):
            return [*await see(client, GOOD[number]), *await see(client, GOOD[number + 1])]

    with scripted() as (server, url):
        client = make_client(url)
        threads = [
            threading.Thread(target=lambda number=number: asyncio.run(work(client, number))) for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(server.images) == 8
        assert server.listings == 1


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (error(500, "out of luck"), "status 500 out of luck"),
        (error(502), "status 502 no"),
        (error(504), "status 504 no"),
        (error(408), "status 408 no"),
        (Response("<html>Bad\n gateway", 502, media_type="text/html"), "status 502 <html>Bad gateway"),
        (Response("hello", media_type="text/plain"), "the answer is text/plain, not application/json"),
        (Response("hello", media_type="application/json"), "the answer does not fit: Invalid JSON: expected value .*"),
        (Response(b"\x1f\x8b\x08", headers={"Content-Encoding": "gzip"}, media_type="application/json"), ".*JSON.*"),
        (answer(text=None), "the answer does not fit: text: Input should be a valid string"),
        (Response("{}", media_type="application/json"), "the answer does not fit: operator: Field required"),
        (answer(operator="ocr"), "the answer is from the operator 'ocr'"),
        (answer(details="x" * 3000), "the answer is longer than 2,000 bytes"),
    ],
)
async def test_trouble_that_passes_is_waited_out_and_trouble_that_stays_fails_one_image(
    trouble: Response, said: str
) -> None:
    with scripted(trouble, trouble) as (server, url):
        client = make_client(url, max_response_bytes=2000)
        assert await see(client) == [Sight(text="seen")]
        assert len(server.images) == 3
    server = Scripted(lambda image: trouble if image == BAD else answer())
    with running(server.app) as url:
        told = await see(make_client(url, max_response_bytes=2000), GOOD[0], BAD, GOOD[1])
    assert [told[0], told[2]] == [Sight(text="seen")] * 2
    assert isinstance(told[1], Failed)
    assert re.fullmatch(f"the server failed at this image 3 times, at last: {said}", told[1].detail)
    assert server.images.count(BAD) == 3


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    async def endless(request: Request, image: bytes) -> Response:
        async def pieces() -> Any:
            while True:
                yield b"x" * 10_000
                await asyncio.sleep(0)

        return StreamingResponse(pieces(), media_type="application/json")

    with scripted(endless) as (server, url):
        assert await see(make_client(url)) == [Sight(text="seen")]
        assert len(server.images) == 2


async def test_a_slow_answer_is_given_up_and_asked_for_again() -> None:
    async def slow(request: Request, image: bytes) -> Response:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        return answer()

    with scripted(slow) as (server, url):
        assert await see(make_client(url, timeout_s=0.3)) == [Sight(text="seen")]
        assert len(server.images) == 2


def raw_server(reply: bytes, stops: threading.Event, listener: socket.socket) -> None:
    """List the operators; to every look give `reply` as it is, and hang up."""
    listener.settimeout(0.05)
    listed = json.dumps(LISTED).encode()
    while not stops.is_set():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(5)
            head = connection.recv(65536)
            if head.startswith(b"GET"):
                kind = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                connection.sendall(kind + f"Content-Length: {len(listed)}\r\n\r\n".encode() + listed)
            else:
                connection.sendall(reply)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\0\1\2 no http\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"operator": ',
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_lines_that_are_cut_or_speak_no_http_fail_one_image(reply: bytes) -> None:
    stops, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=raw_server, args=(reply, stops, listener), daemon=True)
    thread.start()
    try:
        (told,) = await see(make_client(f"http://127.0.0.1:{listener.getsockname()[1]}"))
    finally:
        stops.set()
        thread.join(10)
        listener.close()
    assert isinstance(told, Failed)
    assert told.detail.startswith("the server failed at this image 3 times, at last: ")


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_an_image_that_is_refused_fails_at_once(status: int) -> None:
    with scripted(error(status, "not\n this one")) as (server, url):
        assert await see(make_client(url)) == [Failed(detail="not this one")]
        assert len(server.images) == 1


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (error(401, "bad"), "refuses the token: set `token`"),
        (error(403, "bad"), r"denies access: .* \(status 403 bad\)"),
        (error(404, "there is ocr"), r"does not serve the operator measure: .* \(status 404 there is ocr\)"),
        (error(421, "no"), "start it with --allowed-host 127.0.0.1"),
        (error(405, "no"), "does not speak the contract of operators: check `url`"),
        (error(204), "does not speak"),
        (answer(version="measure 2"), "was changed in mid-run, from version 'measure 1' to 'measure 2'"),
    ],
)
async def test_what_no_image_can_get_past_ends_the_run(reply: Response, said: str) -> None:
    with scripted(reply) as (server, url):
        with pytest.raises(OperatorUnavailable, match=f"^measure: the server {url} .*{said}"):
            await see(make_client(url))
        assert len(server.images) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_never_followed(status: int) -> None:
    with scripted() as (other, elsewhere), scripted(error(status, "", Location=f"{elsewhere}/taken")) as (_, url):
        said = await stop_of(make_client(url))
        assert f"sends elsewhere ({status} {elsewhere}/taken), where nobody follows" in said
        assert not other.headers
        assert not other.elsewhere


@pytest.mark.parametrize(
    ("listing", "said"),
    [
        (answer(), "does not tell its operators .*operators: Field required"),
        (Response(json.dumps({"operators": []}), media_type="application/json"), "does not serve this .* serves: none"),
        (error(401), "refuses the token"),
        (error(302, Location="http://127.0.0.1:1/"), "sends elsewhere"),
        (error(500, "broken"), r"does not tell its operators \(status 500 broken\): start it"),
        (error(422, "what?"), r"does not tell its operators \(what\?\)"),
    ],
)
async def test_nothing_is_sent_to_a_server_that_does_not_tell_its_version(listing: Response, said: str) -> None:
    with scripted() as (server, url):
        server.listing = listing
        client = make_client(url)
        with pytest.raises(OperatorUnavailable, match=said):
            _ = client.version
        with pytest.raises(OperatorUnavailable, match=said):
            await see(client)
        assert not server.images


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": "http://gpu.example:8100"}, "the host gpu.example:8100 of `url` is not one of `allowed_hosts`"),
        ({"url": "http://127.0.0.1.nip.io"}, "is not one of `allowed_hosts`"),
        ({"url": "http://0.0.0.0:8100"}, "is not one of"),
        ({"url": "http://127.0.0.1:8101", "allowed_hosts": ["127.0.0.1:8100"]}, r"not one of .* \(127.0.0.1:8100\)"),
        ({"url": "https://gpu", "allowed_hosts": ["gpu:80"]}, "not one of"),
        ({"url": "http://127.0.0.1", "allowed_hosts": []}, r"not one of .* \(none\)"),
        ({"url": f"http://me:{TOKEN}@127.0.0.1"}, "must not hold a name or password"),
        ({"url": "http://localhost@evil.example"}, "must not hold a name or password"),
        ({"url": "file:///etc/passwd"}, "must be like http://gpu:8100"),
        ({"url": "127.0.0.1:8100"}, "must be like"),
        ({"url": "http://127.0.0.1/?a"}, "must be like"),
        ({"url": "http://[::1"}, "must be like"),
        ({"url": "http://127.0.0.1:99999"}, "not one of"),
        ({"token": f"{TOKEN}\n"[::-1] + "x\ny"}, "the token holds a character that no token has"),
    ],
)
async def test_settings_that_must_not_be_used_are_refused_before_anything_is_sent(
    fields: dict[str, Any], said: str
) -> None:
    client = make_client(**{"url": "http://127.0.0.1:9", **fields})
    with pytest.raises(OperatorUnavailable, match=said) as stop:
        await see(client)
    assert TOKEN not in str(stop.value)
    with pytest.raises(OperatorUnavailable, match=said):
        _ = client.version


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://LOCALHOST:9/", ["localhost"]),
        ("http://localhost.:9", ["localhost:9"]),
        ("http://127.0.0.1:9/behind/a/proxy", ["127.0.0.1:9"]),
        ("https://localhost:9", ["LocalHost:9"]),
        ("http://[::1]:9", ["::1"]),
    ],
)
async def test_hosts_that_are_allowed_may_be_spelled_as_one_likes(url: str, allowed: list[str]) -> None:
    assert "does not tell its operators" in await stop_of(make_client(url, allowed_hosts=allowed))


async def test_who_gives_up_leaves_nothing_behind() -> None:
    async def slow(request: Request, image: bytes) -> Response:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        return answer()

    with scripted(slow, slow) as (_, url):
        client = make_client(url, concurrency=2)
        _ = client.version
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(see(client, *GOOD[:5]), 0.3)
        assert not client._lines
        assert await see(client) == [Sight(text="seen")]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 422, 429, 500, 503, 302])
async def test_the_token_goes_into_one_header_and_nowhere_else(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    trouble = error(status, f"your token is {TOKEN}", Location=f"/{TOKEN}", Retry_After="0")
    with scripted(then=trouble) as (server, url):
        client = make_client(url, token=f" {TOKEN}\n", give_up_s=0.2)
        try:
            told = repr(await see(client))
        except OperatorUnavailable as stop:
            told = all_of(stop)
        assert {headers.get("authorization") for headers in server.headers} == {f"Bearer {TOKEN}"}
        told += repr(client) + str(client) + client.version + caplog.text
    assert TOKEN not in told


@pytest.mark.parametrize("status", [200, 403, 422, 500])
async def test_a_token_is_not_told_in_pieces_or_in_other_forms(status: int) -> None:
    odd = 'an/0dd "t0ken" that  is long'
    # The text is cut where the token stands, and its spaces are folded.
    quoted = [f"{'x' * 185} {odd}", json.dumps(odd), quote(odd)]
    for text in quoted:
        reply = answer(text=text) if status == 200 else Response(text, status)
        with scripted(then=reply) as (server, url):
            try:
                told = repr(await see(make_client(url, token=odd, give_up_s=0.2)))
            except OperatorUnavailable as stop:
                told = all_of(stop)
            assert server.headers[0]["authorization"] == f"Bearer {odd}"
        assert "0dd" not in told


async def test_without_a_token_none_is_sent_and_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name)
    with scripted() as (server, url):
        assert await see(make_client(url)) == [Sight(text="seen")]
        assert all("authorization" not in headers for headers in server.headers)
