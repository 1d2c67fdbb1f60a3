"""What a teacher or a student may call while it reasons: operators look at images, a retriever searches texts.

Sample --one Look an image--> Operator --Sight | Failed an image--> one line of text, the observation
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from mmat_dagster.schema import Box
from mmat_dagster.spending import Forecast, Spending


class OperatorUnavailable(Exception):
    """An operator or a search cannot work at all (a model does not load, a server is away, a quota is used up): the
    run stops and says so.
    """


class SearchFailed(Exception):
    """One query got no answer, while others do; the dialogue goes on and says so."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One image to look at, and what is asked of it.

    `image` is its file, or its bytes; `sha256` is their hash, in hex. `question` is what the image is looked at for and
    `phrases` the things to find in it; both may be empty. `width` and `height` are upright pixels, 0 where nobody has
    measured them. `boxes` and `caption` are what the source's own people said of this image. `reference` names it for a
    server that fetches images itself: `<source>/<path>` or the store's `images/...`.
    """

    image: Path | bytes
    sha256: str
    question: str = ""
    phrases: tuple[str, ...] = ()
    width: int = 0
    height: int = 0
    boxes: tuple[Box, ...] = ()
    caption: str | None = None
    reference: str = ""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What an operator found in one image: `text` as the wire form tells it, `details` the same for programs."""

    text: str
    details: JsonValue = None


@dataclass(frozen=True, kw_only=True)
class Failed:
    """Why an operator could not look at one image; the dialogue goes on and says so."""

    detail: str


class Operator(ABC):
    """A tool that looks at images; what it says becomes an observation of the dialogue."""

    name: ClassVar[str]
    """How it is called: lower case letters, digits and `_`."""
    purpose: ClassVar[str]
    """When to use it, as the prompts of teacher and student say."""
    max_chars: int
    """A longer observation is cut, and the cut marked. A default here would take the place of a resource's field."""

    @property
    @abstractmethod
    def version(self) -> str:
        """What decides its results besides the image and what is asked: package, model, settings, code."""

    def parameters(self, look: Look) -> str | None:  # noqa: ARG002
        """Return what of `look`, besides the image, decides the result; None where a result is not worth keeping."""
        return ""

    def offers(self, looks: Sequence[Look]) -> bool:
        """Say whether this operator has something to tell about the images of a question.

        If not, the teacher, or the student, does not hear of it.
        """
        return bool(looks)

    def session(self, label: str) -> AbstractAsyncContextManager[None]:  # noqa: ARG002
        """Open what the operator needs for work on `label` (`rationales of tabmwp`)."""
        return nullcontext()

    def forecast(self, looks: Sequence[Look]) -> Forecast:  # noqa: ARG002
        """Return which calls to a chat model a sample with these images will probably take, if any."""
        return Forecast()

    @abstractmethod
    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        """Return one result for each look, in their order; a failure never touches the other looks.

        Raises OperatorUnavailable where it could not look at any image. One that asks a chat model raises what that
        model's `complete` raises.
        """


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A piece of text that a search found; `id` is unique in its corpus, a higher `score` fits the query better."""

    id: str
    title: str
    text: str
    score: float = field(default=0.0, compare=False)


class Retriever(ABC):
    """Text-to-text search for RAG queries."""

    @property
    @abstractmethod
    def version(self) -> str:
        """What decides its results besides the query: engine, corpus, parameters."""

    @property
    def spending(self) -> Spending | None:
        """What searching has cost; None for a search that costs nothing."""
        return None

    @property
    def usd_per_search(self) -> float:
        """What one search costs at most."""
        return 0.0

    def session(self, label: str) -> AbstractAsyncContextManager[None]:  # noqa: ARG002
        """Open what the search needs for work on `label`."""
        return nullcontext()

    @abstractmethod
    async def search(self, query: str, top_k: int, question: str = "") -> tuple[Passage, ...]:
        """Return at most `top_k` passages, best first; an empty tuple where nothing matches.

        `question` is what the search is for: its language is the language of what is searched. Raises SearchFailed
        where this query cannot be answered, OperatorUnavailable where none can, and BudgetReached and LedgerError where
        searching costs money.
        """


class CorpusError(Exception):
    """A passage corpus is missing or not in its format."""


class SearchEngine(ABC):
    """Gives a retriever over a source's own passages where it has some, else over a default corpus or the web."""

    @abstractmethod
    def over(self, passages: Path | None) -> Retriever:
        """Return the retriever for a JSON Lines corpus of passages or articles, or the default one for None."""
