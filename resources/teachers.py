"""The teachers as resources: the offline one, and one that asks a chat model."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from mmat_dagster.images import StoredPictures
from mmat_dagster.interfaces import ChatModel, Store, Teacher
from mmat_dagster.stages.rationale import MAX_TURNS, REFLECTION_TURNS
from mmat_dagster.teachers.annotations import AnnotationsTeacher
from mmat_dagster.teachers.prompted import PromptedTeacher


class AnnotationsTeacherResource(dg.ConfigurableResource[Teacher]):
    """Reasons from the source's own annotations; needs no key and no network."""

    def create_resource(self, context: dg.InitResourceContext) -> Teacher:  # noqa: ARG002
        """Return the teacher."""
        return AnnotationsTeacher()


class PromptedTeacherResource(dg.ConfigurableResource[Teacher]):
    """Asks a chat model, one JSON object per step."""

    chat_model: dg.ResourceDependency[ChatModel]
    sources: str = Field(description="The folder with one sub-folder per source.")
    store: dg.ResourceDependency[Store]
    max_turns: int = Field(
        default=MAX_TURNS,
        gt=REFLECTION_TURNS,
        description="Assistant turns before the answer; two are kept for a reflection.",
    )

    def create_resource(self, context: dg.InitResourceContext) -> Teacher:  # noqa: ARG002
        """Return the teacher."""
        pictures = StoredPictures(source_root=Path(self.sources), store=self.store)
        return PromptedTeacher(model=self.chat_model, pictures=pictures, max_turns=self.max_turns - REFLECTION_TURNS)
