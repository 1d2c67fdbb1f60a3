"""What the paper's operators are for, as the prompts of teacher and student say, whoever carries them out."""

from collections.abc import Mapping
from types import MappingProxyType

PURPOSES: Mapping[str, str] = MappingProxyType(
    {
        "ocr": "reads the text in the image, line by line, such as tables, signs, receipts and labels",
        "face_detection": "counts the faces in the image and gives the pixel box of each",
        "label_bbox": "finds the named things in the image and gives the box of each, normalised to 0..1",
        "image_caption": "describes what the image shows, with regard to the question",
    }
)
