"""GPT-4o, or any model behind an OpenAI-compatible chat-completions server, asked through the reply ledger.

    this row's fault          -> RowError             refused, filtered, image unreadable, request too large
    no request can work       -> TeacherUnavailable   no key, unknown or retired model, no quota, server away
    enough was spent          -> BudgetReached        what is under way is finished and kept

The key goes into the Authorization header and nowhere else: what a server says is cleared of it before it is told.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dagster as dg
import orjson
from pydantic import Field, PrivateAttr

from mmat_dagster.addresses import FORM
from mmat_dagster.chat.estimates import TokenEstimator
from mmat_dagster.chat.forecasts import Pace, quote
from mmat_dagster.chat.models import ImageDetail, ModelFacts, Prices, facts
from mmat_dagster.chat.replies import parse_reply
from mmat_dagster.chat.requests import ChatRequest, Parameters, ReplyFormat, pack_request, request_key
from mmat_dagster.interfaces import (
    ChatModel,
    ChatReply,
    ChatTurn,
    ReplyPending,
    ReplySchema,
    RowError,
    TeacherUnavailable,
)
from mmat_dagster.ledger.accounts import Budget
from mmat_dagster.ledger.batches import BatchSize
from mmat_dagster.ledger.buckets import Limits
from mmat_dagster.ledger.ledger import Ledger, close_ledger, open_ledger
from mmat_dagster.ledger.orders import HeldByBatch, StoredReply, Terms, Want
from mmat_dagster.spending import BatchState, Forecast, Quote, Spending
from resources.chat_asker import Asker
from resources.chat_attempts import Patience
from resources.chat_counts import Counts
from resources.chat_preparing import Preparing

# The SDK takes as long to import as Dagster, and whoever asks no model never needs it.
if TYPE_CHECKING:
    from resources.chat_batches import BatchDesk
    from resources.chat_http import ChatServer

OPENAI_URL = "https://api.openai.com/v1"
LEDGER = "sqlite:///data/ledger.sqlite"


class GPT4o(dg.ConfigurableResource[ChatModel], ChatModel):
    """A chat model that answers in JSON; open a `session` to ask it."""

    api_key: str = Field(default="", repr=False, description="The key; may be empty for a local server.")
    base_url: str = Field(default=OPENAI_URL, description="The server, up to and including /v1.")
    model: str = Field(default="gpt-4o-2024-11-20", description="The model's name as the server knows it.")
    check_model: bool = Field(
        default=True, description="Look the model up before the first request; off for servers that list other names."
    )
    ledger: str = Field(
        default=LEDGER, repr=False, description="URL of the reply ledger: sqlite:///<file> or postgresql://..."
    )
    mode: Literal["chat", "batch"] = Field(
        default="chat", description="chat: asked at once; batch: half the price, replies within a day."
    )
    temperature: float | None = Field(
        default=0.3, description="Low, since thoughts must follow from evidence; null for models that take none."
    )
    top_p: float | None = Field(default=None, description="Nucleus sampling; null for the server's default.")
    seed: int | None = Field(default=42, description="Makes replies repeatable as far as the server can.")
    max_completion_tokens: int = Field(default=1024, gt=0, description="A longer reply is cut.")
    reasoning_effort: str | None = Field(default=None, description="For models that reason; null for the usual one.")
    reply_format: Literal["auto", "json_schema", "json_object", "json_object_with_schema", "text"] = Field(
        default="auto", description="How JSON is asked for; auto: by schema where the model is known to take one."
    )
    image_detail: ImageDetail = Field(
        default="auto", description="How closely the model looks at images; none: they are not sent."
    )
    max_image_side: int = Field(default=2048, gt=0, description="Larger images are scaled down to so many pixels.")
    image_url: str | None = Field(
        default=None,
        description="Where the server can fetch images itself, e.g. https://host/{reference}; null: sent inline. "
        "{reference} is <source>/<path>, or images/<aa>/<sha256>.<ext> of the store; {sha256} is there too.",
    )
    shelf: str | None = Field(default=None, description="The folder that keeps scaled images; null: not kept.")
    timeout_s: float = Field(default=120.0, gt=0, description="How long one attempt may wait for the server.")
    max_retries: int = Field(default=5, ge=0, description="Further attempts after 408, 409, 5xx and lost links.")
    backoff_s: float = Field(default=1.0, gt=0, description="The first pause before another attempt; it doubles.")
    give_up_s: float = Field(
        default=900.0, gt=0, description="The run ends where rate limits let nothing at all through for so long."
    )
    concurrency: int = Field(default=64, gt=0, description="Requests under way at once, in this process.")
    requests_per_minute: float | None = Field(
        default=None, gt=0, description="The account's limit, for all processes together; null: as the server tells."
    )
    tokens_per_minute: float | None = Field(default=None, gt=0, description="Likewise, of tokens in and out.")
    budget_usd: float | None = Field(default=None, ge=0, description="The most that all runs may spend together.")
    budget_usd_per_run: float | None = Field(default=None, ge=0, description="The most that one run may spend.")
    usd_per_million_input: float | None = Field(
        default=None, ge=0, description="The price of tokens in, where the model is not in the table of prices."
    )
    usd_per_million_cached_input: float | None = Field(default=None, ge=0, description="Likewise, from the cache.")
    usd_per_million_output: float | None = Field(default=None, ge=0, description="Likewise, of tokens out.")
    image_tokens_at_most: int | None = Field(
        default=None, ge=0, description="What an image costs at most, for a model whose rule is not known."
    )

    batch_requests: int = Field(default=50_000, gt=0, le=50_000, description="At most so many requests in a batch.")
    batch_megabytes: float = Field(default=190.0, gt=0, le=200.0, description="At most so long an input file.")
    batch_settle_s: float = Field(
        default=60.0, ge=0, description="How long a batch order without an answer may still show up at the provider."
    )

    _askers: dict[asyncio.AbstractEventLoop, Asker] = PrivateAttr(default_factory=dict)
    _counts: Counts = PrivateAttr(default_factory=Counts)
    _run_id: str = PrivateAttr(default="none")
    _log: dg.DagsterLogManager | logging.Logger = PrivateAttr(default_factory=lambda: logging.getLogger(__name__))
    _warned: set[str] = PrivateAttr(default_factory=set)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Learn on whose account is asked, and where to warn."""
        self._run_id = context.run.run_id if context.run else "none"
        if context.log is not None:
            self._log = context.log

    @property
    def model_name(self) -> str:
        """The model's name as the server knows it."""
        return self.model

    @property
    def version(self) -> str:
        """The model and every parameter that its replies depend on."""
        return orjson.dumps(vars(self.parameters)).decode()

    @property
    def spending(self) -> Spending:
        """What asking has cost in this run."""
        return self._counts.spending

    @property
    def facts(self) -> ModelFacts:
        """What is known of the model."""
        return facts(self.model)

    @property
    def prices(self) -> Prices | None:
        """The prices that are set here, else those of the table; None where neither says."""
        given, output = self.usd_per_million_input, self.usd_per_million_output
        if given is None or output is None:
            return self.facts.prices
        cached = self.usd_per_million_cached_input
        return Prices(input=given, cached_input=given if cached is None else cached, output=output)

    @property
    def parameters(self) -> Parameters:
        """What decides a reply besides the messages."""
        known = self.facts
        auto: ReplyFormat = "json_schema" if known.json_schema else "json_object"
        return Parameters(
            model=self.model,
            temperature=self.temperature if known.temperature else None,
            top_p=self.top_p,
            seed=self.seed if known.seed else None,
            max_tokens=self.max_completion_tokens,
            reasoning_effort=self.reasoning_effort or known.reasoning_effort,
            reply_format=auto if self.reply_format == "auto" else self.reply_format,
            image_detail=self.image_detail,
            max_image_side=self.max_image_side,
            fits_tiles=known.fits == "tiles",
        )

    @asynccontextmanager
    async def session(self, label: str) -> AsyncIterator[None]:
        """Open client and ledger for requests about `label`; at the end wait for all that is under way.

        Where a session of this event loop is open already, this one is part of it: teacher and captions share theirs.
        """
        loop = asyncio.get_running_loop()
        if loop in self._askers:
            yield
            return
        self._check_fields()
        ledger = open_ledger(self.ledger)
        try:
            self._counts.lose(ledger.lost)
            async with self._server() as server:
                asker = self._asker(server, ledger, label)
                desk = self._desk(server, ledger)
                if self.mode == "batch":
                    await desk.tend_or_fail()
                self._askers[loop] = asker
                try:
                    yield
                    if self.mode == "batch":
                        await desk.submit(asker.terms)
                finally:
                    await self._askers.pop(loop).finish()
        finally:
            close_ledger(self.ledger)

    def forecast(self, messages: Sequence[ChatTurn], schema: ReplySchema | None, kept: int) -> Forecast:
        """Return what one call will probably take."""
        return self._preparing.forecast(self._request(messages, schema), kept)

    def quote(self, forecast: Forecast) -> Quote:
        """Return what the calls will cost, and how long they take at the configured limits."""
        return quote(forecast, self.prices, self._pace)

    @property
    def _pace(self) -> Pace:
        return Pace(
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            concurrency=self.concurrency,
        )

    async def tend_batches(self) -> tuple[BatchState, ...]:
        """Submit, poll and collect what is open at this server; return all its batches, the oldest first."""
        ledger = open_ledger(self.ledger)
        try:
            async with self._server() as server:
                return await self._desk(server, ledger).tend()
        finally:
            close_ledger(self.ledger)

    async def complete(
        self, messages: Sequence[ChatTurn], schema: ReplySchema | None = None, sample_number: int = 0
    ) -> ChatReply | RowError:
        """Return the reply to `messages`: from the ledger, or asked for, stored and then returned."""
        request = self._request(messages, schema, sample_number)
        asker = self._askers[asyncio.get_running_loop()]
        key = request_key(self._preparing.parameters, request)
        stored = await asker.ledger.find(key)
        if stored is not None:
            return self._reuse(stored)
        if self.mode == "batch":
            return await self._want(asker, request, key)
        try:
            outcome = await asker.ask(key, partial(self._preparing.prepare, request, key))
        except HeldByBatch as held:
            raise TeacherUnavailable(
                f"a request is part of batch {held}, which has not ended: wait for it in `mode` batch (MMAT_MODE)"
            ) from None
        if isinstance(outcome, RowError):
            return outcome
        self._preparing.learn(request, outcome)
        return parse_reply(outcome.status, outcome.body)

    def _request(self, messages: Sequence[ChatTurn], schema: ReplySchema | None, sample_number: int = 0) -> ChatRequest:
        if self.image_detail == "none":
            messages = [replace(message, images=()) for message in messages]
        return ChatRequest(messages=tuple(messages), schema=schema, sample_number=sample_number)

    def _server(self) -> "AbstractAsyncContextManager[ChatServer]":
        from resources.chat_http import open_server  # noqa: PLC0415

        return open_server(self.base_url, self.model, self.api_key.strip(), self.timeout_s)

    def _asker(self, server: "ChatServer", ledger: Ledger, label: str) -> Asker:
        limits = Limits(
            name=f"{self.model} at {self.base_url.rstrip('/')}",
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
        )
        budget = Budget(run_usd=self.budget_usd_per_run, total_usd=self.budget_usd)
        return Asker(
            server=server,
            ledger=ledger,
            terms=Terms(model=self.model, run_id=self._run_id, label=label, limits=limits, budget=budget),
            patience=Patience(max_retries=self.max_retries, backoff_s=self.backoff_s, give_up_s=self.give_up_s),
            concurrency=self.concurrency,
            counts=self._counts,
            look_up=partial(self._look_up, server),
            price=self._preparing.price,
            canary=self._preparing.canary,
        )

    def _desk(self, server: "ChatServer", ledger: Ledger) -> "BatchDesk":
        from resources.chat_batches import BatchDesk  # noqa: PLC0415

        size = BatchSize(
            max_requests=self.batch_requests, max_bytes=int(self.batch_megabytes * 1e6), max_tries=self.max_retries
        )
        return BatchDesk(
            server=server,
            ledger=ledger,
            size=size,
            counts=self._counts,
            settle_s=self.batch_settle_s,
            backoff_s=self.backoff_s,
            render=self._preparing.line,
            price=self._preparing.price,
        )

    def _reuse(self, stored: StoredReply) -> ChatReply | RowError:
        self._counts.reused += 1
        return parse_reply(stored.status, stored.body)

    async def _want(self, asker: Asker, request: ChatRequest, key: bytes) -> ChatReply | RowError:
        """Put the request on the list for the next batch and raise ReplyPending."""
        await asker.look_up_once()
        size = await self._preparing.measure(request)
        if isinstance(size, RowError):
            return size
        order = Want(
            key=key,
            terms=asker.terms,
            request=pack_request(request),
            size_bytes=size,
            reserve_usd=self._preparing.most_usd(request, batch=True),
        )
        tries = await asker.ledger.want(order)
        if isinstance(tries, StoredReply):
            return self._reuse(tries)
        if tries > self.max_retries:
            return RowError(reason="teacher gave no reply", detail=f"{tries} batches failed at it")
        self._counts.waiting += 1
        raise ReplyPending

    async def _look_up(self, server: "ChatServer") -> None:
        from resources.chat_lookup import look_up  # noqa: PLC0415

        if not self.api_key and self.base_url.rstrip("/") == OPENAI_URL:
            raise TeacherUnavailable("OpenAI needs a key: export OPENAI_API_KEY, or set `base_url` to your own server")
        if self.check_model:
            await look_up(server, self.facts, datetime.now(UTC).date(), self.backoff_s, self._warn_once)

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._log.warning(text)

    @cached_property
    def _preparing(self) -> Preparing:
        return Preparing(
            facts=self.facts,
            prices=self.prices,
            parameters=self.parameters,
            estimator=TokenEstimator(max_tokens=self.max_completion_tokens),
            image_url=self.image_url,
            shelf=Path(self.shelf) if self.shelf else None,
            image_tokens_at_most=self.image_tokens_at_most,
        )

    def _check_fields(self) -> None:
        """Raise TeacherUnavailable for settings that no request could work with."""
        if not (self.api_key.isascii() and self.api_key.strip().isprintable()):
            raise TeacherUnavailable("the key holds a character that no key has: export OPENAI_API_KEY again")
        if "@" in self.base_url or "?" in self.base_url:
            raise TeacherUnavailable(f"`base_url` must be like {FORM}")
        try:
            (self.image_url or "").format(reference="", sha256="")
        except (LookupError, ValueError):
            raise TeacherUnavailable("`image_url` may hold {reference} and {sha256} and no other braces") from None
        if (self.budget_usd is not None or self.budget_usd_per_run is not None) and self.prices is None:
            raise TeacherUnavailable(
                f"a budget is set, but no price of {self.model} is known: set `usd_per_million_input` and "
                "`usd_per_million_output`, or no budget"
            )
