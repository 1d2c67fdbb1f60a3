"""Google Programmable Search (Custom Search JSON API), or a server with the same contract, asked through the ledger.

    this query's fault        -> SearchFailed         refused, or no answer while others get theirs
    no query can work         -> OperatorUnavailable  no key, unknown engine, the day's quota used up, server away
    enough was spent          -> BudgetReached        what is under way is finished and kept

Every page of results is kept in the reply ledger before it is used, so none is paid twice; the teacher's requests and
the searches share its budget. The key goes into a header and nowhere else.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
import dagster as dg
import orjson
from pydantic import Field, PrivateAttr

from mmat_dagster.interfaces import BudgetReached, RowError, TeacherUnavailable
from mmat_dagster.ledger.accounts import Budget, Paid
from mmat_dagster.ledger.buckets import Limits
from mmat_dagster.ledger.ledger import Ledger, close_ledger, open_ledger
from mmat_dagster.ledger.orders import StoredReply, Terms
from mmat_dagster.operators.observation import one_line
from mmat_dagster.spending import Spending
from mmat_dagster.tools import OperatorUnavailable, Passage, Retriever, SearchEngine, SearchFailed
from resources.chat_asker import Asker, Errand
from resources.chat_attempts import Patience
from resources.chat_counts import Counts
from resources.google_errors import read_fault
from resources.google_http import OK, GoogleServer, KeyPlace, bare_url, open_client
from resources.google_requests import LEAST_QUERY_CHARS, PROBE, Scope, bare_site, request_body, request_key
from resources.google_results import Page, read_page
from resources.languages import GOOGLE_LANGUAGES, language_of
from resources.outcomes import Answered

GOOGLE_URL = "https://customsearch.googleapis.com/customsearch/v1"
LEDGER = "sqlite:///data/ledger.sqlite"
# Google's own word: closed to new customers, and over for all others on this day.
SHUTDOWN = date(2027, 1, 1)
NEAR_DAYS = 90


@dataclass(kw_only=True)
class _Session:
    """What is open in one event loop, for however many opened it."""

    asker: Asker
    client: aiohttp.ClientSession
    users: int = 0


class GoogleSearch(dg.ConfigurableResource[SearchEngine], SearchEngine, Retriever):
    """Searches the web; open a `session` to ask it."""

    api_key: str = Field(default="", repr=False, description="The key; may be empty for a server of your own.")
    engine_id: str = Field(default="", description="The Programmable Search Engine (`cx`).")
    endpoint: str = Field(default=GOOGLE_URL, description="Google's, or a server with the same contract.")
    key_place: KeyPlace = Field(
        default="header",
        description="Where the key goes: a header, which no log of URLs shows, or the parameter `key`.",
    )
    ledger: str = Field(
        default=LEDGER, repr=False, description="URL of the reply ledger: sqlite:///<file> or postgresql://..."
    )
    safe: Literal["active", "off"] = Field(default="active", description="Google's SafeSearch.")
    sites: list[str] = Field(default=[], description="Only these sites, if any: host, or host/path.")
    not_sites: list[str] = Field(default=[], description="Never these, e.g. sites with benchmarks or datasets.")
    language: str = Field(
        default="auto",
        description="Of what is found: auto (that of the question), any, or one that Google names, e.g. en.",
    )
    country: str | None = Field(default=None, description="Two letters: results are ranked as for users there.")
    usd_per_query: float = Field(default=0.005, ge=0, description="The price of a request: $5 a thousand.")
    queries_per_minute: float | None = Field(default=100, gt=0, description="For all processes together.")
    budget_usd: float | None = Field(
        default=None, ge=0, description="The most that all runs may spend together, the teacher's requests included."
    )
    budget_usd_per_run: float | None = Field(default=None, ge=0, description="The most that one run may spend.")
    timeout_s: float = Field(default=30.0, gt=0, description="How long one attempt may wait for the server.")
    max_retries: int = Field(default=5, ge=0, description="Further attempts after 5xx, lost links and bad answers.")
    backoff_s: float = Field(default=1.0, gt=0, description="The first pause before another attempt; it doubles.")
    give_up_s: float = Field(
        default=900.0, gt=0, description="The run ends where rate limits let nothing at all through for so long."
    )
    concurrency: int = Field(default=16, gt=0, description="Requests under way at once, in this process.")
    max_chars: int = Field(default=1200, gt=20, description="A longer passage is cut, and the cut marked.")
    max_response_bytes: int = Field(default=2_000_000, gt=0, description="A longer answer is not read to its end.")

    _sessions: dict[asyncio.AbstractEventLoop, _Session] = PrivateAttr(default_factory=dict)
    _counts: Counts = PrivateAttr(default_factory=Counts)
    _run_id: str = PrivateAttr(default="none")
    _log: dg.DagsterLogManager | logging.Logger = PrivateAttr(default_factory=lambda: logging.getLogger(__name__))
    _is_proven: bool = PrivateAttr(default=False)
    _is_warned: bool = PrivateAttr(default=False)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Learn on whose account is searched, and where to warn."""
        self._run_id = context.run.run_id if context.run else "none"
        if context.log is not None:
            self._log = context.log

    def over(self, passages: Path | None) -> Retriever:  # noqa: ARG002
        """Return the search of the web, whatever a source brings: a teacher's query is one for Google."""
        return self

    @property
    def version(self) -> str:
        """The search engine and all that decides what it finds, besides the query."""
        decided_by = {
            "engine": "Google search",
            "endpoint": bare_url(self.endpoint),
            "language": self.language,
            "max_chars": self.max_chars,
            **self._scope.parameters("", None),
            "not_sites": self._scope.not_sites,
        }
        return orjson.dumps(decided_by).decode()

    @property
    def usd_per_search(self) -> float:
        """The price of a page of results."""
        return self.usd_per_query

    @property
    def spending(self) -> Spending:
        """What searching has cost in this run."""
        return self._counts.spending

    @asynccontextmanager
    async def session(self, label: str) -> AsyncIterator[None]:
        """Open client and ledger for searches about `label`; the last one who closes waits for all under way.

        Whoever opens it again in the same event loop shares it, and asks on the first one's label.
        """
        self._check_fields()
        loop = asyncio.get_running_loop()
        opened = self._sessions.get(loop) or self._open(loop, label)
        opened.users += 1
        try:
            yield
        finally:
            opened.users -= 1
            if opened.users == 0:
                await self._close(loop)

    async def search(self, query: str, top_k: int, question: str = "") -> tuple[Passage, ...]:
        """Return at most `top_k` results of the web, best first, in the language of `question`.

        Raises SearchFailed, OperatorUnavailable, BudgetReached and LedgerError.
        """
        query = one_line(query)
        if not query:
            return ()
        language = await self._language(query, question)
        found: dict[str, Passage] = {}
        start: int | None = 1
        while start is not None and len(found) < top_k:
            try:
                page = await self._page(self._scope.parameters(query, language, start))
            except SearchFailed:
                if not found:
                    raise
                break  # what the pages before it hold is true all the same
            for passage in page.passages(self.max_chars):
                if self._scope.holds(passage.id):
                    found.setdefault(passage.id, passage)
            start = page.next_start(start)
        best = list(found.values())[:top_k]
        return tuple(replace(passage, score=1 / rank) for rank, passage in enumerate(best, 1))

    async def _language(self, query: str, question: str) -> str | None:
        if self.language != "auto":
            return None if self.language == "any" else self.language
        return await asyncio.to_thread(lambda: language_of(question) or language_of(query))

    async def _page(self, parameters: dict[str, str]) -> Page:
        reply = await self._ask(parameters)
        if reply.status == OK:
            self._is_proven = True
            return read_page(reply.body)
        said = read_fault(reply.body).message[:300]
        await self._prove(said)
        raise SearchFailed(f"the query was not accepted: {said}")

    async def _prove(self, said: str) -> None:
        """Make sure that the engine takes a plain query: where it does not, no query is at fault.

        Google says "invalid argument" of a bad query and of an unknown search engine alike.
        """
        if not self._is_proven:
            reply = await self._ask(self._scope.parameters(PROBE, None))
            self._is_proven = reply.status == OK
        if not self._is_proven:
            raise OperatorUnavailable(
                f"{bare_url(self.endpoint)} refuses even a plain query ({said}): check `engine_id` (GOOGLE_CSE_ID), "
                "`sites`, `language` and `country`. Where the engine itself is mended, let what was refused be asked "
                "again with: python -m mmat_dagster ledger --forget-refused"
            )

    async def _ask(self, parameters: dict[str, str]) -> StoredReply:
        """Return the answer to a request: from the ledger, or asked for, stored and then returned."""
        asker = self._sessions[asyncio.get_running_loop()].asker
        body = request_body(parameters)
        key = request_key(bare_url(self.endpoint), body)
        stored = await asker.ledger.find(key)
        if stored is not None:
            self._counts.reused += 1
            return stored

        async def prepare() -> Errand | RowError:
            return self._errand(key, body)

        try:
            outcome = await asker.ask(key, prepare)
        except BudgetReached:
            raise
        except TeacherUnavailable as error:
            raise OperatorUnavailable(str(error)) from None
        if isinstance(outcome, RowError):
            raise SearchFailed(outcome.detail)
        return outcome

    def _errand(self, key: bytes, body: bytes) -> Errand:
        return Errand(key=key, body=body, tokens=0.0, reserve_usd=self.usd_per_query)

    def _canary(self, key: bytes) -> Errand:
        """Return a request whose answer tells that the server is well."""
        return self._errand(key, request_body(self._scope.parameters(PROBE, None)))

    def _price(self, answered: Answered) -> StoredReply:
        cost_usd = self.usd_per_query if answered.status == OK else None
        return StoredReply(status=answered.status, body=answered.body, paid=Paid(cost_usd=cost_usd))

    def _open(self, loop: asyncio.AbstractEventLoop, label: str) -> _Session:
        ledger = open_ledger(self.ledger)
        self._counts.lose(ledger.lost)
        client = open_client()
        self._sessions[loop] = _Session(asker=self._asker(client, ledger, label), client=client)
        return self._sessions[loop]

    async def _close(self, loop: asyncio.AbstractEventLoop) -> None:
        opened = self._sessions.pop(loop)
        try:
            await opened.asker.finish()
        finally:
            try:
                await opened.client.close()
            finally:
                close_ledger(self.ledger)

    def _asker(self, client: aiohttp.ClientSession, ledger: Ledger, label: str) -> Asker:
        name = bare_url(self.endpoint)
        limits = Limits(name=f"search at {name}", requests_per_minute=self.queries_per_minute)
        budget = Budget(run_usd=self.budget_usd_per_run, total_usd=self.budget_usd)
        host = urlsplit(name).hostname or name
        return Asker(
            server=GoogleServer(
                client=client,
                endpoint=self.endpoint,
                key=self.api_key.strip(),
                key_place=self.key_place,
                timeout_s=self.timeout_s,
                max_bytes=self.max_response_bytes,
            ),
            ledger=ledger,
            terms=Terms(model=f"search at {host}", run_id=self._run_id, label=label, limits=limits, budget=budget),
            patience=Patience(max_retries=self.max_retries, backoff_s=self.backoff_s, give_up_s=self.give_up_s),
            concurrency=self.concurrency,
            counts=self._counts,
            look_up=self._look_up,
            price=self._price,
            canary=self._canary,
        )

    async def _look_up(self) -> None:
        """Say before the first request what would keep all of them from working; what is kept needs no key."""
        is_googles = self.endpoint.rstrip("/") == GOOGLE_URL
        if is_googles and not (self.api_key.strip() and self.engine_id.strip()):
            raise TeacherUnavailable(
                "Google search needs a key and a search engine: export GOOGLE_API_KEY and GOOGLE_CSE_ID, or set "
                "`endpoint` to your own server"
            )
        if is_googles and not self._is_warned:
            self._is_warned = True
            for warning in shutdown_warnings(datetime.now(UTC).date()):
                self._log.warning(warning)

    @cached_property
    def _scope(self) -> Scope:
        return Scope(
            engine_id=self.engine_id.strip(),
            safe=self.safe,
            sites=tuple(map(bare_site, self.sites)),
            not_sites=tuple(map(bare_site, self.not_sites)),
            country=self.country,
        )

    def _check_fields(self) -> None:
        """Raise OperatorUnavailable for settings that no request could work with."""
        if not (self.api_key.isascii() and self.api_key.strip().isprintable()):
            raise OperatorUnavailable("the key holds a character that no key has: export GOOGLE_API_KEY again")
        at = urlsplit(self.endpoint)
        if at.scheme not in {"http", "https"} or not at.hostname or at.query:
            raise OperatorUnavailable(f"`endpoint` is no http(s) URL without parameters: {bare_url(self.endpoint)!r}")
        if self.language not in {"auto", "any", *GOOGLE_LANGUAGES}:
            raise OperatorUnavailable(
                f"`language` is {self.language!r}; it may be auto, any, {', '.join(GOOGLE_LANGUAGES)}"
            )
        if not all(site and not set(site) & set(' "') for site in (*self._scope.sites, *self._scope.not_sites)):
            raise OperatorUnavailable("`sites` and `not_sites` (MMAT_SEARCH_SITES) hold what is no site")
        if self._scope.room < LEAST_QUERY_CHARS:
            raise OperatorUnavailable(
                "`sites` and `not_sites` leave no room for a query: name them in the search engine itself instead"
            )


def shutdown_warnings(today: date) -> list[str]:
    """Return what to say of the day on which Google ends this API, where that is near or past."""
    days = (SHUTDOWN - today).days
    if days > NEAR_DAYS:
        return []
    when = f"in {days} days" if days > 0 else "and that day is past"
    return [
        f"Google ends the Custom Search JSON API on {SHUTDOWN}, {when}: what was found is kept; set `endpoint` to a "
        "server with the same contract, or search a corpus of your own"
    ]
