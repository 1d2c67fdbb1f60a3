"""Finds the image that a record names, wherever below the benchmark's folder its publisher wants it to be put.

`../data/images/1.jpg` is any file whose path ends so; failing that, the only one that ends in images/1.jpg or 1.jpg.
"""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath


class ImageFiles:
    """All files of one benchmark by their names; what lies elsewhere cannot be named."""

    def __init__(self, files: Iterable[Path]) -> None:
        """Take the files among which a name is looked up."""
        self._by_name: dict[str, list[Path]] = {}
        for file in files:
            self._by_name.setdefault(file.name, []).append(file)

    def find(self, name: str, beside: Path) -> Path | None:
        """Return the file that a record of the file `beside` means by `name`, or None."""
        parts = tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in {"/", ".", ".."})
        named = self._by_name.get(parts[-1], []) if parts else []
        whole = [file for file in named if file.parts[-len(parts) :] == parts]
        if whole:
            return max(whole, key=lambda file: _common(file, beside))
        for length in range(len(parts) - 1, 0, -1):
            ending = [file for file in named if file.parts[-length:] == parts[-length:]]
            if ending:
                return ending[0] if len(ending) == 1 else None
        return None


def _common(one: Path, other: Path) -> int:
    return len(os.path.commonpath([one, other]))
