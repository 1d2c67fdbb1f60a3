"""image_caption as a resource: the caption that the source itself carries, or one that the teacher's model writes."""

import dagster as dg
from pydantic import Field

from mmat_dagster.interfaces import ChatModel, OperatorMaker
from mmat_dagster.operators.observation import MAX_CHARS
from mmat_dagster.operators.scene_graph_caption import SceneGraphCaption
from mmat_dagster.operators.source_caption import SourceCaption
from mmat_dagster.tools import Operator


class SourceCaptionResource(dg.ConfigurableResource[Operator]):
    """Gives the teacher the source's own caption; not offered where a sample has none."""

    max_chars: int = Field(default=MAX_CHARS, gt=20, description="A longer caption is cut, and the cut marked.")

    def create_resource(self, context: dg.InitResourceContext) -> Operator:  # noqa: ARG002
        """Return the operator."""
        return SourceCaption(self.max_chars)


class SceneGraphCaptionResource(dg.ConfigurableResource[OperatorMaker], OperatorMaker):
    """Writes captions in two calls to the teacher's model: a scene graph, then a caption that keeps to it."""

    max_chars: int = Field(default=MAX_CHARS, gt=20, description="A longer caption is cut, and the cut marked.")

    def over(self, model: ChatModel) -> Operator:
        """Return the operator."""
        return SceneGraphCaption(model, self.max_chars)
