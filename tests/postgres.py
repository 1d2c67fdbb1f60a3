"""A real PostgreSQL for tests, and fresh ledgers in it; in a test file: `ledger_url = postgres.ledger_url`.

One server is started when the first test wants it and stopped when pytest ends; every test gets a database of its own.
Where none is installed these tests are skipped, or fail if MMAT_REQUIRE_POSTGRES is set.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TypedDict
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

ABSENT = "PostgreSQL is not installed: neither in PATH nor in /usr/lib/postgresql"
INIT_S = 60.0
START_S = 30.0
STOP_S = 15.0
# Nobody checks it (`--auth trust`), but it is in every URL: tests look whether it is told.
PASSWORD = "p4ssw0rd-never-told"

_SERVER = pytest.StashKey[str]()


class _Account(TypedDict, total=False):
    user: str
    group: int
    extra_groups: list[int]


@contextmanager
def run_postgres(folder: Path) -> Iterator[str]:
    """Run a server with its data in `folder`, which it must be able to reach; yield `postgresql://...:port`."""
    prepare(folder)
    with serve(folder, free_port()) as url:
        yield url


def prepare(folder: Path) -> None:
    """Make the data of a server in `folder`."""
    account, data = _account(), folder / "data"
    data.mkdir(mode=0o700)
    if account:
        shutil.chown(data, account["user"], account["group"])
    command = [_program("initdb"), "-D", str(data), "-U", "mmat", "--auth", "trust", "--no-locale", "-E", "UTF8"]
    subprocess.run([*command, "--no-sync"], check=True, timeout=INIT_S, stdout=subprocess.DEVNULL, cwd="/", **account)


@contextmanager
def serve(folder: Path, port: int) -> Iterator[str]:
    """Run the server whose data are in `folder`; yield its URL. It may be run again when it has ended."""
    settings = ["-clisten_addresses=127.0.0.1", f"-cport={port}", "-cunix_socket_directories=", "-cfsync=off"]
    with (folder / "log").open("ab") as log:
        command = [*_ended_with_us(), _program("postgres"), "-D", str(folder / "data"), *settings]
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **_account())
    url = f"postgresql://mmat:{PASSWORD}@127.0.0.1:{port}"
    try:
        _wait_until_up(server, url, folder / "log")
        yield url
    finally:
        stop(server)


def stop(server: subprocess.Popen[bytes]) -> None:
    """End a server: at first asking, then at once, then by force."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if server.poll() is not None:
            return
        server.send_signal(number)
        try:
            server.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that the server's account can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="mmat-postgres-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def is_installed() -> bool:
    """Say whether there is a server to run."""
    return _find("initdb") is not None and _find("postgres") is not None


def require_postgres() -> None:
    """Skip the test where there is no PostgreSQL, or fail it where there has to be one."""
    if not is_installed():
        if os.environ.get("MMAT_REQUIRE_POSTGRES"):
            pytest.fail(ABSENT)
        pytest.skip(ABSENT)


def fresh_database(config: pytest.Config) -> str:
    """Return the URL of a new database in the server of this pytest run."""
    require_postgres()
    if _SERVER not in config.stash:
        stack = ExitStack()
        config.add_cleanup(stack.close)
        config.stash[_SERVER] = stack.enter_context(run_postgres(stack.enter_context(temporary_folder())))
    server, name = config.stash[_SERVER], f"test_{uuid4().hex}"
    execute(f"{server}/postgres", f"CREATE DATABASE {name}")
    return f"{server}/{name}"


def execute(url: str, statement: str) -> None:
    """Run one statement in a connection of its own, outside any transaction."""
    by_driver = sa.make_url(url).set(drivername="postgresql+psycopg2")
    engine = sa.create_engine(by_driver, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> str:
    """Give a test a database of its own."""
    return fresh_database(request.config)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give a test the URL of a ledger that is not there yet, in either database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    return fresh_database(request.config)


def _find(program: str) -> str | None:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: path.parts[-3].zfill(9))
    return shutil.which(program) or (str(installed[-1]) if installed else None)


def _program(name: str) -> str:
    found = _find(name)
    if found is None:
        raise FileNotFoundError(ABSENT)
    return found


def _account() -> _Account:
    """Return as whom to run the server: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_name, "group": entry.pw_gid, "extra_groups": []}


def _ended_with_us() -> list[str]:
    """Return the start of a command whose process ends with this one, even if this one is killed."""
    return ["setpriv", "--pdeathsig", "QUIT"] if shutil.which("setpriv") else []


def free_port() -> int:
    """Return a port that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_S
    while True:
        try:
            execute(f"{url}/postgres", "SELECT 1")
        except OperationalError:
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL does not start:\n{log.read_text()}") from None
            time.sleep(0.05)
        else:
            return
