"""What the paper tells of MMAT-1M, to be shown beside one's own figures (arXiv 2507.21924v1)."""

from collections.abc import Mapping

RATIONALES = 1_090_263

# The paper counts rationale steps in turns, and does not say whether the turn of the bare answer is one of them.
STEPS: Mapping[str, int] = {"2": 7_909, "3": 763_212, "4": 221_440, "5 or more": 97_702}
CALLS: Mapping[str, int] = {
    "image_caption": 620_644,
    "label_bbox": 156_237,
    "ocr": 471_866,
    "face_detection": 20_077,
    "rag": 205_682,
}
REFLECTIONS: Mapping[str, int] = {"general": 46_508, "math": 11_139, "none": RATIONALES - 46_508 - 11_139}
