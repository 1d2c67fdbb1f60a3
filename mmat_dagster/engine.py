"""Parts of a stage as orders to other processes: what is to be made, and what both sides must agree on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mmat_dagster.parts import Part
from mmat_dagster.progress import Progress
from mmat_dagster.schema import DatasetName, SourceName
from mmat_dagster.spending import Spending

Watch: TypeAlias = Callable[[Iterable[Progress]], None]


@dataclass(frozen=True, kw_only=True)
class PartOrder:
    """One part to be made from the part `index` of what its dataset stands on.

    `made_from` is the fingerprint of that, and `name` the part's, which says what decides its content: who would call
    it otherwise has other code, prompts, settings or tools, and makes nothing.
    """

    dataset: DatasetName
    source: SourceName
    index: int
    name: str
    made_from: str


class Engine(ABC):
    """Makes the parts of a stage in other processes than this one, many at once."""

    @property
    @abstractmethod
    def spendings(self) -> Mapping[str, Spending]:
        """What asking in those processes has cost so far, by who was asked, as a pipeline names them."""

    @property
    @abstractmethod
    def shares(self) -> str:
        """What all of those processes must share with this one: where replies and parts are kept, without a secret."""

    @abstractmethod
    def make(self, orders: Sequence[PartOrder], watch: Watch) -> Mapping[int, Part | None]:
        """Have the parts made and return them by index; None where replies come with a batch.

        `watch` hears again and again how far each part is. The first error ends the others, which finish what is under
        way, and is raised; so is whatever interrupts the waiting. Raises EngineError where no worker can be used.
        """


class EngineError(Exception):
    """The processes that make parts cannot be used: the run stops and says why."""
