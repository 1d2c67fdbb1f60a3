"""Fixtures that several test files share."""

from collections.abc import Iterator

import pytest

from tests.chat_server import ChatServer
from tests.google_server import GoogleServer


@pytest.fixture(autouse=True)
def _no_proxy_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach loopback directly, whatever proxy stands between this machine and the rest."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    """Yield a running OpenAI-compatible server on loopback, without a script yet."""
    with ChatServer() as server:
        yield server


@pytest.fixture(scope="session")
def _lasting_google_server() -> Iterator[GoogleServer]:
    with GoogleServer() as server:
        yield server


@pytest.fixture
def google_server(_lasting_google_server: GoogleServer) -> GoogleServer:
    """Return a running search server on loopback, without a script yet; to start one takes longer than most tests."""
    _lasting_google_server.reset()
    return _lasting_google_server
