"""Real servers on loopback for tests: any uvicorn server in a thread, up while it is entered."""

import socket
import threading
from typing import Self

import uvicorn

START_S = 60.0
STOP_S = 60.0


class Server(uvicorn.Server):
    """Tells when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell so."""
        await super().startup(sockets)
        self.up.set()


class Served:
    """Runs `server` on a port of its own, or on `port`, while it is entered; `name` is what its failures say.

    `address` is where it listens, e.g. `http://127.0.0.1:40123`; it may be read after the end, too.
    """

    def __init__(self, server: Server, name: str, port: int = 0) -> None:
        self._server, self._name = server, name
        self._socket = socket.create_server(("127.0.0.1", port))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._server.up.wait(START_S):
            raise TimeoutError(f"the {self._name} did not start in {START_S:g} s")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_S)
        self._socket.close()
        if self._thread.is_alive():
            raise TimeoutError(f"the {self._name} did not stop in {STOP_S:g} s")
