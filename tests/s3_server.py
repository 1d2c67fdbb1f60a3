"""A real S3 service on loopback: moto's server in a process of its own, and a proxy before it that makes trouble."""

import http.client
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Literal

import boto3
import pytest

START_S = 60.0
BUCKET = "mmat"
# Nobody's: moto asks for some, and believes all.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}

Fault = Literal["500", "503", "cut request", "cut answer"]
FAULTS: tuple[Fault, ...] = ("500", "503", "cut request", "cut answer")


@contextmanager
def run_s3(folder: Path) -> Iterator[str]:
    """Run the service with one bucket; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = int(listening.getsockname()[1])
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with serving(command, port, folder / "moto.log") as address:
        connect(address).create_bucket(Bucket=BUCKET)
        yield address


@contextmanager
def serving(command: Sequence[str], port: int, log: Path, **options: Any) -> Iterator[str]:
    """Run a server of AWS's services that listens at `port`; yield its address."""
    with log.open("wb") as written:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            start_new_session=True,
            **options,
        )
    try:
        _wait_until_up(server, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def connect(address: str) -> Any:
    """Return a client of a service."""
    return boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def use_s3(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Have boto3 talk to a service."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": address}.items():
        monkeypatch.setenv(name, value)


def objects(address: str, prefix: str = "") -> dict[str, bytes]:
    """Return all objects whose keys begin with `prefix`."""
    client = connect(address)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    return {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a server that the tests of a file share; in the file: `s3 = s3_server.s3`."""
    with run_s3(tmp_path_factory.mktemp("moto")) as address:
        yield address


@pytest.fixture(autouse=True)
def empty(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let each test of a file that names it begin with an empty bucket."""
    use_s3(monkeypatch, s3)
    yield
    for key in objects(s3):
        connect(s3).delete_object(Bucket=BUCKET, Key=key)


@dataclass
class Trouble:
    """What goes wrong on the way: each request with the chance `share`, in a way that `seed` decides."""

    share: float
    seed: int = 0
    done: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def next(self) -> Fault | None:
        """Return what happens to the next request."""
        with self._lock:
            fault = self._dice.choice(FAULTS) if self._dice.random() < self.share else None
            self.done[fault or "well"] += 1
        return fault


@contextmanager
def run_proxy(behind: str, trouble: Trouble) -> Iterator[str]:
    """Run the proxy before the service at `behind`; yield its address."""
    target = behind.removeprefix("http://")
    handler = type("Handler", (_Proxy,), {"target": target, "trouble": trouble})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


class _Proxy(BaseHTTPRequestHandler):
    """Passes a request on, unless something goes wrong."""

    target: ClassVar[str]
    trouble: ClassVar[Trouble]
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        """Handle a request; a client that has gone is no trouble."""
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    def _serve(self) -> None:
        fault = self.trouble.next()
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Expect", "").lower() == "100-continue":
            pass  # the base class has answered that
        if fault == "cut request":
            self.rfile.read(length // 2)
            self._cut()
            return
        body = self.rfile.read(length)
        if fault in ("500", "503"):
            self._refuse(int(fault))
            return
        self._pass_on(body, is_cut=fault == "cut answer")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

    def _pass_on(self, body: bytes, *, is_cut: bool) -> None:
        connection = http.client.HTTPConnection(self.target, timeout=60)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        told = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", told or "0")
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if is_cut else data)
        if is_cut:
            self._cut()

    def _refuse(self, status: int) -> None:
        code = "SlowDown" if status == 503 else "InternalError"
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Please wait.</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _cut(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _wait_until_up(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise AssertionError(f"moto ended with {server.returncode}:\n{log.read_text()[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"moto did not start in {START_S:g} s")
