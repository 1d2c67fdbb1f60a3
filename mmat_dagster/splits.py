"""Which side of a split an image belongs to: by its hash, so that no image stands on both, in any export or release."""

from collections.abc import Iterable

_SPAN = 16**16


def is_held_out(key: str, share: float) -> bool:
    """Say whether what has the SHA-256 `key` belongs to the share that is held out; the same in every export."""
    return short(key) < share * _SPAN


def short(key: str) -> int:
    """Return the first 8 bytes of a hash: they tell a few million images apart in a tenth of the text's memory."""
    return int(key[:16], 16)


class ImageGroups:
    """Images that dialogues show together, directly or by others between; a group goes to one side as a whole.

    Its smallest hash decides. So new dialogues move only images that they tie to others, and of two groups that are
    tied one stays where it was. Only images that stand beside another are held in memory.
    """

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def tie(self, keys: Iterable[str]) -> None:
        """Take note that images are shown together."""
        first, *others = [self._root(short(key)) for key in keys]
        for other in others:
            low, high = sorted((self._root(first), self._root(other)))
            if low != high:
                self._parents[high] = low

    def is_held_out(self, key: str, share: float) -> bool:
        """Say whether the group of an image belongs to the share that is held out."""
        return self._root(short(key)) < share * _SPAN

    def _root(self, image: int) -> int:
        root = image
        while (parent := self._parents.get(root, root)) != root:
            root = parent
        while image != root:  # so that the next way is short
            self._parents[image], image = root, self._parents[image]
        return root
