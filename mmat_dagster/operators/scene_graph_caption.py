"""image_caption by a chat model, in two calls: a scene graph with regard to the question, then a caption from it.

The paper's way (compositional chain-of-thought): the graph makes the caption tell of what the question is about.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from mmat_dagster import prompts
from mmat_dagster.chat.asking import ask, malformed, parse_json
from mmat_dagster.chat.schemas import reply_schema
from mmat_dagster.fingerprints import code_fingerprint
from mmat_dagster.interfaces import ChatModel, ChatTurn, RowError
from mmat_dagster.operators import scene_graph
from mmat_dagster.operators.looking import for_each
from mmat_dagster.operators.purposes import PURPOSES
from mmat_dagster.operators.scene_graph import SceneGraph, SceneGraphs
from mmat_dagster.spending import Forecast
from mmat_dagster.tools import Failed, Look, Operator, Sight

CODE = ("operators/scene_graph.py", "operators/scene_graph_caption.py", "chat/asking.py")
# MMAT-1M: 620,644 calls of the captioner in 1,090,263 rationales.
USUAL_CALLS = 0.57
USUAL_GRAPH = SceneGraph(objects=["a thing that matters for the question"] * 8)


class CaptionReply(BaseModel):
    """The caption as the model writes it."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    caption: str


CAPTION = reply_schema("caption", CaptionReply)


class SceneGraphCaption(Operator):
    """Describes an image with regard to the question; asks the deployment's chat model."""

    name: ClassVar[str] = "image_caption"
    purpose: ClassVar[str] = PURPOSES["image_caption"]

    def __init__(self, model: ChatModel, max_chars: int) -> None:
        self._model, self.max_chars = model, max_chars
        self._graphs = SceneGraphs(model=model)

    @property
    def version(self) -> str:
        """The model with its parameters, prompts and code."""
        return f"{self._graphs.version} caption={prompts.fingerprint('caption_text')} code={code_fingerprint(*CODE)}"

    def parameters(self, look: Look) -> str:
        """Return the question, which decides what is told."""
        return look.question

    def session(self, label: str) -> AbstractAsyncContextManager[None]:
        """Open the model."""
        return self._model.session(label)

    def forecast(self, looks: Sequence[Look]) -> Forecast:
        """Forecast two calls for each image, as often as the paper's teacher asked for a caption."""
        total = Forecast()
        for look in looks:
            messages = scene_graph.render(look)
            if isinstance(messages, Failed):
                continue
            # The instructions are kept from other images, and the image from the call before.
            graph = self._model.forecast(messages, None, kept=1)
            caption = self._model.forecast(render(look, USUAL_GRAPH), CAPTION, kept=2)
            total = total.plus(graph, USUAL_CALLS).plus(caption, USUAL_CALLS)
        return total

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        """Ask for graph and caption of each image, of all at once: in batches, what one waits for all wait for."""
        return await for_each(self._caption, looks)

    async def _caption(self, look: Look) -> Sight | Failed:
        graph = await self._graphs.of(look)
        if isinstance(graph, Failed):
            return graph
        caption = await ask(self._model, render(look, graph), CAPTION, parse)
        if isinstance(caption, RowError):
            return Failed(detail=f"{caption.reason}: {caption.detail}")
        return Sight(text=caption, details={"caption": caption, "scene_graph": graph.model_dump(mode="json")})


def render(look: Look, graph: SceneGraph) -> tuple[ChatTurn, ...]:
    """Render the request for the caption: the conversation of the graph, gone on with, so that its prefix is kept."""
    before = scene_graph.render(look)
    assert not isinstance(before, Failed)  # the graph was asked for with it
    said = ChatTurn(role="assistant", text=scene_graph.render_graph(graph))
    return (*before, said, ChatTurn(role="user", text=prompts.render("caption_text")))


def parse(text: str) -> str | RowError:
    """Read the caption from a reply."""
    reply = parse_json(text, CaptionReply)
    if isinstance(reply, RowError):
        return reply
    return " ".join(reply.caption.split()) or malformed(text, "an empty caption")
