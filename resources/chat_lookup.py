"""Looks a model up before anything is spent: does the server know it, and for how long will it?"""

from collections.abc import Callable
from datetime import UTC, date, datetime

import httpx2
from pydantic import BaseModel, ValidationError

from mmat_dagster.chat.models import ModelFacts
from mmat_dagster.interfaces import TeacherUnavailable
from resources.chat_calls import call
from resources.chat_http import ChatServer

# A shutdown that is nearer than this is worth a warning in every run.
NEAR_DAYS = 90
NAMES_TOLD = 10
ATTEMPTS = 4
# Not every server has a list of models.
NO_LIST = frozenset({404, 405, 501})


class ListedModel(BaseModel):
    """A model as a server lists it; OpenAI's tells when one will be gone."""

    id: str
    shutdown_date: str | int | None = None


class ModelList(BaseModel):
    """The body of GET /v1/models."""

    data: list[ListedModel]


async def look_up(
    server: ChatServer, facts: ModelFacts, today: date, backoff_s: float, warn: Callable[[str], None]
) -> None:
    """Raise TeacherUnavailable where the model is unknown or gone; warn where it will be soon."""
    listed = await fetch_models(server, backoff_s)
    if listed is not None and facts.name not in {model.id for model in listed}:
        names = sorted(model.id for model in listed)
        more = f" and {len(names) - NAMES_TOLD} more" if len(names) > NAMES_TOLD else ""
        raise TeacherUnavailable(
            f"{server.name} does not know the model {facts.name}: set `model` (MMAT_MODEL) to one of "
            f"{', '.join(names[:NAMES_TOLD])}{more}"
        )
    told = [_date(model.shutdown_date) for model in listed or () if model.id == facts.name]
    check_shutdown(facts, next(filter(None, told), facts.shutdown), today, warn)


def check_shutdown(facts: ModelFacts, shutdown: date | None, today: date, warn: Callable[[str], None]) -> None:
    """Raise TeacherUnavailable for a model that is gone; warn of one that will be within NEAR_DAYS."""
    if shutdown is None:
        return
    after = f"; its named successor is {facts.successor}" if facts.successor else ""
    if today >= shutdown:
        raise TeacherUnavailable(
            f"the model {facts.name} was shut down on {shutdown}: set `model` (MMAT_MODEL) to another one{after}"
        )
    if (shutdown - today).days <= NEAR_DAYS:
        warn(f"the model {facts.name} will be shut down on {shutdown}, in {(shutdown - today).days} days{after}")


async def fetch_models(server: ChatServer, backoff_s: float) -> list[ListedModel] | None:
    """Return the models that the server lists; None where it has no list."""

    async def fetch() -> httpx2.Response:
        return await server.client.get("/models", cast_to=httpx2.Response)

    response = await call(server, backoff_s, fetch, attempts=ATTEMPTS, absent=NO_LIST)
    if response is None:
        return None
    try:
        return ModelList.model_validate_json(server.kept(response.content)).data
    except ValidationError:
        failure = f"{server.name} does not list its models in the API's form: check `base_url`"
    raise TeacherUnavailable(failure)


def _date(told: str | int | None) -> date | None:
    if told is None:
        return None
    try:
        return datetime.fromtimestamp(told, UTC).date() if isinstance(told, int) else date.fromisoformat(told[:10])
    except (ValueError, OverflowError):
        return None
