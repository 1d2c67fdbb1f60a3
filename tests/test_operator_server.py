"""The server of operators, asked over real HTTP, by clients of every kind."""

import io
import json
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from PIL import Image

from mmat_dagster.tools import Failed, Look, Operator, OperatorUnavailable, Sight
from resources.operator_contract import Listing, Problem
from resources.operator_server import WAITING_PER_SLOT, create_app
from tests.operator_peers import Measuring, Speaking, Unversioned, Waiting, picture, running
from tests.processes import wait_until

MAX_BYTES = 200_000
SECRET = "s3cret-token-of-the-server"
BOUNDARY = "frontier"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
PIXELS = picture()

# Each request by a connection of its own, as from a client of its own, which would read all certificates first.
CLIENT = httpx2.Client(trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0))

measuring = Measuring()


def make_app(*operators: Operator, **settings: Any) -> Any:
    known = {operator.name: operator for operator in operators or (measuring,)}
    return create_app(known, **{"max_bytes": MAX_BYTES, "max_concurrent": 2, **settings})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(make_app(measuring, Speaking(Failed(detail="too dark to see")))) as address:
        yield address


def post(url: str, image: bytes = PIXELS, name: str = "measure", **more: Any) -> httpx2.Response:
    return CLIENT.post(f"{url}/v1/operators/{name}", files={"image": ("x.gif", image)}, timeout=20.0, **more)


def post_form(url: str, *parts: str | bytes) -> httpx2.Response:
    """Send a form, each of its parts from its first header on."""
    raw = [part if isinstance(part, bytes) else part.encode() for part in parts]
    body = b"".join(b"--" + BOUNDARY.encode() + b"\r\n" + part + b"\r\n" for part in raw)
    body += f"--{BOUNDARY}--\r\n".encode()
    return CLIENT.post(f"{url}/v1/operators/measure", content=body, headers=FORM)


def check_problem(response: httpx2.Response, status: int, code: str, message: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    error = Problem.model_validate_json(response.content).error
    assert error.code == code
    assert re.search(message, error.message)


def file_part(content: bytes = PIXELS, name: str = "image") -> bytes:
    return f'Content-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'.encode() + content


def field_part(content: str, name: str = "parameters") -> str:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{content}'


def test_an_image_is_looked_at_with_what_is_asked_of_it(url: str) -> None:
    response = post(url, data={"parameters": json.dumps({"question": "How läng?", "phrases": ["a", "b"]})})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    told = {"operator": "measure", "version": "measure 1", "text": "40x30 How läng? a b", "details": {"size": [40, 30]}}
    assert response.json() == told
    look = measuring.looks[-1]
    assert (look.image, look.question, look.phrases) == (PIXELS, "How läng?", ("a", "b"))
    assert (look.width, look.height) == (40, 30)
    assert len(look.sha256) == 64


def test_parameters_may_be_left_out(url: str) -> None:
    assert post(url).json()["text"] == "40x30"
    assert post(url, data={"parameters": "{}"}).json()["text"] == "40x30"


def test_the_operators_are_listed(url: str) -> None:
    listing = Listing.model_validate_json(CLIENT.get(f"{url}/v1/operators").content)
    assert [(each.name, each.purpose, each.version) for each in listing.operators] == [
        ("measure", "tells how large the image is", "measure 1"),
        ("speak", "says what it was told to say", "speak 1"),
    ]
    assert CLIENT.get(f"{url}/healthz").json() == {"status": "ok"}


def test_the_openapi_document_tells_every_response_and_loads_nothing_from_elsewhere(url: str) -> None:
    document = CLIENT.get(f"{url}/openapi.json").json()
    operation = document["paths"]["/v1/operators/{name}"]["post"]
    assert sorted(operation["responses"]) == "200 400 404 408 413 415 421 422 500 503".split()
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["image"]
    assert form["properties"]["parameters"]["additionalProperties"] is False
    assert "HTTPValidationError" not in json.dumps(document)
    assert [CLIENT.get(f"{url}/{page}").status_code for page in ("docs", "redoc")] == [404, 404]


def test_an_operator_that_fails_at_an_image_says_why(url: str) -> None:
    check_problem(post(url, name="speak"), 422, "failed", "^too dark to see$")


def test_an_unknown_operator_is_told_from_those_that_there_are(url: str) -> None:
    check_problem(post(url, name="occr"), 404, "unknown", "no operator 'occr'; there are: measure, speak$")
    check_problem(post(url, name="%F0%9F%90%88%00"), 404, "unknown", "there are: measure")


def test_paths_and_methods_that_there_are_not_get_the_same_kind_of_answer(url: str) -> None:
    check_problem(CLIENT.get(f"{url}/v2"), 404, "unknown", "Not Found")
    check_problem(CLIENT.get(f"{url}/v1/operators/"), 404, "unknown", "Not Found")
    response = CLIENT.put(f"{url}/v1/operators/measure")
    check_problem(response, 405, "method_not_allowed", "Method Not Allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ("", "parameters: Invalid JSON"),
        ("{", "parameters: Invalid JSON"),
        ("[]", "parameters: Input should be an object"),
        ('{"questions": ""}', "parameters.questions: Extra inputs are not permitted"),
        ('{"question": 3}', "parameters.question: Input should be a valid string"),
        ('{"question": null}', "parameters.question: Input should be a valid string"),
        ('{"phrases": "cat"}', "parameters.phrases: Input should be a valid array|list"),
        ('{"phrases": [1]}', "parameters.phrases.0: Input should be a valid string"),
        (json.dumps({"phrases": ["a"] * 257}), "parameters.phrases: .* at most 256"),
        (json.dumps({"question": "a" * 20_001}), "parameters.question: .* at most 20000"),
        ('{"question": "\\ud800"}', "parameters: Invalid JSON"),
        ("[" * 5000, "parameters: Invalid JSON"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(url: str, parameters: str, complaint: str) -> None:
    check_problem(post_form(url, file_part(), field_part(parameters)), 400, "malformed", f"^({complaint})")


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([], "must have `image`"),
        ([field_part("{}")], "must have `image`"),
        ([field_part("not a file", "image")], "must have `image`, a file"),
        ([file_part(), file_part()], "Too many files"),
        ([file_part(), field_part("{}"), field_part("{}")], "Too many fields"),
        ([file_part(), field_part("x", "mode")], "has a part 'mode'"),
        ([file_part(name="picture")], "has a part 'picture'"),
        ([file_part(name="parameters")], "must have `image`"),
        ([b"X-No-Disposition: 1\r\n\r\nx"], '"name" must be provided'),
        ([b"no header at all"], "Invalid multipart"),
    ],
)
def test_forms_of_other_parts_are_refused(url: str, parts: Sequence[str | bytes], complaint: str) -> None:
    check_problem(post_form(url, *parts), 400, "malformed", complaint)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "image/png"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": "multipart/form-data; boundary="},
        {"Content-Type": 'multipart/form-data; boundary="' + "x" * 3000 + '"'},
        {"Content-Type": "multipart/mixed; boundary=frontier"},
        {"Content-Type": "\xff\xfe"},
    ],
)
@pytest.mark.parametrize("body", [b"", PIXELS, b"--frontier\r\n", b"--frontier--", b"image=x&parameters=%7B%7D"])
def test_bodies_that_are_no_form_are_refused(url: str, headers: dict[str, str], body: bytes) -> None:
    told = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    check_problem(CLIENT.post(f"{url}/v1/operators/measure", content=body, headers=told), 400, "malformed", ".")


@pytest.mark.parametrize(
    "body",
    [
        b"--frontier\r\n" + file_part(),
        b"--frontier\r\n" + file_part() + b"\r\n--frontier\r\n",
        b"--frontier\r\n" + file_part() + b"\r\n--frontier\r\n" + field_part("{}").encode(),
        b"--frontier\r\n" + file_part(PIXELS * 20_000)[: MAX_BYTES - 100],
    ],
)
def test_a_form_that_ends_too_soon_is_refused(url: str, body: bytes) -> None:
    response = CLIENT.post(f"{url}/v1/operators/measure", content=body, headers=FORM)
    check_problem(response, 400, "malformed", "not finished")


def odd_images() -> dict[str, tuple[bytes, int, str]]:
    """Return images, the status that each must get, and what must be said."""
    photo = picture(400, 300, "JPEG")
    frames = [Image.new("RGB", (40, 30), color) for color in ("red", "blue", "green")]
    moving = io.BytesIO()
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
    sideways, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(sideways, "JPEG", exif=exif)
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0\0\0\0\0\x08\x02\0\0\0"
    return {
        "empty": (b"", 415, "the image is empty"),
        "text": (b"no image", 415, "no image of a kind that is read: AVIF, BMP"),
        "html": (b"<html>", 415, "no image"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", 415, "no image"),
        "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', 415, "no image"),
        "without pixels": (header, 415, "no image"),
        "header cut off": (b"\xff\xd8\xff\xe0\0\x10JFIF", 422, "Truncated"),
        "cut off": (photo[: len(photo) // 2], 422, "truncated"),
        "cut off png": (picture(300, 300)[:-200], 422, "."),
        "too large": (b"P5 20000 5001 255\n", 422, "20000x5001 pixels are more than 100,000,000"),
        "far too large": (b"P5 99999999 99999999 255\n", 422, "exceeds limit"),
        "wide": (picture(30_000, 10), 200, "30000x10"),
        "small": (picture(1, 1), 200, "1x1"),
        "moving": (moving.getvalue(), 200, "40x30"),
        "four colours": (picture(kind="JPEG", mode="CMYK"), 200, "40x30"),
        "grey": (picture(mode="1"), 200, "40x30"),
        "transparent": (picture(mode="RGBA", kind="WEBP"), 200, "40x30"),
        "few colours": (picture(mode="P", color="red"), 200, "40x30"),
        "tiff": (picture(kind="TIFF"), 200, "40x30"),
        "bmp": (picture(kind="BMP"), 200, "40x30"),
        "sideways": (sideways.getvalue(), 200, "30x40"),
        "trailing rubbish": (photo + b"rubbish" * 100, 200, "400x300"),
    }


@pytest.mark.parametrize("kind", odd_images())
def test_odd_images_get_a_clear_answer(url: str, kind: str) -> None:
    image, status, told = odd_images()[kind]
    response = post(url, image)
    assert response.status_code == status
    assert re.search(told, response.text)
    if status == 200:
        width, height = response.json()["details"]["size"]
        assert (measuring.looks[-1].width, measuring.looks[-1].height) == (width, height)


def test_a_body_that_says_it_is_too_long_is_refused(url: str) -> None:
    check_problem(post(url, b"x" * MAX_BYTES), 413, "too_large", "longer than 200,000 bytes")


def test_a_body_of_unknown_length_is_counted_while_it_comes_in(url: str) -> None:

    def endless() -> Iterator[bytes]:
        yield b"--frontier\r\n" + file_part(b"")
        for _ in range(200):
            yield b"x" * 100_000

    response = CLIENT.post(f"{url}/v1/operators/measure", content=endless(), headers=FORM, timeout=20.0)
    check_problem(response, 413, "too_large", "longer than 200,000 bytes")


def test_parameters_alone_cannot_fill_the_memory() -> None:
    with running(make_app(max_bytes=5_000_000)) as url:
        response = post_form(url, field_part("x" * 2_000_000), file_part())
        check_problem(response, 400, "malformed", "Part exceeded maximum size")


def host_answers(url: str, host: str) -> int:
    return CLIENT.get(f"{url}/healthz", headers={"Host": host}).status_code


def test_only_hosts_that_are_allowed_are_answered(url: str) -> None:
    for good in ("localhost", "LOCALHOST:80", "127.0.0.1:8100", "[::1]:9", "localhost."):
        assert host_answers(url, good) == 200
    for bad in ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "a@localhost", "[::1", "localhost:x", ""):
        assert host_answers(url, bad) == 421
    response = post(url, headers={"Host": "rebound.example:8100"})
    check_problem(response, 421, "misdirected", "does not answer to the host")
    with running(make_app(allowed_hosts=["gpu:8100"])) as other:
        assert [host_answers(other, host) for host in ("gpu:8100", "gpu", "gpu:8101", "localhost")] == [
            200,
            421,
            421,
            421,
        ]


def test_a_token_is_asked_for_before_anything_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with running(make_app(token=SECRET)) as url:
        for shown in (
            None,
            "",
            "Bearer",
            "Bearer wrong",
            f"Basic {SECRET}",
            f"Bearer {SECRET}x",
            "Bearer \xff",
            SECRET,
        ):
            headers = {} if shown is None else {b"Authorization": shown.encode("latin-1")}
            response = post(url, name="unknown", headers=headers)
            check_problem(response, 401, "unauthorized", "missing or wrong")
            assert response.headers["www-authenticate"] == "Bearer"
            assert CLIENT.get(f"{url}/v1/operators", headers=headers).status_code == 401
        assert post(url, headers={"Authorization": f"Bearer {SECRET}"}).status_code == 200
        assert CLIENT.get(f"{url}/healthz").status_code == 200
        document = CLIENT.get(f"{url}/openapi.json").json()
    assert "401" in document["paths"]["/v1/operators"]["get"]["responses"]
    assert document["paths"]["/v1/operators"]["get"]["security"] == [{"HTTPBearer": []}]
    assert SECRET not in caplog.text + json.dumps(document)


def test_an_operator_that_is_unavailable_asks_to_come_back_later() -> None:
    away = Speaking(OperatorUnavailable("the model does not load"))
    with running(make_app(away)) as url:
        response = post(url, name="speak")
        check_problem(response, 503, "unavailable", "^the model does not load$")
        assert response.headers["retry-after"] == "10"
    with running(make_app(Unversioned(Sight(text="never")))) as url:
        for response in (post(url, name="speak"), CLIENT.get(f"{url}/v1/operators")):
            check_problem(response, 503, "unavailable", "^the model is not installed$")


def test_what_an_operator_says_arrives_as_sound_json_whatever_it_is() -> None:
    strange = Speaking(Sight(text="half \ud83d a smile\0", details={"a": [float("nan"), "\udc00", None, 1e400]}))
    with running(make_app(strange)) as url:
        told = post(url, name="speak").json()
        strange.said = Failed(detail="\udc80")
        check_problem(post(url, name="speak"), 422, "failed", r"^\?$")
    assert told["text"] == "half ? a smile\0"
    assert told["details"] == {"a": [None, "?", None, None]}


def test_a_broken_operator_is_told_without_its_entrails() -> None:
    with running(make_app(Speaking(RuntimeError("password=hunter2")))) as url:
        response = post(url, name="speak")
        check_problem(response, 500, "internal", "server's log")
        assert "hunter2" not in response.text


def test_looks_go_through_the_function_that_is_given() -> None:
    asked: list[str] = []

    async def remember(operator: Operator, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        asked.append(operator.name)
        return [Sight(text="remembered")] * len(looks)

    with running(make_app(look=remember)) as url:
        assert post(url).json()["text"] == "remembered"
    assert asked == ["measure"]


def test_sessions_are_open_while_the_server_runs() -> None:
    class Sessions(Measuring):
        is_open = False

        @asynccontextmanager
        async def session(self, label: str) -> Any:
            self.is_open = True
            yield
            self.is_open = False

    operator = Sessions()
    app = make_app(operator)
    with running(app) as url:
        assert post(url).status_code == 200
        assert operator.is_open


def test_so_many_are_looked_at_at_once_some_wait_and_the_rest_come_back_later() -> None:
    waiting = Waiting()
    places = 2 * (1 + WAITING_PER_SLOT)
    with running(make_app(waiting)) as url, ThreadPoolExecutor(places + 5) as clients:
        answers = [clients.submit(post, url, name="wait") for _ in range(places)]
        wait_until(lambda: waiting.looking == 2)
        wait_until(lambda: is_full(url))
        check_problem(post(url, name="wait"), 503, "busy", "too many requests wait")
        assert post(url, name="wait").headers["retry-after"] == "1"
        assert CLIENT.get(f"{url}/healthz").status_code == 200
        waiting.go.set()
        assert [answer.result().status_code for answer in answers] == [200] * places
        assert post(url, name="wait").status_code == 200
    assert waiting.most == 2


def test_who_hangs_up_leaves_nothing_behind() -> None:
    waiting = Waiting()
    with running(make_app(waiting, max_concurrent=1)) as url:
        for _ in range(12):  # more than there are places
            hang_up_when(url, lambda: waiting.begun.acquire(timeout=5))
            wait_until(lambda: waiting.looking == 0)
        assert waiting.cancelled == 12
        waiting.go.set()
        assert post(url, name="wait").status_code == 200


def test_who_hangs_up_in_the_middle_of_the_form_leaves_nothing_behind() -> None:
    with running(make_app(max_concurrent=1)) as url:
        for _ in range(12):
            hang_up_when(url, lambda: True, share=0.5)
        assert post(url).status_code == 200


def is_full(url: str) -> bool:
    """Say whether a request is turned away, before its form is looked into."""
    return CLIENT.post(f"{url}/v1/operators/wait").status_code == 503


def hang_up_when(url: str, is_time: Callable[[], bool], share: float = 1.0) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    body = b"--frontier\r\n" + file_part() + b"\r\n--frontier--\r\n"
    head = f"POST /v1/operators/{'wait' if share == 1.0 else 'measure'} HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Content-Type: {FORM['Content-Type']}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode() + body[: int(share * len(body))])
        assert is_time()
