"""A real Ray with its job server on loopback, small, with ports and a folder of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_S = 180.0
# What a test's own process needs of the shell's; a key that stands there is nobody's business here.
KEPT = ("PATH", "HOME", "LANG")
PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "ray-client-server-port",
    "metrics-export-port",
)


@dataclass(frozen=True, kw_only=True)
class Head:
    """Where drivers find a cluster, and where its job server listens."""

    address: str
    jobs: str


@contextmanager
def run_ray(cwd: Path, variables: Mapping[str, str]) -> Iterator[str]:
    """Run a cluster of one node whose jobs find `variables` set; yield the address of its job server."""
    with run_head(cwd, variables) as head:
        yield head.jobs


@contextmanager
def run_head(cwd: Path, variables: Mapping[str, str]) -> Iterator[Head]:
    """Run a cluster of one node whose workers and jobs find `variables` set."""
    # A socket's path has 107 characters at most, and Ray's own part of it is long.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
    address = f"http://127.0.0.1:{ports['dashboard-port']}"
    command = [
        *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
        *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--include-dashboard=true"),
        *("--num-cpus=2", "--num-gpus=0", f"--object-store-memory={80 << 20}", f"--temp-dir={folder}"),
        *(f"--{name}={port}" for name, port in ports.items()),
    ]
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    with (folder / "start.log").open("wb") as log:
        head = subprocess.Popen(
            command,
            cwd=cwd,
            # Ray asks for a token where this user has one.
            env={**environment, "RAY_AUTH_MODE": "disabled", "no_proxy": "127.0.0.1,localhost", **variables},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        token = variables.get("RAY_AUTH_TOKEN", "")
        asked = urllib.request.Request(f"{address}/api/version", headers={"Authorization": f"Bearer {token}"})  # noqa: S310
        _wait_until_up(head, asked, folder / "start.log")
        yield Head(address=f"127.0.0.1:{ports['port']}", jobs=address)
    finally:
        _end(head, folder)
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_until_up(head: "subprocess.Popen[bytes]", asked: urllib.request.Request, log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if head.poll() is not None:
            raise AssertionError(f"ray ended with {head.returncode}:\n{log.read_text()[-2000:]}")
        with suppress(OSError), direct.open(asked, timeout=2):
            return
        time.sleep(0.2)
    raise TimeoutError(f"ray did not start in {START_S:g} s:\n{log.read_text()[-2000:]}")


def _end(head: "subprocess.Popen[bytes]", folder: Path) -> None:
    """End the node, and then whatever of it is left: all of it names the folder on its command line."""
    head.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        head.wait(20)
    for pid in _naming(str(folder)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    head.kill()
    head.wait()


def _naming(folder: str) -> Iterator[int]:
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if folder.encode() in (place / "cmdline").read_bytes():
                yield int(place.name)
