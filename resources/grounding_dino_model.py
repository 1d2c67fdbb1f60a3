"""Open-vocabulary detection by Grounding DINO, the paper's detector, through transformers.

    a St. Bernard, the ball     phrases, as they are asked for
    a st bernard. the ball.     the text that the model reads: a full stop ends a phrase, so none may hold one
    [score of each token], box  what it says of each of its queries
    a St. Bernard: box, score   a query belongs to one phrase: the one that it answers best

Which boxes are kept, and which of their tokens count, is decided as published: by the best token of a box, and token
by token. A box whose tokens are only a part of a phrase belongs to that phrase; one whose tokens span several belongs
to the phrase whose tokens score highest on average (as in the authors' evaluation), those that do not count being nil.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from mmat_dagster.operators.findings import Thing, things_sight
from mmat_dagster.operators.observation import one_line
from mmat_dagster.tools import Sight
from resources.vision_worker import Glance, VisionModel

# The distributions whose versions decide what is found.
PACKAGES = ("transformers", "torch")

# An image takes a canvas of so many pixels or a multiple, so that like shapes share one.
CANVAS_STEP = 64

# What ends a phrase for the model.
_STOPS = re.compile(r"[.?]")


class GroundingDinoModel(VisionModel):
    """Finds the things that phrases name; its weights come from a folder or a hub, as safetensors only.

    Images of like shape go through the model together, each with its own phrases. An image is padded to a canvas that
    its own shape decides: the backbone sees what lies beyond the edge, so its neighbours must not decide how much.
    """

    def __init__(
        self,
        model: str,
        revision: str | None,
        device: str,
        box_threshold: float,
        text_threshold: float,
        max_boxes: int,
    ) -> None:
        """Load the model: on `device`, or with `auto` on a GPU where there is one; `max_boxes` are kept of a phrase."""
        import torch  # noqa: PLC0415  heavy, and only a worker needs them
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor  # noqa: PLC0415
        from transformers.utils import logging  # noqa: PLC0415

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self._box_threshold, self._text_threshold, self._max_boxes = box_threshold, text_threshold, max_boxes
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        known = {"revision": revision or "main", "trust_remote_code": False}
        self._processor = AutoProcessor.from_pretrained(model, **known)
        network = AutoModelForZeroShotObjectDetection.from_pretrained(model, use_safetensors=True, **known)
        self._network = network.to(self._device).eval()

    def look(self, glances: Sequence[Glance]) -> list[Sight]:
        """Return `{phrase: [[x1, y1, x2, y2], ...]}` for each image, of what was found."""
        rows = [_Row(number=i, asked=group) for i, glance in enumerate(glances) for group in self._groups(glance)]
        found: list[list[Thing]] = [[] for _ in glances]
        for row, answer in self._ask(rows, glances):
            found[row.number] += things_in(answer, self._box_threshold, self._text_threshold)
        return [self._told(glance, things) for glance, things in zip(glances, found, strict=True)]

    def _groups(self, glance: Glance) -> list[list[str]]:
        """Return what to ask of an image, in as many texts as the model's limit takes."""
        # Before and behind the phrases stand a token each, and behind each phrase its full stop.
        room = self._network.config.max_text_len - 2
        asked = dict.fromkeys(filter(None, map(asked_as, glance.phrases)))
        return in_groups([(text, self._count(text) + 1) for text in asked], room)

    def _count(self, text: str) -> int:
        return len(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _ask(self, rows: Sequence["_Row"], glances: Sequence[Glance]) -> Iterator[tuple["_Row", "Answer"]]:
        """Return what the model says of each row; those with one canvas are asked in one pass."""
        pixels = {number: self._pixels(glances[number].image) for number in {row.number for row in rows}}
        alike: dict[tuple[int, int], list[_Row]] = {}
        for row in rows:
            alike.setdefault(_canvas(*pixels[row.number].shape[1:]), []).append(row)
        for canvas, together in alike.items():
            texts = self._texts(together)
            seen = padded([pixels[row.number] for row in together], canvas)
            answers = self._pass({**texts, **seen}, [row.asked for row in together])
            yield from zip(together, answers, strict=True)

    def _pass(self, inputs: Mapping[str, Any], asked: Sequence[Sequence[str]]) -> Iterator["Answer"]:
        import torch  # noqa: PLC0415  heavy, and only a worker needs it

        with torch.inference_mode():
            outputs = self._network(**{name: value.to(self._device) for name, value in inputs.items()})
        logits, boxes = outputs.logits.float().cpu(), outputs.pred_boxes.float().cpu()
        scores = torch.where(torch.isfinite(logits), logits.sigmoid(), 0.0)
        kept = scores.amax(-1) > self._box_threshold
        for i, phrases in enumerate(asked):
            spans = dict(zip(phrases, self._spans(inputs["input_ids"][i].tolist()), strict=False))
            yield Answer(spans=spans, scores=scores[i, kept[i]].tolist(), boxes=boxes[i, kept[i]].tolist())

    def _pixels(self, image: Image.Image) -> Any:
        """Return an image as the model sees it: colours, rows, columns."""
        return self._processor.image_processor(images=image, do_pad=False, return_tensors="pt")["pixel_values"][0]

    def _texts(self, rows: Sequence["_Row"]) -> Mapping[str, Any]:
        # A single phrase that is longer than the limit is cut.
        limit = {"truncation": True, "max_length": self._network.config.max_text_len}
        texts = [". ".join(row.asked) + "." for row in rows]
        known: Mapping[str, Any] = self._processor.tokenizer(
            texts, padding=True, return_token_type_ids=True, return_tensors="pt", **limit
        )
        return known

    def _spans(self, tokens: Sequence[int]) -> list[list[int]]:
        """Return at which places the tokens of each phrase stand."""
        tokenizer = self._processor.tokenizer
        stop = tokenizer.convert_tokens_to_ids(".")
        silent = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        spans: list[list[int]] = [[]]
        for place, token in enumerate(tokens):
            if token == stop:
                spans.append([])
            elif token not in silent:
                spans[-1].append(place)
        return spans

    def _told(self, glance: Glance, found: Iterable[Thing]) -> Sight:
        """Tell of each phrase what was found under the text that it was asked as."""
        ordered = sorted(found, key=lambda thing: -(thing.score or 0.0))
        things = [
            Thing(phrase=phrase, box=thing.box, score=thing.score)
            for phrase in dict.fromkeys(glance.phrases)
            for thing in [thing for thing in ordered if thing.phrase == asked_as(phrase)][: self._max_boxes]
        ]
        return things_sight(things, glance.phrases)


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One image of a pass, by its number among the glances, and the phrases that are asked of it together."""

    number: int
    asked: list[str]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model says of one image: at which tokens each phrase stands, and each query's token scores and box.

    A box is the share of its centre and its size in the image's width and height.
    """

    spans: Mapping[str, Sequence[int]]
    scores: Sequence[Sequence[float]]
    boxes: Sequence[Sequence[float]]


def padded(images: Sequence[Any], canvas: tuple[int, int]) -> dict[str, Any]:
    """Return images on canvases of so many rows and columns, and a mask of what is image."""
    import torch  # noqa: PLC0415  heavy, and only a worker needs it

    pixels = torch.zeros(len(images), 3, *canvas)
    mask = torch.zeros(len(images), *canvas, dtype=torch.long)
    for i, image in enumerate(images):
        _, rows, columns = image.shape
        pixels[i, :, :rows, :columns] = image
        mask[i, :rows, :columns] = 1
    return {"pixel_values": pixels, "pixel_mask": mask}


def asked_as(phrase: str) -> str:
    """Return a phrase as the model reads it: one line of small letters without what ends a phrase."""
    return " ".join(_STOPS.sub(" ", one_line(phrase)).lower().split())


def in_groups(sized: Iterable[tuple[str, int]], room: int) -> list[list[str]]:
    """Return texts in groups whose sizes fit into `room` together; one that does not fit at all has its own."""
    groups: list[list[str]] = []
    left = 0
    for text, size in sized:
        if not groups or size > left:
            groups.append([])
            left = room
        groups[-1].append(text)
        left -= size
    return groups


def things_in(answer: Answer, box_threshold: float, text_threshold: float) -> list[Thing]:
    """Return the boxes whose best token scores above `box_threshold`, each under the phrase that it answers best."""
    things: list[Thing] = []
    for scores, centred in zip(answer.scores, answer.boxes, strict=True):
        best = max((scores[place] for span in answer.spans.values() for place in span), default=0.0)
        phrase = _best_phrase(scores, answer.spans, text_threshold)
        box = _corners(centred)
        if best > box_threshold and phrase is not None and box is not None:
            things.append(Thing(phrase=phrase, box=box, score=best))
    return things


def _best_phrase(scores: Sequence[float], spans: Mapping[str, Sequence[int]], text_threshold: float) -> str | None:
    def answers(phrase: str) -> float:
        counting = [scores[place] for place in spans[phrase] if scores[place] > text_threshold]
        return sum(counting) / max(len(spans[phrase]), 1)

    best = max(spans, key=answers, default=None)
    return best if best is not None and answers(best) > 0 else None


def _canvas(rows: int, columns: int) -> tuple[int, int]:
    return math.ceil(rows / CANVAS_STEP) * CANVAS_STEP, math.ceil(columns / CANVAS_STEP) * CANVAS_STEP


def _corners(centred: Sequence[float]) -> tuple[float, float, float, float] | None:
    """Return a box inside the image, or None where there is nothing of it."""
    x, y, width, height = centred
    if not all(map(math.isfinite, centred)):
        return None
    x1, x2 = _inside(x - width / 2), _inside(x + width / 2)
    y1, y2 = _inside(y - height / 2), _inside(y + height / 2)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def _inside(share: float) -> float:
    return min(max(share, 0.0), 1.0)
