"""How a run joins a Ray cluster or starts Ray on this machine: it ends soon and says why where it is not let in.

This file imports Ray, and is imported where Ray is used.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import services

from mmat_dagster.engine import EngineError
from resources.ray_token import TokenRefused, asking

# A part's way is the store: Ray itself carries orders and reports.
OBJECTS_BYTES = 100 << 20
NAMESPACE = "mmat_dagster"
LOOPBACK = "127.0.0.1"
KNOCK_S = 10.0
STDERR = 2


def connect(address: str | None) -> None:
    """Join the cluster at `address`, or start Ray on this machine; raise EngineError where that cannot be."""
    if ray.is_initialized():
        return
    settings: dict[str, Any] = {"address": address}
    if address is None:
        # It would tell its makers how it is used.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Without `local` it would join whatever cluster somebody has started on this machine.
        settings = {
            "address": "local",
            "_node_ip_address": LOOPBACK,
            "include_dashboard": False,
            "object_store_memory": OBJECTS_BYTES,
        }
    _be_quiet()
    heeds = signal.getsignal(signal.SIGTERM)
    try:
        if address is not None:
            knock(address)
        ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level=logging.CRITICAL, **settings)
    except TokenRefused as refused:
        raise EngineError(str(refused)) from None
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineError(f"the Ray cluster {address or 'of this machine'} cannot be reached: {error}") from error
    finally:
        # Ray would end the process at once, and Dagster has a run clean up.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, heeds)


def knock(address: str) -> None:
    """Raise OSError where nobody answers at `address`, TokenRefused where we are not let in.

    Ray itself tries for half a minute or longer, whatever the answer was, and says only that it could not connect.
    """
    found = services.canonicalize_bootstrap_address_or_die(address)
    host, _, port = found.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()
    with asking(f"the Ray cluster {address}"), _unheard():
        ray._raylet.GcsClient(found)


@contextmanager
def _unheard() -> Iterator[None]:
    """Drop what Ray's core writes meanwhile past Python: it repeats in its own words what is raised."""
    kept = os.dup(STDERR)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDERR)
    try:
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
        os.close(nowhere)


def _be_quiet() -> None:
    """Keep what Ray writes of machines and workers from the run's output: it stays in the logs of Ray's machines.

    Ray prints it whether or not it is to show its workers' logs; this is the switch of its own debugger.
    """
    ray._private.worker._worker_logs_enabled = False
