"""Where a release can be pushed to: a hub of datasets."""

from abc import ABC, abstractmethod
from pathlib import Path


class PushFailed(Exception):
    """The hub did not take the release; it stands in the store, whole, and can be pushed again."""


class ReleaseHub(ABC):
    """Takes releases, for others to load."""

    @property
    @abstractmethod
    def repository(self) -> str | None:
        """The repository that releases go to; None where none is configured."""

    @abstractmethod
    def push(self, folder: Path, repository: str) -> str:
        """Make `folder` what `repository` holds, and return its address; raise PushFailed."""
