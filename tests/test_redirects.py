"""Nobody who is asked can send a request, its key or its images to another host."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mmat_dagster.interfaces import TeacherUnavailable
from mmat_dagster.training.executor import ServingFailed
from resources.model_listing import MAX_BYTES, listed_models
from tests.asking import KEY, ask, make_model
from tests.loopback import Served, Server

STATUSES = [301, 302, 303, 307, 308]
# Where a cloud's machines learn their own credentials.
METADATA = "http://169.254.169.254/latest/meta-data/iam/"
COMPLETION = json.dumps({"choices": [{"message": {"content": "{}"}}]})


@dataclass
class Host:
    """Answers every request with `status` and `body`, and keeps what it was sent."""

    status: int = 200
    location: str = ""
    body: str = COMPLETION
    received: list[Request] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        self.received.append(request)
        headers = {"location": self.location} if self.location else {}
        return Response(self.body, self.status, headers, "application/json")


@contextmanager
def served(host: Host) -> Iterator[str]:
    app = Starlette(routes=[Route("/{path:path}", host.answer, methods=["GET", "POST"])])
    with Served(Server(uvicorn.Config(app, log_config=None, lifespan="off")), "host") as server:
        yield server.address


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, str, Host, str]]:
    first, other = Host(), Host()
    with served(first) as url, served(other) as elsewhere:
        yield first, url, other, elsewhere


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("target", ["another host", METADATA])
async def test_a_chat_server_cannot_send_requests_elsewhere(
    hosts: tuple[Host, str, Host, str], tmp_path: Path, status: int, target: str
) -> None:
    first, url, other, elsewhere = hosts
    first.status, first.location = status, elsewhere if target == "another host" else target
    other.received.clear()
    with pytest.raises(TeacherUnavailable, match=rf"set `base_url` to where it leads \({first.location}\)"):
        await ask(make_model(f"{url}/v1", tmp_path, check_model=False))
    with pytest.raises(TeacherUnavailable, match="sends elsewhere, where nobody follows"):
        await ask(make_model(f"{url}/v1", tmp_path, check_model=True))
    assert not other.received


@pytest.mark.parametrize("status", STATUSES)
def test_a_server_of_students_cannot_send_the_key_elsewhere(hosts: tuple[Host, str, Host, str], status: int) -> None:
    first, url, other, elsewhere = hosts
    first.status, first.location = status, f"{elsewhere}/v1/models"
    other.received.clear()
    with pytest.raises(ServingFailed, match=f"sends elsewhere .status {status}."):
        listed_models(f"{url}/v1", KEY)
    assert first.received[-1].headers["authorization"] == f"Bearer {KEY}"
    assert not other.received


@pytest.mark.parametrize(
    "base_url",
    ["file:///etc", "ftp://127.0.0.1/v1", "data:application/json,", "127.0.0.1:9", "http://[::1", "http://me:pw@host"],
)
def test_only_the_web_is_asked_for_models(base_url: str) -> None:
    with pytest.raises(ServingFailed, match="must be like https://host/v1") as refused:
        listed_models(base_url, KEY)
    assert "pw" not in str(refused.value)


def test_an_endless_list_of_models_is_not_read_to_its_end(hosts: tuple[Host, str, Host, str]) -> None:
    first, url, *_ = hosts
    first.status, first.location, first.body = 200, "", json.dumps({"data": [{"id": "x" * MAX_BYTES}]})
    with pytest.raises(ServingFailed, match="lists no models"):
        listed_models(url)
