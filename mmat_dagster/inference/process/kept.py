"""What earlier requests have read: keys and values by their tokens, the least recently used forgotten first."""

from collections import OrderedDict
from dataclasses import dataclass

from mmat_dagster.inference.process.prompting import Key
from mmat_dagster.inference.process.slots import KeysValues, bytes_of, common


@dataclass(frozen=True, kw_only=True)
class _Held:
    key: Key
    states: KeysValues
    size: int


class Kept:
    """At most `most_bytes` of keys and values."""

    def __init__(self, most_bytes: float) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self._next = 0

    def find(self, key: Key) -> tuple[int, KeysValues | None]:
        """Return the longest beginning of `key` that was read before, as its length and where it is kept."""
        best, found = 0, None
        # Of equals the one used last, lest a system prompt that all share keeps the oldest dialogue alive.
        for number, held in reversed(self._held.items()):
            length = common(held.key, key)
            if length > best:
                best, found = length, number
        if found is None:
            return 0, None
        self._held.move_to_end(found)
        return best, self._held[found].states

    def keep(self, key: Key, states: KeysValues) -> None:
        """Keep what was read, in the place of what it goes on from."""
        for number in [at for at, held in self._held.items() if common(held.key, key) == len(held.key)]:
            self._forget(number)
        held = _Held(key=key, states=states, size=bytes_of(states))
        if held.size > self._most:
            return
        self._held[self._next] = held
        self._bytes += held.size
        self._next += 1
        while self._bytes > self._most:
            self._forget(next(iter(self._held)))

    def _forget(self, number: int) -> None:
        self._bytes -= self._held.pop(number).size
