"""Scene graphs: what a chat model sees in an image with regard to a question, as JSON.

    {"objects": ["dog", "ball"],
     "attributes": [{"name": "dog", "value": "brown"}],
     "relationships": [{"dog": {"chases": ["ball"]}}]}

The form is that of compositional chain-of-thought (CCoT), as MMAT-1M's captions use it; the objects are what
`label_bbox` looks for. A graph is asked for once an image and question: the reply ledger has it from then on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict

from mmat_dagster import prompts
from mmat_dagster.chat.asking import ask, malformed, parse_json
from mmat_dagster.images import DAMAGE, FORMATS, LYING, ORIENTATION
from mmat_dagster.interfaces import ChatImage, ChatModel, ChatTurn, RowError
from mmat_dagster.operators.observation import one_line
from mmat_dagster.tools import Failed, Look

PROMPTS = ("caption_system", "caption_scene_graph", "repair")
# More things than this are no answer to a question, and no list that a detector can look for.
MOST_OBJECTS = 30
LONGEST_NAME = 80


def _listed(value: object) -> object:
    """Take `"ball"` for `["ball"]`: models that relate a thing to one other often leave the brackets out."""
    return [value] if isinstance(value, str) else value


_GRAPH = ConfigDict(strict=True, extra="ignore", frozen=True)
Things = Annotated[list[str], BeforeValidator(_listed)]


class Attribute(BaseModel):
    """A property of an object."""

    model_config = _GRAPH

    name: str
    value: str


class SceneGraph(BaseModel):
    """The objects that matter for the question, their properties, and how they stand to each other."""

    model_config = _GRAPH

    objects: list[str]
    attributes: list[Attribute] = []
    relationships: list[Mapping[str, Mapping[str, Things]]] = []

    @property
    def phrases(self) -> tuple[str, ...]:
        """The objects' names, each once, as a detector takes them."""
        names = (one_line(name, LONGEST_NAME) for name in self.objects)
        return tuple(dict.fromkeys(name for name in names if name))[:MOST_OBJECTS]


@dataclass(frozen=True, kw_only=True)
class SceneGraphs:
    """Asks `model` for scene graphs."""

    model: ChatModel

    @property
    def version(self) -> str:
        """The model with its parameters, and the prompts."""
        return f"{self.model.version} prompts={prompts.fingerprint(*PROMPTS)}"

    async def of(self, look: Look) -> SceneGraph | Failed:
        """Return the scene graph of an image with regard to `look.question`; raise what `ChatModel.complete` raises."""
        messages = render(look)
        if isinstance(messages, Failed):
            return messages
        graph = await ask(self.model, messages, None, parse)
        return Failed(detail=f"{graph.reason}: {graph.detail}") if isinstance(graph, RowError) else graph


def render(look: Look) -> tuple[ChatTurn, ...] | Failed:
    """Render the request for a scene graph; Failed where the image cannot be sent."""
    image = chat_image(look)
    if isinstance(image, Failed):
        return image
    system = ChatTurn(role="system", text=prompts.render("caption_system"))
    asked = ChatTurn(
        role="user", text=prompts.render("caption_scene_graph", question=asked_about(look)), images=(image,)
    )
    return (system, asked)


def parse(text: str) -> SceneGraph | RowError:
    """Read a scene graph from a reply."""
    graph = parse_json(text, SceneGraph)
    if isinstance(graph, SceneGraph) and graph.objects and not graph.phrases:
        return malformed(text, "objects: their names are empty")
    return graph


def render_graph(graph: SceneGraph) -> str:
    """Return a graph as JSON text for a prompt."""
    return graph.model_dump_json()


def asked_about(look: Look) -> str:
    """Return the question that an image is looked at for."""
    return look.question.strip() or "What does the image show?"


def chat_image(look: Look) -> ChatImage | Failed:
    """Return the image of a look as a chat model gets it."""
    if not isinstance(look.image, Path):
        return Failed(detail="a chat model is asked about image files only")
    width, height = look.width, look.height
    if not (width and height):
        try:
            width, height = _size(look.image)
        except DAMAGE as error:
            return Failed(detail=f"{type(error).__name__}: {error}")
    return ChatImage(
        path=look.image, sha256=look.sha256, width=width, height=height, reference=look.reference or look.sha256
    )


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        return (height, width) if image.getexif().get(ORIENTATION) in LYING else (width, height)
