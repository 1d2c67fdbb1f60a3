"""What label_bbox looks for: things that are asked for, those of the scene graph, or those that the source marks."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import ClassVar

from mmat_dagster.interfaces import ChatModel
from mmat_dagster.operators.looking import for_each
from mmat_dagster.operators.observation import one_line
from mmat_dagster.operators.purposes import PURPOSES
from mmat_dagster.operators.scene_graph import SceneGraph, SceneGraphs
from mmat_dagster.tools import Failed, Look, Operator, Sight


class PhrasedBoxes(Operator):
    """Has a detector look for the phrases of each image.

    With a chat model these are the objects of its scene graph, as in the paper; without one the phrases that the source
    itself marks, and the operator is not offered where it marks nothing.
    """

    name: ClassVar[str] = "label_bbox"
    purpose: ClassVar[str] = PURPOSES["label_bbox"]

    def __init__(self, detector: Operator, model: ChatModel | None = None) -> None:
        self._detector, self._model = detector, model
        self._graphs = None if model is None else SceneGraphs(model=model)
        self.max_chars = detector.max_chars

    @property
    def version(self) -> str:
        """The detector's version, and that of the scene graphs."""
        return f"{self._detector.version} phrases={self._graphs.version if self._graphs else 'of the source'}"

    def parameters(self, look: Look) -> str:
        """Return the phrases, or the question that decides them."""
        phrases = look.phrases or (() if self._graphs else _marked(look))
        return json.dumps(phrases) if phrases or self._graphs is None else f"question: {look.question}"

    def offers(self, looks: Sequence[Look]) -> bool:
        """Say whether there is something to look for."""
        return any(self._graphs is not None or look.boxes for look in looks)

    @asynccontextmanager
    async def session(self, label: str) -> AsyncIterator[None]:
        """Open the model, and what the detector needs."""
        asks = nullcontext() if self._model is None else self._model.session(label)
        async with asks, self._detector.session(label):
            yield

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        """Find out what to look for, then look."""
        phrased = await for_each(self._phrased, looks)
        sound = [look for look in phrased if isinstance(look, Look)]
        seen = iter(await self._detector.look(sound) if sound else ())
        return [next(seen) if isinstance(look, Look) else look for look in phrased]

    async def _phrased(self, look: Look) -> Look | Failed:
        if look.phrases:
            return look
        if self._graphs is None:
            return replace(look, phrases=_marked(look))
        graph = await self._graphs.of(look)
        return replace(look, phrases=graph.phrases) if isinstance(graph, SceneGraph) else graph


def _marked(look: Look) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one_line(box.phrase) for box in look.boxes))
