"""The student's HTTP server: chat completions and the list of models, for one student on this machine."""

import asyncio
import os
import signal
import socket
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from types import FrameType

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from transformers.utils import logging as transformers_logging

from mmat_dagster.inference.process.engine import Engine, Undecodable
from mmat_dagster.inference.process.opening import open_student
from mmat_dagster.inference.process.prompting import Prompter
from mmat_dagster.inference.protocol import (
    BadRequest,
    parse_request,
    render_answer,
    render_error,
    render_models,
)
from mmat_dagster.inference.spec import Hosting, write_ready
from mmat_dagster.training.spec import BadRun

LOOPBACK = ("127.0.0.1", "localhost")
BACKLOG = 2048
# Longer than clients keep an idle connection: who closes first must not be the server, while a request is on its way.
KEEP_ALIVE_S = 75
# Whoever ends a server wants no more replies of it.
GRACE_S = 1


def serve(hosting: Hosting, folder: Path) -> None:
    """Serve a student until SIGTERM or SIGINT, and say in `folder` when it can be asked; raise BadRun."""
    # They tell developers of other libraries what will change in a later version of theirs.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft|trl)\.")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(hosting.threads)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    with suppress(_Ended), _listening(hosting) as listener:
        _serve(hosting, folder, listener)


class Service:
    """Answers requests for one student."""

    def __init__(self, name: str, prompter: Prompter, engine: Engine) -> None:
        self._name, self._prompter, self._engine = name, prompter, engine

    def app(self, host: str = LOOPBACK[0]) -> Starlette:
        """Return the application, which answers to `host` and to this machine's own names.

        A page that has its name resolve to 127.0.0.1 would else read what is said here.
        """
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
                Route("/v1/models", self._models, methods=["GET"]),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[host, *LOOPBACK])],
        )

    async def _complete(self, request: Request) -> Response:
        try:
            asked = parse_request(await request.body())
            if asked.model != self._name:
                told = f"the model {asked.model!r} does not exist; {self._name!r} is served here"
                raise BadRequest(told, code="model_not_found", param="model")
            prompt = await asyncio.to_thread(self._prompter.prompt, asked.messages)
            answer = await asyncio.wrap_future(self._engine.ask(prompt, asked.sampling, asked.max_tokens))
        except BadRequest as error:
            body = render_error(str(error), "invalid_request_error", error.code, error.param)
            return JSONResponse(body, 400)
        except Undecodable as error:
            return JSONResponse(render_error(str(error), "server_error"), 500)
        return JSONResponse(render_answer(answer, self._name))

    async def _models(self, request: Request) -> Response:  # noqa: ARG002
        return JSONResponse(render_models([self._name]))


def _serve(hosting: Hosting, folder: Path, listener: socket.socket) -> None:
    opened = open_student(hosting)
    engine = Engine(opened, hosting.batch, hosting.kept_gb)
    service = Service(opened.name, Prompter(opened), engine)
    config = uvicorn.Config(
        service.app(hosting.host),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    engine.start()
    port = listener.getsockname()[1]
    print(f"Serving {opened.name} at http://{hosting.host}:{port}/v1", flush=True)
    write_ready(folder, port, opened.name)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except _Ended:
        # The engine may be at a long prompt, and threads of torch's must not meet the end of the interpreter.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _listening(hosting: Hosting) -> socket.socket:
    try:
        return socket.create_server((hosting.host, hosting.port), backlog=BACKLOG)
    except OSError as error:
        raise BadRun(f"{hosting.host} port {hosting.port} cannot be listened at: {error.strerror}") from error


class _Ended(BaseException):
    """Somebody asked the server to end."""


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise _Ended
