"""The figures of MMAT-1M (arXiv 2507.21924), to stand beside a release's own.

Dialogues by source: its Table 1. Rationale steps, operator calls and reflections: its section on the dataset. The paper
counts steps over question-answer pairs, of which one dialogue may hold several.
"""

from mmat_dagster.schema import SourceName

ARXIV = "2507.21924"
DIALOGUES: dict[SourceName, int] = {
    "visual_cot": 434_265,
    "llava_cot": 98_561,
    "the_cauldron": 215_680,
    "tabmwp": 23_059,
    "infoseek": 131_400,
}
ROUNDS = {"1": 846_389, "2": 28_646, "3 or more": 27_930}
STEPS = {"2": 7_909, "3": 763_212, "4": 221_440, "5 or more": 97_702}
CALLS = {"image_caption": 620_644, "label_bbox": 156_237, "ocr": 471_866, "face_detection": 20_077, "rag": 205_682}
REFLECTIONS = {"general": 46_508, "math": 11_139}
QA_PAIRS = 1_090_263
# Of all dialogues, as a vision model judged them.
GOOD = "over 89 %"

CITATION = """\
@inproceedings{mmat1m2025,
  title     = {MMAT-1M: A Large Reasoning Dataset for Multimodal Agent Tuning},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)},
  year      = {2025},
  eprint    = {2507.21924},
  archivePrefix = {arXiv}
}"""
