"""The student that a deployment trains unless a run asks for another one."""

import dagster as dg
from pydantic import Field

from mmat_dagster.training.spec import Student
from mmat_dagster.training.students import find_student


class StudentResource(dg.ConfigurableResource[Student]):
    """A student by name; see the engine's students."""

    name: str = Field(default="tiny", description="tiny, smollm2, a folder, or a hub's org/model@revision.")

    def create_resource(self, context: dg.InitResourceContext) -> Student:  # noqa: ARG002
        """Return the student; its weights are loaded by the training process alone."""
        return find_student(self.name)
