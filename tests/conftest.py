"""Fixtures that several test files share."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.chat_server import ChatServer
from tests.google_server import GoogleServer

# No test asserts a time, and an example may take long while others use the machine.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure() -> None:
    """Heed SIGINT also where a shell runs pytest in the background and has it ignored.

    Dagster treats SIGTERM as it finds SIGINT treated, and a pool of processes that ignore SIGTERM never ends.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_proxy_on_loopback() -> Iterator[None]:
    """Reach loopback directly, whatever proxy stands between this machine and the rest; modules' fixtures do so too."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1,localhost")
        yield


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
