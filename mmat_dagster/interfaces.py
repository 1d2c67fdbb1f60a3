"""What the outside implements for the engine: a handful of abstract classes, each with one reason to exist."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmat_dagster.schema import (
    DatasetName,
    Dialogue,
    ImageRef,
    Rejection,
    RejectionReason,
    Sample,
    SourceName,
    Step,
    Transcript,
    Turn,
)
from mmat_dagster.spending import BatchState, Forecast, Quote, Spending
from mmat_dagster.tools import Operator


class Store(ABC):
    """Keeps files by key (`rr_dialogues/tabmwp/manifest.json`): a folder here, a bucket elsewhere."""

    @property
    @abstractmethod
    def mirror(self) -> Path:
        """A folder of this machine, laid out like the store: the store itself, or a copy of what was used of it here.

        What can be made again (caches, indexes) and what is being made lies there too.
        """

    @abstractmethod
    def locate(self, key: str) -> str:
        """Return the path or URI at which a person finds `key`; of the whole store for an empty one."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Say whether `key` is there, whole."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """Return the bytes of `key`; raise FileNotFoundError where there is none."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Put `data` at `key` so that it is there whole or not at all; raise StoreError where that cannot be."""

    @abstractmethod
    def put(self, key: str, path: Path) -> None:
        """Put a copy of the local file `path` at `key`, like `write`, without holding it in memory."""

    @abstractmethod
    def put_all(self, files: Mapping[str, Path]) -> None:
        """Put many files, by key, like `put`; several at once. One that lies in the mirror at its key stays there."""

    @abstractmethod
    def put_soon(self, key: str, data: bytes) -> None:
        """Put `data`, which `key` names for good (an image by its hash), at `key` by the time that `settle` returns.

        Nothing is done where it is there.
        """

    @abstractmethod
    def settle(self) -> None:
        """Wait for all that is to be put soon; raise StoreError where any of it could not be."""

    @abstractmethod
    def fetch(self, key: str) -> Path:
        """Return a file of this machine with the bytes of `key`, whose content never changes; see `read`."""

    @abstractmethod
    def bring(self, keys: Iterable[str]) -> None:
        """Have `fetch` find `keys` without a delay: several at once. Of what is not there nothing is said."""

    @abstractmethod
    def list_keys(self, prefix: str) -> list[str]:
        """Return the keys directly below `prefix`, in order."""

    @abstractmethod
    def list_folders(self, prefix: str) -> list[str]:
        """Return the prefixes directly below `prefix`, in order."""

    @abstractmethod
    def walk(self, prefix: str) -> Iterator[str]:
        """Yield all keys below `prefix`, however deep: for a release or a checkpoint, never for all images."""

    @abstractmethod
    def delete_below(self, prefix: str) -> None:
        """Remove all keys below `prefix`."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens where it is not there."""

    @abstractmethod
    def exclusive(self, prefix: str) -> AbstractContextManager[None]:
        """Keep other processes from writing below `prefix`; wait for one that does."""


class StoreError(Exception):
    """The store cannot be written or read as configured."""


class Pictures(ABC):
    """Finds the pixels of an image reference on this machine."""

    @abstractmethod
    def locate(self, source: SourceName, image: ImageRef) -> Path:
        """Return the local file of `image`; raise OutsideRoot, an OSError, for a path that leads elsewhere."""

    def bring(self, images: Iterable[ImageRef]) -> None:  # noqa: B027
        """Have `locate` find `images` without a delay, as far as they are there."""


@dataclass(frozen=True, kw_only=True)
class ChatImage:
    """An image as a chat model gets it: its bytes lie at `path`, `sha256` is their hash, the size is in upright pixels.

    `reference` names it for a server that fetches images itself: `<source>/<path>` or the store's `images/...`.
    """

    path: Path
    sha256: str
    width: int
    height: int
    reference: str


@dataclass(frozen=True, kw_only=True)
class ChatTurn:
    """One message to a chat model; images stand before the text."""

    role: Literal["system", "user", "assistant"]
    text: str
    images: tuple[ChatImage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReplySchema:
    """The JSON schema that a reply follows, as JSON text; a model that knows no schemas is asked for any JSON."""

    name: str
    json_schema: str


@dataclass(frozen=True, kw_only=True)
class ChatReply:
    """What a chat model said: the raw text and the tokens it counted (0 where the server does not tell).

    `is_cut` says that the reply ran into its length limit.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    is_cut: bool = False


@dataclass(frozen=True, kw_only=True)
class RowError:
    """An error that belongs to this one request (content policy, image too large, ...): the sample is rejected."""

    reason: RejectionReason
    detail: str


class Asked:
    """Whoever is asked over a while, and may cost something: a chat model, and who asks one."""

    @property
    def spending(self) -> Spending | None:
        """What asking has cost; None where that is nothing."""
        return None

    def session(self, label: str) -> AbstractAsyncContextManager[None]:
        """Open it for work on `label` (`rationales of tabmwp`); at the end all that is under way is finished."""
        return nullcontext()

    async def tend_batches(self) -> tuple[BatchState, ...]:
        """Submit, poll and collect what is open; return all batches, the oldest first."""
        return ()


class ChatModel(Asked, ABC):
    """A chat-completions model that answers in JSON."""

    @property
    @abstractmethod
    def model_name(self) -> str:
        """The model's name as the provider knows it."""

    @property
    @abstractmethod
    def version(self) -> str:
        """What decides its replies besides the messages: model and sampling parameters."""

    def forecast(
        self,
        messages: Sequence[ChatTurn],
        schema: ReplySchema | None,
        kept: int,
    ) -> Forecast:
        """Return what one call will probably take; the provider has seen the first `kept` messages before."""
        return Forecast()

    def quote(self, forecast: Forecast) -> Quote:
        """Return what the forecast calls will cost, and how long they will take."""
        return Quote()

    @abstractmethod
    async def complete(
        self, messages: Sequence[ChatTurn], schema: ReplySchema | None = None, sample_number: int = 0
    ) -> ChatReply | RowError:
        """Return the reply to `messages`, a JSON object as text; `sample_number` tells repeated samples apart.

        Raises TeacherUnavailable where no request can work, BudgetReached, and ReplyPending where the reply comes with
        a batch.
        """


class OperatorMaker(ABC):
    """Makes an operator that asks a chat model, once the deployment's own is there."""

    @abstractmethod
    def over(self, model: ChatModel) -> Operator:
        """Return the operator that asks `model`."""


class TeacherUnavailable(Exception):
    """The teacher cannot be asked at all (no key, unknown model, server away): the run stops and says so."""


class BudgetReached(TeacherUnavailable):
    """Nothing more may be spent; what was under way is finished and kept."""


class LedgerError(Exception):
    """The reply ledger cannot be read or written: the run stops, since a reply that is not stored is paid twice."""


class ReplyPending(Exception):
    """The reply comes with a batch: this dialogue goes on in a later run."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A parsed step next to the raw words it was parsed from."""

    step: Step
    raw_reply: str | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a reflection check found: why the reasoning is lacking, and the corrected thought."""

    reason: str
    thought: str


class Teacher(Asked, ABC):
    """Writes the data: steps of reasoning towards the known answer, and what to correct in them."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Who wrote a record, as stored in it, e.g. `annotations` or `gpt-4o-2024-11-20`."""

    @abstractmethod
    def version(self, dataset: DatasetName) -> str:
        """What decides its part in `dataset` besides the sample: model, parameters, prompts, code."""

    @property
    def model(self) -> ChatModel | None:
        """The chat model that it asks; None for a teacher that asks none."""
        return None

    def forecast(
        self,
        sample: Sample,
        offered: Sequence[Operator],
        *,
        is_mathematical: bool,
    ) -> Mapping[DatasetName, Forecast]:
        """Return which calls `sample` will probably take, by the dataset that they are for; none for a free teacher."""
        return {}

    def quote(self, forecast: Forecast) -> Quote:
        """Return what the forecast calls will cost, and how long they will take."""
        return Quote()

    @abstractmethod
    async def next_step(self, sample: Sample, turns: Sequence[Turn], offered: Sequence[Operator]) -> Reply | Rejection:
        """Return the next step after `turns`; a Rejection of stage `rationales` where it cannot reason on."""

    @abstractmethod
    async def find_pretence(self, sample: Sample, transcript: Transcript) -> Finding | Rejection | None:
        """Return why the last thought only pretends to reach the answer ("cheating"); None where it is sound."""

    @abstractmethod
    async def find_skipped_calculation(self, sample: Sample, transcript: Transcript) -> Finding | Rejection | None:
        """Return the calculation that a mathematical reasoning skips, or None where none is."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a judge says of a dialogue: each aspect and the whole from 0.0 to 1.0, why, and its own words."""

    coherence: float
    relevance: float
    accuracy: float
    completeness: float
    visual_integration: float
    score: float
    reason: str
    raw_reply: str


class Judge(Asked, ABC):
    """Reads a finished dialogue beside its images and says how good it is; it need not be who wrote it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Who judged, as stored in an audit."""

    @property
    @abstractmethod
    def version(self) -> str:
        """What decides a judgement besides the dialogue: model, parameters, prompts, code."""

    @property
    def model(self) -> ChatModel | None:
        """The chat model that it asks, which may be the teacher's; None for a judge that asks none."""
        return None

    @abstractmethod
    async def judge(self, dialogue: Dialogue) -> Judgement | RowError:
        """Judge `dialogue`; RowError where no reply about it can be used.

        Raises TeacherUnavailable where nothing can be asked, BudgetReached, and ReplyPending where the reply comes with
        a batch.
        """


class JudgeMaker(ABC):
    """Makes the judge, once the deployment's teacher is there."""

    @abstractmethod
    def beside(self, teacher: Teacher, pictures: Pictures) -> Judge | None:
        """Return who judges what `teacher` wrote; None where the deterministic checks alone do."""
