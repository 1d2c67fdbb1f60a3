"""The cache of what operators saw, as a resource."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import Field

from mmat_dagster.operators.looking import LookFunction, look_anew
from mmat_dagster.operators.sightings import Sightings


class OperatorCache(dg.ConfigurableResource[LookFunction]):
    """Keeps every operator's results by image, operator, version and parameters; opened at the first look."""

    url: str | None = Field(
        default="data/store/operators.sqlite",
        repr=False,
        description="An SQLite file or postgresql://...; null: nothing is kept.",
    )

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[LookFunction]:  # noqa: ARG002
        """Yield how an operator is made to look; close the cache in the end."""
        if self.url is None:
            yield look_anew
            return
        sightings = Sightings(self.url)
        try:
            yield sightings.look
        finally:
            sightings.close()
