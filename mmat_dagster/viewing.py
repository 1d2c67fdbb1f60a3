"""Serves the viewer on this machine: the command view."""

import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from mmat_dagster.environment import Environment, read_environment
from mmat_dagster.images import StoredPictures, quiet_decoders
from mmat_dagster.interfaces import Store
from mmat_dagster.ledger.kept_replies import kept_replies
from mmat_dagster.operators.looking import looks_at
from mmat_dagster.schema import Rationale
from mmat_dagster.stages.rationale import REFLECTION_TURNS
from mmat_dagster.teachers.prompted import PromptedTeacher
from mmat_dagster.viewer.app import Viewed, create_app
from mmat_dagster.viewer.folder import ReadOnlyFolder
from mmat_dagster.viewer.index import index_file
from mmat_dagster.viewer.replaying import Exchange, KeptModel, replay

LOOPBACK = ("127.0.0.1", "localhost", "::1")
GRACE_S = 5


@dataclass(frozen=True, kw_only=True)
class Viewing:
    """What was asked for on the command line; `cache` is the folder of the index, None for the user's."""

    host: str
    port: int
    cache: Path | None


def view(viewing: Viewing) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    if viewing.host not in LOOPBACK:
        return _fail(
            f"{viewing.host} can be reached by others, and the viewer knows no password: serve on 127.0.0.1, and come "
            f"from elsewhere by `ssh -L {viewing.port}:127.0.0.1:{viewing.port} ...`"
        )
    environment = read_environment(os.environ)
    if environment.bucket is None and not environment.store.is_dir():
        return _fail(f"there is no store at {environment.store}: set MMAT_STORE, or build one with `make demo`")
    try:
        listener = _listen(viewing)
    except OSError as error:
        return _fail(f"{viewing.host} port {viewing.port} cannot be listened at: {error.strerror}; name another --port")
    with listener, quiet_decoders():
        _serve(viewed(environment, viewing.cache), listener)
    return 0


def viewed(environment: Environment, cache: Path | None) -> Viewed:
    """Return what a deployment's viewer shows."""
    store = _store(environment)
    return Viewed(
        store=store,
        pictures=StoredPictures(source_root=environment.sources, store=store),
        index=index_file(environment.store, cache),
        find_exchanges=find_exchanges,
    )


def _store(environment: Environment) -> Store:
    if environment.bucket is None:
        return ReadOnlyFolder(environment.store)
    # Dagster and boto3 take seconds to import, and a folder needs neither.
    from resources.stores import open_store  # noqa: PLC0415

    return open_store(environment)


def find_exchanges(rationale: Rationale) -> Sequence[Exchange] | None:
    """Return what this deployment's ledger holds of a dialogue; None where its teacher asks no model.

    Raises LedgerError where the ledger cannot be read.
    """
    environment = read_environment(os.environ)
    if environment.teacher == "annotations":
        return None
    # Only here is the deployment itself needed, and Dagster takes a second to import.
    import dagster as dg  # noqa: PLC0415

    from mmat_dagster.definitions import RESOURCES  # noqa: PLC0415
    from resources.gpt4o import GPT4o  # noqa: PLC0415

    with dg.build_resources(RESOURCES) as resources, kept_replies(environment.ledger) as ledger:
        pipeline = resources.pipeline
        asked = pipeline.teacher.model
        if not isinstance(asked, GPT4o):
            return None
        looks = looks_at(rationale.sample, pipeline.pictures)
        offered = tuple(operator for operator in pipeline.operators.values() if operator.offers(looks))
        model = KeptModel(asked.parameters, ledger.find)
        teacher = PromptedTeacher(
            model=model, pictures=pipeline.pictures, max_turns=pipeline.settings.max_turns - REFLECTION_TURNS
        )
        return replay(rationale, offered, teacher, model)


def _listen(viewing: Viewing) -> socket.socket:
    family = socket.AF_INET6 if ":" in viewing.host else socket.AF_INET
    return socket.create_server((viewing.host, viewing.port), family=family)


def _serve(shown: Viewed, listener: socket.socket) -> None:
    config = uvicorn.Config(
        create_app(shown),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=GRACE_S,
    )
    # uvicorn finishes what is under way, then raises the signal again: here it is the end of the command.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    print(f"{shown.store.locate('')} is shown at {address} (Ctrl-C ends it)", flush=True)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except _Ended:
        return


class _Ended(BaseException):
    """Somebody asked the server to end."""


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise _Ended


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1
