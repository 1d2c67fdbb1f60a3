"""The OpenAPI document of the server of operators, fuzzed: whatever comes in, what goes out is as the document says."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.openapi import from_url
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from schemathesis.transport.serialization import Binary

from resources.operator_server import create_app
from tests.operator_peers import Measuring, picture, running

EXAMPLES = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
LOOK = ("/v1/operators/{name}", "post")
OPERATIONS = [("/healthz", "get"), ("/v1/operators", "get"), LOOK]
# What does not fit may do so once it is a form: of an empty list of parameters nothing is left.
EXCLUDED: list[Any] = [positive_data_acceptance, negative_data_rejection]


@pytest.fixture(scope="module")
def api() -> Iterator[BaseSchema]:
    app = create_app({"measure": Measuring()}, max_bytes=1_000_000, max_concurrent=2)
    with running(app) as url:
        yield from_url(f"{url}/openapi.json")


def test_every_operation_is_fuzzed(api: BaseSchema) -> None:
    found = [each.ok() for each in api.get_all_operations() if isinstance(each, Ok)]
    assert [(each.path, each.method) for each in found] == OPERATIONS


@pytest.mark.parametrize("operation", OPERATIONS)
@EXAMPLES
@given(data=st.data())
def test_whatever_is_asked_the_answer_is_as_documented(
    api: BaseSchema, operation: tuple[str, str], data: st.DataObject
) -> None:
    draw_case(api, operation, GenerationMode.POSITIVE, data).call_and_validate(excluded_checks=EXCLUDED)


@EXAMPLES
@given(data=st.data())
def test_whatever_does_not_fit_the_document_is_refused_as_documented(api: BaseSchema, data: st.DataObject) -> None:
    case = draw_case(api, LOOK, GenerationMode.NEGATIVE, data)
    case.call_and_validate(excluded_checks=EXCLUDED)
    case.path_parameters = {"name": "measure"}
    case.call_and_validate(excluded_checks=EXCLUDED)


@EXAMPLES
@given(data=st.data())
def test_all_that_fits_the_document_is_accepted_with_an_image(api: BaseSchema, data: st.DataObject) -> None:
    case = draw_case(api, LOOK, GenerationMode.POSITIVE, data)
    case.path_parameters = {"name": "measure"}
    assert isinstance(case.body, dict)
    case.body["image"] = Binary(picture())
    assert case.call_and_validate().status_code == 200


def draw_case(api: BaseSchema, operation: tuple[str, str], mode: GenerationMode, data: st.DataObject) -> Case[Any]:
    path, method = operation
    case: Case[Any] = data.draw(api[path][method].as_strategy(generation_mode=mode))
    return case
