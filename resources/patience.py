"""How schedule and sensors look at the sources' folders, as a resource."""

import dagster as dg
from pydantic import Field

from mmat_dagster.staleness import Patience


class PatienceResource(dg.ConfigurableResource[Patience]):
    """When a folder counts as one that nobody copies to any more."""

    settle_minutes: float = Field(
        default=10.0, ge=0, description="So long nothing in a folder has changed before its source is asked for."
    )

    def create_resource(self, context: dg.InitResourceContext) -> Patience:  # noqa: ARG002
        """Return what the engine knows of it."""
        return Patience(settle_s=60 * self.settle_minutes)
