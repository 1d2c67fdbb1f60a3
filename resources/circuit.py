"""A circuit breaker: it tells a server that is away from an image that a server cannot take.

closed      everybody may send; `failures` in a row open it
open        nobody may send for a while
half-open   one request is under way, the probe: its success closes the circuit, its failure opens it for twice as long

What one image may be to blame for counts once for each image, however often it is tried: five bad attempts at one
image say nothing about the server, five images in a row that it failed at do. An image that it failed at while it could
see others is a suspect, and counts no more. What no image is to blame for (nobody listens, the server says that it is
away) counts every time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

State: TypeAlias = Literal["closed", "open", "half-open"]

LONGEST_PAUSE_S = 60.0


@dataclass(kw_only=True)
class Circuit:
    """The state of one line to a server; not for use by several threads.

    Opens for `pause_s` after so many `failures`; is spent once it has stayed open so long as `give_up_s`.
    """

    failures: int
    pause_s: float
    give_up_s: float
    clock: Callable[[], float] = time.monotonic
    state: State = field(default="closed", init=False)
    _blamed: set[str] = field(default_factory=set, init=False)
    _suspects: set[str] = field(default_factory=set, init=False)
    _blameless: int = field(default=0, init=False)
    _pauses: int = field(default=0, init=False)
    _opened_at: float = field(default=0.0, init=False)
    _until: float = field(default=0.0, init=False)

    def admit(self) -> bool:
        """Say whether a request may be sent now; one that may, in an open circuit, is the probe."""
        if self.state == "open" and self.clock() >= self._until:
            self.state = "half-open"
            return True
        return self.state == "closed"

    def succeed(self, image: str = "") -> None:
        """Learn that the server has answered, about `image`."""
        self.state = "closed"
        self._suspects |= self._blamed
        self._suspects.discard(image)
        self._blamed.clear()
        self._blameless = self._pauses = 0

    def fail(self, image: str | None = None) -> None:
        """Learn that a request has failed; `image` may be at fault as well as the server, where it is given."""
        if image is None:
            self._blameless += 1
        elif image not in self._suspects:
            self._blamed.add(image)
        if self.state == "half-open":
            self._pause()
        elif self.state == "closed" and self._blameless + len(self._blamed) >= self.failures:
            self._opened_at = self.clock()
            self._pause()

    def abandon(self) -> None:
        """Learn that nobody waits for the probe any more: the next one may be sent at once."""
        if self.state == "half-open":
            self.state = "open"

    @property
    def wait_s(self) -> float:
        """How long until it is worth asking again, in seconds."""
        if self.state == "closed":
            return 0.0
        return max(0.0, min(self._until, self._opened_at + self.give_up_s) - self.clock())

    @property
    def is_spent(self) -> bool:
        """Say whether it has been open for too long."""
        return self.state != "closed" and self.clock() - self._opened_at >= self.give_up_s

    def _pause(self) -> None:
        self.state = "open"
        self._until = self.clock() + min(self.pause_s * 2**self._pauses, LONGEST_PAUSE_S)
        # No further than the longest pause needs: the power would outgrow any number.
        self._pauses = min(self._pauses + 1, 32)
