"""Face detection by DeepFace, the paper's: a door to many detectors, most of which fetch weights when they load."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from PIL import Image

from mmat_dagster.operators.findings import Face, faces_sight
from mmat_dagster.tools import Sight
from resources.vision_worker import Glance, VisionModel

# The distributions whose versions decide what is found.
PACKAGES = ("deepface", "retina-face", "opencv-contrib-python-headless", "onnxruntime")

# Where TensorFlow is installed, DeepFace runs on it, and it counts its threads by these; only errors are worth a line.
SETTINGS = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "DEEPFACE_LOG_LEVEL": "40"}


class DeepFaceModel(VisionModel):
    """Finds faces of at least `min_confidence` (0..1) with one of DeepFace's detectors (`retinaface`, `mtcnn`, ...)."""

    def __init__(self, detector: str, min_confidence: float) -> None:
        """Load the detector."""
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        from deepface import DeepFace  # noqa: PLC0415  heavy, and only a worker needs it

        DeepFace.build_model(detector, task="face_detector")
        self._extract_faces = DeepFace.extract_faces
        self._detector, self._min_confidence = detector, min_confidence

    def look(self, glances: Sequence[Glance]) -> list[Sight]:
        """Return the faces of each image, left to right, in pixels."""
        return [faces_sight(self._faces(glance.image)) for glance in glances]

    def _faces(self, image: Image.Image) -> Iterator[Face]:
        import numpy as np  # noqa: PLC0415  heavy, and only a worker needs it

        found = self._extract_faces(
            img_path=np.ascontiguousarray(np.asarray(image)[:, :, ::-1]),
            detector_backend=self._detector,
            # One image without a face is no error.
            enforce_detection=False,
            # Only boxes are wanted: aligning costs time, and puts the image on a black ground four times its size.
            align=False,
            normalize_face=False,
        )
        for face in found:
            box, confidence = _box(face["facial_area"], image), float(face["confidence"])
            # Where there is no face, the whole image is returned with confidence 0.
            if confidence > 0 and confidence >= self._min_confidence and box[0] < box[2] and box[1] < box[3]:
                yield Face(box=box, confidence=confidence)


def _box(area: Mapping[str, Any], image: Image.Image) -> tuple[int, int, int, int]:
    x, y, width, height = (int(area[key]) for key in ("x", "y", "w", "h"))
    return (
        _inside(x, image.width),
        _inside(y, image.height),
        _inside(x + width, image.width),
        _inside(y + height, image.height),
    )


def _inside(edge: int, size: int) -> int:
    return min(max(edge, 0), size)
