"""Serves operators over HTTP: the command serve-operators."""

import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING

from mmat_dagster.environment import read_environment
from mmat_dagster.tools import OperatorUnavailable
from resources.operator_contract import LOOPBACK, OPERATORS, TOKEN_VARIABLE, token_of_environment

if TYPE_CHECKING:
    from resources.open_operators import OpenOperators

NEEDED = ("fastapi", "python_multipart", "uvicorn")
EVERY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104  asked for by name, and refused without a token
# Longer than clients keep an idle connection: who closes first must not be the server, while a request is on its way.
KEEP_ALIVE_S = 75
# What is looked at is finished on a signal, at most so long.
GRACE_S = 60


class BadServing(Exception):
    """The server cannot be started as asked for; the message says what to change."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How operators are served; no `names` means all that there are."""

    host: str
    port: int
    names: Sequence[str]
    max_bytes: int
    max_concurrent: int
    allowed_hosts: Sequence[str]
    is_open: bool


def serve_operators(serving: Serving) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    try:
        token = _checked_token(serving)
        _check_packages()
        with _operators(serving.names) as served, _listening(serving) as listener:
            _run(serving, served, token, listener)
    except (BadServing, OperatorUnavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _operators(names: Sequence[str]) -> "AbstractContextManager[OpenOperators]":
    # Only now: engines and models are behind it.
    from resources import open_operators  # noqa: PLC0415

    return open_operators.served_operators(read_environment(os.environ), names)


def _checked_token(serving: Serving) -> str | None:
    """Return the token that clients must show; raise BadServing where one is missing."""
    token = None if serving.is_open else token_of_environment()
    if serving.host in LOOPBACK:
        return token
    if token is None and not serving.is_open:
        raise BadServing(
            f"{serving.host} can be reached by others: export {TOKEN_VARIABLE}, which clients must show, "
            "or say --no-token"
        )
    if serving.host in EVERY_ADDRESS and not serving.allowed_hosts:
        raise BadServing("name the host by which clients call this machine, with --allowed-host")
    return token


def _check_packages() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise BadServing(f"{', '.join(missing)} is not installed: pip install 'mmat-dagster[serve]'")


def _listening(serving: Serving) -> socket.socket:
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    try:
        return socket.create_server((serving.host, serving.port), family=family)
    except OSError as error:
        raise BadServing(f"{serving.host} port {serving.port} cannot be listened at: {error.strerror}") from error


def _run(serving: Serving, served: "OpenOperators", token: str | None, listener: socket.socket) -> None:
    import uvicorn  # noqa: PLC0415  of the extra `serve`

    from resources.operator_server import create_app  # noqa: PLC0415

    app = create_app(
        served.operators,
        look=served.look,
        max_bytes=serving.max_bytes,
        max_concurrent=serving.max_concurrent,
        allowed_hosts=(*LOOPBACK, *{serving.host}.difference(EVERY_ADDRESS), *serving.allowed_hosts),
        token=token,
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    # uvicorn finishes what is under way, then raises the signal again: here it is the end of the command.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    print(f"Serving {', '.join(sorted(served.operators))} at {_address(listener)}{OPERATORS}", flush=True)
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[listener])
    except _Ended:
        return
    if not server.started:
        raise BadServing("the operators cannot be opened; the reason stands above")


class _Ended(BaseException):
    """Somebody asked the server to end."""


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise _Ended


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
