"""Who audits dialogues, as resources: the deterministic checks alone, the teacher's own model, or another one."""

import dagster as dg

from mmat_dagster.interfaces import ChatModel, Judge, JudgeMaker, Pictures, Teacher, TeacherUnavailable
from mmat_dagster.judges.prompted import PromptedJudge


class ChecksAlone(dg.ConfigurableResource[JudgeMaker], JudgeMaker):
    """Asks nobody; needs no key and no network."""

    def beside(self, teacher: Teacher, pictures: Pictures) -> Judge | None:  # noqa: ARG002
        """Return nobody."""
        return None


class TeachersModelJudge(dg.ConfigurableResource[JudgeMaker], JudgeMaker):
    """Asks the model that the teacher asks."""

    def beside(self, teacher: Teacher, pictures: Pictures) -> Judge | None:
        """Return a judge over the teacher's model; raise TeacherUnavailable where it asks none."""
        if teacher.model is None:
            raise TeacherUnavailable(f"the {teacher.name} teacher asks no model: name one that judges (MMAT_JUDGE)")
        return PromptedJudge(model=teacher.model, pictures=pictures)


class ModelJudge(dg.ConfigurableResource[JudgeMaker], JudgeMaker):
    """Asks a chat model of its own."""

    chat_model: dg.ResourceDependency[ChatModel]

    def beside(self, teacher: Teacher, pictures: Pictures) -> Judge | None:  # noqa: ARG002
        """Return a judge over the model."""
        return PromptedJudge(model=self.chat_model, pictures=pictures)
