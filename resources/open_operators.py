"""Operators opened outside of a run: for the command line, and for the server that offers them to others."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from mmat_dagster.environment import BadEnvironment, Environment
from mmat_dagster.operators.looking import LookFunction
from mmat_dagster.operators.scene_graph_caption import SceneGraphCaption
from mmat_dagster.tools import Look, Operator, OperatorUnavailable
from resources.deployments import TEACHERS, operator_cache
from resources.operators import OPERATORS, made_over, operators
from resources.stores import open_store


@dataclass(frozen=True, kw_only=True)
class OpenOperators:
    """Operators by name, and how they are made to look: through the deployment's cache."""

    operators: Mapping[str, Operator]
    look: LookFunction


@contextmanager
def open_operators(environment: Environment, names: Sequence[str]) -> Iterator[OpenOperators]:
    """Open the operators `names` as the environment configures them; their workers end with the block.

    Raises BadEnvironment where there is no such operator.
    """
    resources: dict[str, Any] = operators(environment)
    absent = next((name for name in names if name not in resources), None)
    if absent is not None:
        known = "it is off: see MMAT_OPERATORS" if absent in OPERATORS else f"there are {', '.join(OPERATORS)}"
        raise BadEnvironment(f"there is no operator {absent!r}: {known}")
    chosen = {name: resources[name] for name in names}
    cache, teacher = operator_cache(environment), TEACHERS[environment.teacher](environment, open_store(environment))
    with dg.build_resources({**chosen, "cache": cache, "teacher": teacher}) as opened:
        made = {name: made_over(getattr(opened, name), opened.teacher) for name in names}
        yield OpenOperators(operators=made, look=opened.cache)


@contextmanager
def served_operators(environment: Environment, names: Sequence[str]) -> Iterator[OpenOperators]:
    """Open the operators that look at any image that they are sent: all such, or `names`."""
    with open_operators(environment, names or [*operators(environment)]) as opened:
        able = {name: operator for name, operator in opened.operators.items() if _takes_any_image(operator)}
        unable = [name for name in names if name not in able]
        if unable:
            raise OperatorUnavailable(
                f"{unable[0]} cannot be served: this backend needs what a source has annotated, or asks a chat model"
            )
        if not able:
            raise OperatorUnavailable("there is no operator to serve: see MMAT_OPERATORS")
        yield OpenOperators(operators=able, look=opened.look)


def _takes_any_image(operator: Operator) -> bool:
    anything = Look(image=b"", sha256="")
    return operator.parameters(anything) is not None and not isinstance(operator, SceneGraphCaption)
