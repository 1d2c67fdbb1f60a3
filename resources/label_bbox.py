"""label_bbox as a resource: the boxes that the source itself carries, or a detector that looks for phrases."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import dagster as dg
from pydantic import Field

from mmat_dagster.fingerprints import fingerprint
from mmat_dagster.interfaces import ChatModel, OperatorMaker
from mmat_dagster.operators.observation import MAX_CHARS
from mmat_dagster.operators.phrases import PhrasedBoxes
from mmat_dagster.operators.purposes import PURPOSES
from mmat_dagster.operators.source_boxes import SourceBoxes
from mmat_dagster.tools import Operator
from resources import grounding_dino_model
from resources.local_operator import LocalOperator
from resources.vision_worker import ModelSpec

# The paper's detector.
GROUNDING_DINO = "IDEA-Research/grounding-dino-base"


class SourceBoxesResource(dg.ConfigurableResource[Operator]):
    """Gives the teacher the source's own boxes; not offered where a sample has none."""

    max_chars: int = Field(default=MAX_CHARS, gt=20, description="A longer observation is cut, and the cut marked.")

    def create_resource(self, context: dg.InitResourceContext) -> Operator:  # noqa: ARG002
        """Return the operator."""
        return SourceBoxes(self.max_chars)


class GroundingDino(LocalOperator):
    """Finds named things by open-vocabulary detection, through transformers. Needs the extra `vision`."""

    name: ClassVar[str] = "label_bbox"
    purpose: ClassVar[str] = PURPOSES["label_bbox"]

    workers: int = Field(default=1, gt=0, description="Worker processes; each loads the model.")
    batch_size: int = Field(default=4, gt=0, description="Images that a worker looks at at once.")
    repository: str = Field(default=GROUNDING_DINO, description="The model on the hub, or a local folder.")
    revision: str | None = Field(default=None, description="A commit of the repository; null for its newest.")
    device: str = Field(default="auto", description="cpu, cuda, cuda:1, or auto: an accelerator where there is one.")
    box_threshold: float = Field(default=0.35, ge=0, le=1, description="Less certain boxes are left out.")
    text_threshold: float = Field(default=0.25, ge=0, le=1, description="Words less tied to a box are left out.")
    max_boxes: int = Field(default=30, gt=0, description="At most so many boxes of a phrase, the surest.")

    @property
    def model(self) -> ModelSpec:
        """The detector and its thresholds."""
        arguments = {
            "model": self.repository,
            "revision": self.revision,
            "device": self.device,
            "box_threshold": self.box_threshold,
            "text_threshold": self.text_threshold,
            "max_boxes": self.max_boxes,
        }
        return ModelSpec(path="resources.grounding_dino_model:GroundingDinoModel", arguments=tuple(arguments.items()))

    @property
    def packages(self) -> Sequence[str]:
        """What runs the weights."""
        return grounding_dino_model.PACKAGES

    @property
    def version(self) -> str:
        """Packages, code and settings; of a local folder also which files lie in it."""
        return f"{super().version}{self._weights}"

    @property
    def lane(self) -> str:
        """Its processes are its own: what they load is large."""
        return f"grounding_dino {self.device}"

    @cached_property
    def _weights(self) -> str:
        folder = Path(self.repository)
        if not folder.is_dir():
            return ""
        states = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
        return f" files={fingerprint(f'{name} {state.st_size} {state.st_mtime_ns}' for name, state in states)}"


class SourcePhrasesResource(dg.ConfigurableResource[Operator]):
    """Has a detector look for the phrases that the source marks; not offered where a sample has none."""

    detector: dg.ResourceDependency[Operator]

    def create_resource(self, context: dg.InitResourceContext) -> Operator:  # noqa: ARG002
        """Return the operator."""
        return PhrasedBoxes(self.detector)


class SceneGraphPhrasesResource(dg.ConfigurableResource[OperatorMaker], OperatorMaker):
    """Has a detector look for the objects of the scene graph that the teacher's model draws of each image."""

    detector: dg.ResourceDependency[Operator]

    def over(self, model: ChatModel) -> Operator:
        """Return the operator."""
        return PhrasedBoxes(self.detector, model)
