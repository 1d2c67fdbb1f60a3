"""Parts of a stage made by a Ray cluster, or by processes of this machine that Ray starts.

Ray is imported when the first part is to be made, and not before.
"""

import json
import logging
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

import dagster as dg
from pydantic import Field, PrivateAttr

from mmat_dagster import terminal
from mmat_dagster.engine import Engine, EngineError, PartOrder, Watch
from mmat_dagster.interfaces import Store
from mmat_dagster.ledger.database import location
from mmat_dagster.parts import Part
from mmat_dagster.processes import SECRETS
from mmat_dagster.spending import Spending
from resources.ray_news import Audience
from resources.ray_token import TokenRefused, settle

OPEN_PIPELINE = "mmat_dagster.accounting:open_pipeline"
# What a worker does without, or has its own of: its machine's folder, and what it may have to itself.
OF_EACH_MACHINE = ("MMAT_MIRROR", *SECRETS)
# What besides MMAT_... decides whom a worker asks, and where it finds a bucket.
TOLD = (
    "OPENAI_BASE_URL",
    "GOOGLE_CSE_ID",
    "GOOGLE_SEARCH_URL",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
)


class ThisProcess(dg.ConfigurableResource[Engine | None]):
    """Makes the parts in the run's own process."""

    def create_resource(self, context: dg.InitResourceContext) -> Engine | None:  # noqa: ARG002
        """Return no engine: the pipeline itself makes them."""
        return None


class RayEngine(dg.ConfigurableResource[Engine], Engine):
    """Has Ray tasks make parts, and Ray actors hold the models that look at images.

    A task whose worker or node is lost is begun again by Ray elsewhere; what was paid until then comes from the ledger.
    Rates and budgets hold for all workers together, since the ledger keeps them.
    """

    store: dg.ResourceDependency[Store]
    ledger: str = Field(repr=False, description="Where replies are kept; all workers must share it.")
    address: str | None = Field(
        default=None, description="A cluster's host:6379, or auto on one of its machines; null: processes of this one."
    )
    pipeline: str = Field(default=OPEN_PIPELINE, description="What opens the pipeline in a worker, as module:function.")
    cpus_per_part: float = Field(default=1.0, gt=0, description="CPUs of a part; it mostly waits for replies.")
    parts_at_once: int | None = Field(default=None, gt=0, description="Parts under way; null: as many as CPUs allow.")
    lost_workers: int = Field(default=5, ge=0, description="How often a part is begun again whose worker was lost.")
    model_workers: int | None = Field(
        default=None, gt=0, description="Actors that hold OCR and faces, and each larger model; null: one per node."
    )
    gpus_per_model: float = Field(
        default=0.0,
        ge=0,
        description="GPUs of an actor that holds a larger model; 0.25 for four on one.",
    )
    may_grow: bool | None = Field(
        default=None,
        description="Whether machines join the cluster as they are needed; null: its machines' labels tell.",
    )
    end_s: float = Field(default=600.0, gt=0, description="How long parts that are ended may finish what is under way.")

    _spent: dict[str, Spending] = PrivateAttr(default_factory=dict)
    _run_id: str = PrivateAttr(default="none")
    _resource_config: Mapping[str, Any] = PrivateAttr(default_factory=dict)
    _log: dg.DagsterLogManager | logging.Logger = PrivateAttr(default_factory=lambda: logging.getLogger(__name__))

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Learn for which run parts are made, what it sets of the resources, and where to warn."""
        if context.log is not None:
            self._log = context.log
        if context.run is not None:
            self._run_id = context.run.run_id
            self._resource_config = cast("Mapping[str, Any]", context.run.run_config.get("resources", {}))

    @property
    def spendings(self) -> Mapping[str, Spending]:
        """What the workers have spent, those too that were lost."""
        return self._spent

    @property
    def shares(self) -> str:
        """Ledger and store, without a password."""
        return f"ledger {location(self.ledger)}, store {self.store.locate('')}"

    def make(self, orders: Sequence[PartOrder], watch: Watch) -> Mapping[int, Part | None]:
        """Have the cluster's workers make the parts."""
        prepare(self.address)
        try:
            from resources import ray_joining, ray_parts  # noqa: PLC0415
        except ImportError as error:
            raise EngineError(f"MMAT_ENGINE is ray, and {error.name} is missing: pip install -e '.[ray]'") from error
        recipe = ray_parts.Recipe(
            path=self.pipeline,
            resource_config=json.dumps(self._resource_config),
            run_id=self._run_id,
            shares=self.shares,
            model_workers=self.model_workers,
            gpus_per_model=self.gpus_per_model,
        )
        hands = ray_parts.Hands(
            cpus=self.cpus_per_part,
            at_once=self.parts_at_once,
            lost_workers=self.lost_workers,
            end_s=self.end_s,
            may_grow=self.may_grow,
            variables=told(os.environ),
        )
        audience = Audience(watch=watch, spent=self._spent, say=self._say)
        ray_joining.connect(self.address)
        return ray_parts.carry_out(orders, recipe, hands, audience)

    def _say(self, line: str) -> None:
        """Tell a person what the cluster does: in the run's log, and on the terminal where a command runs."""
        self._log.warning(line)
        terminal.tell(line)


def prepare(address: str | None) -> None:
    """Have Ray show a cluster the token that there is, or ask for one here; it reads such variables when imported."""
    if address is None:
        _protect()
        return
    try:
        settle(os.environ, address)
    except TokenRefused as refused:
        raise EngineError(str(refused)) from None


def _protect() -> None:
    """Have the Ray that is started here ask everybody for a token, since its ports are open to the network."""
    if "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_urlsafe(32)


def told(variables: Mapping[str, str]) -> dict[str, str]:
    """Return what a worker is told of this process's environment: what decides results, and no secret."""
    return {
        name: value
        for name, value in variables.items()
        if (name.startswith("MMAT_") or name in TOLD) and name not in OF_EACH_MACHINE
    }
