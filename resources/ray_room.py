"""What room a Ray cluster has, by what it tells of its machines: CPUs for parts, GPUs for models.

    no machine is large enough, and none can join    ->  EngineError, at once
    one may join, or others use what there is        ->  it is waited for, and said at once and every minute

Ray is imported when somebody looks around.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

# The label of a machine that an autoscaler or KubeRay has started; `ray start` by hand gives none.
GROUP = "ray.io/node-group"
SAY_EVERY_S = 60.0

Resource: TypeAlias = Literal["CPU", "GPU"]


@dataclass(frozen=True, kw_only=True)
class Room:
    """How much of a resource each machine has, and what is free of it all; `may_grow`: other machines may join."""

    resource: Resource
    machines: tuple[float, ...]
    free: float
    may_grow: bool

    def places(self, each: float) -> int:
        """Return for how many workers there is room which need `each` of it on one machine."""
        return sum(int(has / each + 1e-9) for has in self.machines)

    @property
    def most(self) -> str:
        """What the largest machine has, in words."""
        return f"the largest has {max(self.machines, default=0):g}"

    def awaited(self, each: float) -> str | None:
        """Return what a worker that needs `each` waits for; None where it need not wait."""
        if not self.places(each):
            return f"a machine with {each:g} {self.resource}s to join the Ray cluster ({self.most})"
        if self.free < each:
            return f"{each:g} of the Ray cluster's {sum(self.machines):g} {self.resource}s, which others use now"
        return None


def look_around(resource: Resource, may_grow: bool | None) -> Room:
    """Return the room that there is now; `may_grow` is None where the machines' labels tell."""
    import ray  # noqa: PLC0415

    alive = [node for node in ray.nodes() if node["Alive"]]
    return Room(
        resource=resource,
        machines=tuple(node["Resources"].get(resource, 0.0) for node in alive),
        free=ray.available_resources().get(resource, 0.0),
        may_grow=any(GROUP in node["Labels"] for node in alive) if may_grow is None else may_grow,
    )


class Waiting:
    """Says what is waited for: at once, when it changes, and every minute."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: str | None = None
        self._next = 0.0

    def hear(self, what: str | None) -> None:
        """Take what is waited for now."""
        if what is not None and (what != self._said or time.monotonic() >= self._next):
            self._say(what)
            self._next = time.monotonic() + SAY_EVERY_S
        self._said = what
