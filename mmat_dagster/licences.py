"""Under which terms each part of a source may be used; what its publishers say, with where they say it.

A part is bound by every publisher it stands on: who wrote its questions, and whose pictures they are asked over. It
counts as commercial only where a publisher's own page says what allows it and nobody forbids it: silence, a mirror's
word and a contradiction count as no. The terms of the models that wrote some of the text are another matter.
"""

from dataclasses import dataclass

from mmat_dagster.schema import SourceName


@dataclass(frozen=True, kw_only=True)
class Licence:
    """A licence as its name stands in a record, and whether it lets the part be used commercially.

    `evidence` is the publisher's own page that says so, empty where none was found.
    """

    name: str
    is_commercial: bool
    evidence: str = ""


_VISUAL_COT = "https://huggingface.co/datasets/deepcs233/Visual-CoT"
_LLAVA_COT = "https://huggingface.co/datasets/Xkev/LLaVA-CoT-100k"
_SHARE_GPT4V = "https://huggingface.co/datasets/Lin-Chen/ShareGPT4V"
# Many of COCO's photos, and with them Visual Genome's and GQA's, are on Flickr under non-commercial licences.
_COCO = "https://cocodataset.org/#termsofuse"
_PROMPTS = "CC BY 4.0 (prompts)"


def _over(images: str, is_commercial: bool = False, evidence: str = "") -> Licence:
    return Licence(name=f"Apache-2.0 over {images}", is_commercial=is_commercial, evidence=evidence)


def _subset(name: str, is_commercial: bool = False, evidence: str = "") -> Licence:
    return Licence(name=f"{name} + {_PROMPTS}", is_commercial=is_commercial, evidence=evidence)


NON_COMMERCIAL_SHARE_ALIKE = Licence(
    name="CC BY-NC-SA 4.0", is_commercial=False, evidence="https://github.com/lupantech/PromptPG"
)
# OVEN's photos come from 14 sets; among them are ImageNet's and iNaturalist's, which are for research.
_OVEN = Licence(
    name="Apache-2.0 over OVEN's images", is_commercial=False, evidence="https://huggingface.co/datasets/ychenNLP/oven"
)
_SHARED = Licence(name="CC BY-NC 4.0 (ShareGPT4V)", is_commercial=False, evidence=_SHARE_GPT4V)
_VISUAL7W = _over("MIT (Visual7W), COCO's images", evidence=_COCO)

# What holds where a part has no entry of its own: a folder that nobody knows yet may not be used commercially.
DEFAULTS: dict[SourceName, Licence] = {
    "visual_cot": Licence(name="Apache-2.0", is_commercial=False, evidence=_VISUAL_COT),
    "llava_cot": Licence(name="Apache-2.0", is_commercial=False, evidence=_LLAVA_COT),
    "the_cauldron": Licence(name=f"per subset + {_PROMPTS}", is_commercial=False),
    "tabmwp": NON_COMMERCIAL_SHARE_ALIKE,
    "infoseek": _OVEN,
}
PARTS: dict[SourceName, dict[str, Licence]] = {
    "visual_cot": {
        "cub": _over("CUB-200-2011's images"),
        "docvqa": _over("DocVQA's terms"),
        "dude": _over("CC BY 4.0 (DUDE)", True, "https://huggingface.co/datasets/jordyvl/DUDE_loader"),
        "flickr30k": _over("Flickr30K's terms", evidence="https://github.com/BryanPlummer/flickr30k_entities"),
        "gqa": _over("CC BY 4.0 (GQA), COCO's images", evidence=_COCO),
        "infographicsvqa": _over("InfographicVQA's terms"),
        "openimages": _over("CC BY 2.0 (Open Images)", True, "https://github.com/openimages/dataset"),
        "sroie": _over("SROIE's terms"),
        "textcap": _over("CC BY 4.0 (TextCaps)"),
        "textvqa": _over("CC BY 4.0 (TextVQA)", True, "https://huggingface.co/datasets/facebook/textvqa"),
        "visual7w": _VISUAL7W,
        "v7w": _VISUAL7W,  # as the merged file calls it
        "vsr": _over("CC BY 4.0 (VSR), COCO's images", evidence=_COCO),
    },
    "llava_cot": {
        "ai2d": _over("AI2D's terms"),
        "chartqa": _over("GPL-3.0 (ChartQA)", True, "https://huggingface.co/datasets/ahmed-masry/ChartQA"),
        "clevr_v1.0": _over("CC BY 4.0 (CLEVR)", True, "https://cs.stanford.edu/people/jcjohns/clevr/"),
        "coco": _SHARED,  # A-OKVQA's questions, too, are over COCO's images
        "docvqa": _over("DocVQA's terms"),
        "geoqa+": _over("GeoQA+'s terms"),
        "gqa": _SHARED,
        "llava": _SHARED,
        "ocr_vqa": _SHARED,
        "pisc": _over("PISC's terms"),
        "sam": _SHARED,
        "share_textvqa": _SHARED,
        "sqa": _over("CC BY-NC-SA 4.0 (ScienceQA)", evidence="https://github.com/lupantech/ScienceQA"),
        "textvqa": _SHARED,
        "vg": _SHARED,
        "web-celebrity": _SHARED,
        "web-landmark": _SHARED,
        "wikiart": _SHARED,
    },
    "the_cauldron": {
        "hateful_memes": _subset("Hateful Memes dataset licence"),
        "iconqa": _subset("CC BY-NC-SA 4.0", evidence="https://github.com/lupantech/IconQA"),
        "intergps": _subset("MIT", True, "https://github.com/lupantech/InterGPS"),
        "raven": _subset("GPL-3.0"),
        "robut_wikisql": _subset(
            "MIT (RobuT) over BSD-3-Clause (WikiSQL)", True, "https://huggingface.co/datasets/yilunzhao/robut"
        ),
        "robut_wtq": _subset(
            "MIT (RobuT) over CC BY-SA 4.0 (WikiTableQuestions)",
            True,
            "https://huggingface.co/datasets/yilunzhao/robut",
        ),
        "screen2words": _subset("CC BY 4.0"),
        "st_vqa": _subset("Scene Text VQA terms of use", evidence=_COCO),
        "tqa": _subset("CC BY-NC 3.0", evidence="https://prior.allenai.org/projects/tqa"),
        "vistext": _subset("GPL-3.0"),
    },
    "tabmwp": dict.fromkeys(("train", "dev"), NON_COMMERCIAL_SHARE_ALIKE),
    "infoseek": dict.fromkeys(("train", "val"), _OVEN),
}


def licence_of(source: SourceName, part: str) -> Licence:
    """Return the licence of a part of a source; that of the whole source where the part has none of its own."""
    return PARTS.get(source, {}).get(part, DEFAULTS[source])
