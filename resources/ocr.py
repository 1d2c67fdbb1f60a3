"""OCR in worker processes: RapidOCR (PP-OCR on onnxruntime, its weights inside the package), or PaddleOCR itself."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from mmat_dagster.operators.purposes import PURPOSES
from resources import paddleocr_model, rapidocr_model
from resources.local_operator import LocalOperator
from resources.vision_worker import ModelSpec


class RapidOCR(LocalOperator):
    """Reads the text of images, line by line; needs no network."""

    name: ClassVar[str] = "ocr"
    purpose: ClassVar[str] = PURPOSES["ocr"]

    upscale_below_px: int = Field(default=600, ge=0, description="Images with a smaller long side are doubled first.")

    @property
    def model(self) -> ModelSpec:
        """PP-OCR on onnxruntime."""
        arguments = (("upscale_below_px", self.upscale_below_px),)
        return ModelSpec(path="resources.rapidocr_model:RapidOCRModel", arguments=arguments)

    @property
    def packages(self) -> Sequence[str]:
        """The weights are inside the first."""
        return rapidocr_model.PACKAGES


class PaddleOCR(LocalOperator):
    """Reads with the paper's own OCR; fetches its weights at first use. Needs the extra `paddleocr`."""

    name: ClassVar[str] = "ocr"
    purpose: ClassVar[str] = PURPOSES["ocr"]

    lang: str = Field(default="en", description="The language of the texts, as PaddleOCR names it.")
    device: str = Field(default="cpu", description="cpu, gpu or gpu:0.")

    @property
    def model(self) -> ModelSpec:
        """PP-OCR on PaddlePaddle."""
        arguments = (("lang", self.lang), ("device", self.device))
        return ModelSpec(path="resources.paddleocr_model:PaddleOCRModel", arguments=arguments)

    @property
    def packages(self) -> Sequence[str]:
        """Its release decides which weights are fetched."""
        return paddleocr_model.PACKAGES

    @property
    def lane(self) -> str:
        """Its processes are its own."""
        return f"paddleocr {self.device}"
