"""The command serve-operators, as a process of its own and up to the point where it would listen."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from mmat_dagster import serving
from mmat_dagster.cli import run
from mmat_dagster.environment import Environment
from mmat_dagster.tools import OperatorUnavailable
from resources import open_operators
from resources.operator_contract import TOKEN_VARIABLE
from tests.operator_peers import picture

ROOT = Path(__file__).resolve().parents[1]
EVERYWHERE = serving.EVERY_ADDRESS[0]
TOKEN = "t0ken-that-nobody-may-see"

# Serves fakes; tells when one that waits is asked, and when they are closed.
COMMAND = """
import sys, threading
from contextlib import contextmanager
from mmat_dagster.cli import run
from mmat_dagster.operators.looking import look_anew
from resources import open_operators
from tests.operator_peers import Measuring, Waiting

class Telling(Waiting):
    async def look(self, looks):
        print("asked", flush=True)
        return await super().look(looks)

@contextmanager
def served_operators(environment, names):
    known = {"measure": Measuring(), "wait": Telling()}
    threading.Timer(2.0, known["wait"].go.set).start()
    yield open_operators.OpenOperators(operators={name: known[name] for name in names or known}, look=look_anew)
    print("closed", flush=True)

open_operators.served_operators = served_operators
sys.exit(run(sys.argv[1:]))
"""


@contextmanager
def serving_process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", COMMAND, "serve-operators", "--port", "0", *arguments]
    clean = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    with subprocess.Popen(
        command, cwd=ROOT, env=clean | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def address_in(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return the operators' names and the server's URL, as its one line tells them."""
    assert process.stdout is not None
    told = re.fullmatch(r"Serving (.*) at (http://127\.0\.0\.1:\d+)/v1/operators\n", process.stdout.readline())
    assert told
    return told[1], told[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_operators_are_served_until_a_signal_and_closed_then(number: signal.Signals) -> None:
    with serving_process(**{TOKEN_VARIABLE: TOKEN}) as process:
        names, url = address_in(process)
        assert names == "measure, wait"
        shown = {"Authorization": f"Bearer {TOKEN}"}
        for name in names.split(", "):
            files = {"image": ("a.png", picture())}
            assert httpx2.post(f"{url}/v1/operators/{name}", files=files, headers=shown).status_code == 200
        assert httpx2.get(f"{url}/v1/operators").status_code == 401
        process.send_signal(number)
        out, errors = process.communicate(timeout=20)
    assert (out, errors, process.returncode) == ("asked\nclosed\n", "", 0)


def test_what_is_looked_at_when_the_signal_comes_is_answered() -> None:
    with serving_process() as process, ThreadPoolExecutor(1) as client:
        url = f"{address_in(process)[1]}/v1/operators/wait"
        answer = client.submit(httpx2.post, url, files={"image": ("a.png", picture())}, timeout=20)
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        process.terminate()
        assert answer.result().json()["text"] == "waited"
        assert process.wait(20) == 0


def test_only_operators_that_are_named_are_served_and_long_bodies_refused() -> None:
    with serving_process("--operator", "measure", "--max-mb", "1", "--concurrency", "1") as process:
        names, url = address_in(process)
        assert names == "measure"
        large = picture(1000, 500, kind="BMP")
        assert httpx2.post(f"{url}/v1/operators/measure", files={"image": ("a.bmp", large)}).status_code == 413
        assert httpx2.get(f"{url}/healthz", headers={"Host": "evil.example"}).status_code == 421
        process.terminate()
        assert process.wait(20) == 0


@pytest.fixture
def operators(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Keep what is asked for, and let nothing be served."""
    asked: list[Sequence[str]] = []

    def served_operators(environment: Environment, names: Sequence[str]) -> None:
        asked.append(names)
        raise OperatorUnavailable("there are no operators in this test")

    monkeypatch.setattr(open_operators, "served_operators", served_operators)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    return asked


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["serve-operators", *arguments]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    return told.err


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.0.2.7", "gpu"])
def test_others_are_not_let_in_without_a_token(
    host: str, operators: list[Sequence[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    told = complaint(capsys, "--host", host, "--allowed-host", "gpu")
    assert told == (
        f"error: {host} can be reached by others: export MMAT_OPERATOR_TOKEN, which clients must show, "
        "or say --no-token\n"
    )
    assert operators == []


def test_with_a_token_or_without_one_on_purpose_others_are_let_in(
    operators: list[Sequence[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    others = ("--host", EVERYWHERE, "--allowed-host", "gpu")
    assert "no operators in this test" in complaint(capsys, *others, "--no-token")
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert TOKEN not in complaint(capsys, *others, "--operator", "ocr")
    assert operators == [(), ("ocr",)]
    assert "with --allowed-host" in complaint(capsys, "--host", EVERYWHERE)


def test_a_port_that_is_taken_and_packages_that_are_missing_are_told(
    operators: list[Sequence[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "NEEDED", ("fastapi", "no_such_package"))
    assert complaint(capsys) == "error: no_such_package is not installed: pip install 'mmat-dagster[serve]'\n"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with serving_process("--port", port) as process:
            _, errors = process.communicate(timeout=60)
    assert re.fullmatch(rf"error: 127\.0\.0\.1 port {port} cannot be listened at: Address already in use.*\n", errors)


@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--port", "-1"], ["--max-mb", "0"], ["--port", "http"]])
def test_numbers_out_of_range_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(["serve-operators", *arguments])
    assert "error: argument" in capsys.readouterr().err


def test_other_commands_and_the_client_load_no_server() -> None:
    code = "import sys, mmat_dagster.cli, resources.http_operator; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "resources.http_operator" in loaded.split()
    assert not {"fastapi", "uvicorn", "python_multipart", "mmat_dagster.serving"} & set(loaded.split())
