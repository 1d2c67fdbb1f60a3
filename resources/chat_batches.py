"""Batches at half price: requests that a run lacks are submitted together, and their replies fill the ledger later.

A batch carries its number in the ledger as metadata. Whoever finds one whose order may or may not have been given
looks for that number at the provider before giving it again: killed at any point, it is never submitted twice.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import openai
import orjson
from openai.types import Batch as RemoteBatch
from openai.types import FileObject
from pydantic import BaseModel, ValidationError

from mmat_dagster.chat.replies import OK, parse_error, read_usage
from mmat_dagster.chat.requests import ChatRequest, unpack_request
from mmat_dagster.interfaces import TeacherUnavailable
from mmat_dagster.ledger import batches
from mmat_dagster.ledger.accounts import Paid
from mmat_dagster.ledger.batches import NOBODY, Answer, Batch, BatchSize, Wanted
from mmat_dagster.ledger.ledger import Ledger
from mmat_dagster.ledger.orders import StoredReply, Terms
from mmat_dagster.spending import BatchState
from resources.chat_calls import PASSING, call, refusal
from resources.chat_counts import Counts
from resources.chat_http import HOPELESS, MISCONFIGURED, NO_QUOTA, OF_THIS_REQUEST, ChatServer
from resources.outcomes import Answered

TAG = "mmat_batch"
TOKEN_LIMIT = "token_limit_exceeded"  # noqa: S105 - the API's word for too many tokens queued
WITHDRAWN = frozenset({"batch_expired", "batch_cancelled"})
ENDED = frozenset({"completed", "expired", "cancelled"})
LINES_AT_ONCE = 200
# The provider's clock may be off by so much when a batch is looked for by its age.
CLOCK_SKEW_S = 3600.0


class LineResponse(BaseModel):
    """The response of one line of a batch's output."""

    status_code: int
    request_id: str | None = None
    body: Any = None


class LineError(BaseModel):
    """Why a line has no response."""

    code: str | None = None
    message: str | None = None


class Line(BaseModel):
    """A line of a batch's output or error file."""

    custom_id: str
    response: LineResponse | None = None
    error: LineError | None = None


@dataclass(frozen=True, kw_only=True)
class BatchDesk:
    """Submits, polls and collects the batches of one server.

    `render` makes the line of a request, or None where its image is gone by now; `price` what an answer cost.
    `settle_s` is how long an order that got no answer may still take to show up at the provider.
    """

    server: ChatServer
    ledger: Ledger
    size: BatchSize
    counts: Counts
    settle_s: float
    backoff_s: float
    render: Callable[[str, ChatRequest], bytes | None]
    price: Callable[[Answered, str], StoredReply]

    @property
    def client(self) -> openai.AsyncOpenAI:
        """The SDK's client."""
        return self.server.client

    async def submit(self, terms: Terms) -> None:
        """Submit what is wanted under the label of `terms`; raise BudgetReached where nothing of it fits."""
        while (size := await self._allowed(terms)) is not None:
            prepare = partial(
                batches.prepare_batch, terms=terms, server=self.server.name, session=self.ledger.session, size=size
            )
            batch = await self.ledger.call(prepare)
            if batch is None:
                return
            await self._send(cast("Batch", batch))

    async def tend(self) -> tuple[BatchState, ...]:
        """Carry every open batch one step on, unless another process does; return all batches, the oldest first."""
        for batch in await self.ledger.call(partial(batches.open_batches, server=self.server.name)):
            if await self.ledger.take_batch(batch):
                try:
                    await self._advance(batch)
                finally:
                    await self.ledger.call(
                        partial(batches.take_over, batch_id=batch.id, owner=self.ledger.session, session=NOBODY)
                    )
        known = await self.ledger.call(lambda books: batches.all_batches(books.connection))
        return tuple(_state(batch) for batch in known if batch.server == self.server.name)

    async def tend_or_fail(self) -> None:
        """Carry every open batch on; raise TeacherUnavailable where the provider has refused one for good."""
        open_ones = await self.ledger.call(partial(batches.open_batches, server=self.server.name))
        names = {batch.id for batch in open_ones}
        for batch in await self.tend():
            if batch.id in names and batch.is_refused:
                raise TeacherUnavailable(
                    f"{self.server.name} has refused a batch of {batch.requests:,} requests: {batch.detail}. "
                    "Mend that, then run again: nothing of it was charged, all of it is asked again"
                )

    async def _allowed(self, terms: Terms) -> BatchSize | None:
        """Return how large the next batch may be: smaller after one was over the account's limit of queued tokens."""
        known = await self.ledger.call(lambda books: batches.all_batches(books.connection))
        alike = [batch for batch in known if batch.server == self.server.name and batch.model == terms.model]
        ended = [batch for batch in alike if not batch.is_open]
        if not ended or TOKEN_LIMIT not in ended[-1].detail:
            return self.size
        if len(ended) < len(alike):
            return None
        smaller = max(1, ended[-1].requests // 2)
        return BatchSize(
            max_requests=min(self.size.max_requests, smaller),
            max_bytes=self.size.max_bytes,
            max_tries=self.size.max_tries,
        )

    async def _advance(self, batch: Batch) -> None:
        if batch.state == "submitting" and not await self._find_again(batch):
            return
        if batch.state == "prepared":
            await self._send(batch)
        elif batch.state == "submitted" and batch.remote_id is not None:
            await self._poll(batch, batch.remote_id)

    async def _find_again(self, batch: Batch) -> bool:
        """Settle whether the order for a batch was given; return False while that cannot be known yet."""
        now = await self.ledger.call(lambda books: books.now)
        if now < (batch.submitted_at or 0.0) + self.settle_s:
            return False
        remote = await self._search(batch)
        if remote is not None:
            await self._mark(batch, "submitted", remote_id=remote.id)
            await self._poll(batch, remote.id)
        else:
            await self._send(batch)
        return True

    async def _send(self, batch: Batch) -> None:
        """Write the input file, upload it and order the batch."""
        with tempfile.NamedTemporaryFile(suffix=".jsonl", prefix=f"mmat-{batch.id}-") as file:
            if await self._write(batch, file) == 0:
                await self._end(batch, "failed", "none of its images is left as it was")
                return
            uploaded = await self._upload(batch, Path(file.name))
        await self._mark(batch, "submitting")
        try:
            remote = await self._order(batch, uploaded)
        except openai.APIStatusError as error:
            failure = refusal(self.server, error)
            await self._end(batch, "failed", failure)
        else:
            await self._mark(batch, "submitted", remote_id=remote.id, session=NOBODY)
            return
        raise TeacherUnavailable(failure)

    async def _write(self, batch: Batch, file: IO[bytes]) -> int:
        """Write the lines of a batch; return how many. A request whose image has changed since is given up."""
        after_id, lines = 0, 0
        while rows := await self._rows(batch, after_id):
            rendered = await asyncio.to_thread(self._render_all, rows)
            gone = [Answer(key=row.key, reply=None) for row, line in zip(rows, rendered, strict=True) if line is None]
            if gone:
                await self.ledger.call(partial(batches.fill, batch=batch, answers=gone))
            kept = [line for line in rendered if line is not None]
            file.writelines(kept)
            after_id, lines = rows[-1].id, lines + len(kept)
        file.flush()
        return lines

    async def _rows(self, batch: Batch, after_id: int) -> list[Wanted]:
        return await self.ledger.call(
            partial(batches.wanted_of, batch_id=batch.id, after_id=after_id, limit=LINES_AT_ONCE)
        )

    def _render_all(self, rows: Sequence[Wanted]) -> list[bytes | None]:
        return [self.render(row.key.hex(), unpack_request(row.request)) for row in rows]

    async def _upload(self, batch: Batch, path: Path) -> FileObject:
        async def upload() -> FileObject:
            with path.open("rb") as file:
                return await self.client.files.create(file=(f"mmat-{batch.id}.jsonl", file), purpose="batch")

        uploaded = await call(self.server, self.backoff_s, upload)
        assert uploaded is not None
        return uploaded

    async def _order(self, batch: Batch, uploaded: FileObject) -> RemoteBatch:
        """Order the batch; where no answer came, look whether it was heard before ordering again."""
        for _ in range(3):
            try:
                return await self.client.batches.create(
                    input_file_id=uploaded.id,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                    metadata={TAG: batch.id, "label": batch.label},
                )
            except PASSING:
                await asyncio.sleep(self.settle_s)
            remote = await self._search(batch)
            if remote is not None:
                return remote
        raise TeacherUnavailable(f"{self.server.name} does not answer the order of a batch: run again to go on")

    async def _search(self, batch: Batch) -> RemoteBatch | None:
        async def search() -> RemoteBatch | None:
            async for remote in self.client.batches.list(limit=100):
                if (remote.metadata or {}).get(TAG) == batch.id:
                    return remote
                if remote.created_at < batch.created_at - CLOCK_SKEW_S:
                    break
            return None

        return await call(self.server, self.backoff_s, search)

    async def _poll(self, batch: Batch, remote_id: str) -> None:
        remote = await call(self.server, self.backoff_s, lambda: self.client.batches.retrieve(remote_id))
        assert remote is not None
        if remote.status in ENDED:
            await self._collect(batch, remote)
        elif remote.status == "failed":
            errors = remote.errors.data if remote.errors and remote.errors.data else []
            said = "; ".join(f"{error.code}: {error.message}" for error in errors) or "no reason given"
            await self._end(batch, "failed", self.server.cleared(said)[:1000])

    async def _collect(self, batch: Batch, remote: RemoteBatch) -> None:
        """Store what a batch brought; doing it again after a kill stores nothing twice."""
        hopeless = ""
        for file_id in filter(None, (remote.output_file_id, remote.error_file_id)):
            said = await call(self.server, self.backoff_s, partial(self._collect_file, batch, file_id))
            hopeless = said or hopeless
        if hopeless:
            await self._end(batch, "failed", hopeless)
        else:
            await self._end(batch, "ended", remote.status)

    async def _collect_file(self, batch: Batch, file_id: str) -> str:
        """Store what a file brought; return what to do about lines that no request could have got past."""
        hopeless = ""
        async for lines in self._lines(file_id):
            read = [self._answer(batch, line) for line in lines]
            hopeless = next((said for _, said in read if said), hopeless)
            answers = [answer for answer, _ in read]
            for reply in await self.ledger.call(partial(batches.fill, batch=batch, answers=answers)):
                self.counts.pay(reply)
        return hopeless

    async def _lines(self, file_id: str) -> AsyncIterator[list[Line]]:
        lines: list[Line] = []
        async with self.client.files.with_streaming_response.content(file_id) as response:
            async for text in response.iter_lines():
                if text.strip():
                    lines.append(Line.model_validate(orjson.loads(text)))
                if len(lines) >= LINES_AT_ONCE:
                    yield lines
                    lines = []
        if lines:
            yield lines

    def _answer(self, batch: Batch, line: Line) -> tuple[Answer, str]:
        """Return what a line brings, and what to do about it where no request could have got past that."""
        key, response = bytes.fromhex(line.custom_id), line.response
        if response is None:
            code = line.error.code if line.error else None
            return Answer(key=key, reply=None, is_try=code not in WITHDRAWN), ""
        body = self.server.kept(orjson.dumps(response.body))
        status, (code, said) = response.status_code, parse_error(body)
        if status in HOPELESS or code in NO_QUOTA or (status in OF_THIS_REQUEST and code in MISCONFIGURED):
            advice = self.server.hopeless(status, said).advice
            return Answer(key=key, reply=None, is_try=False), advice
        if status not in OF_THIS_REQUEST and not _is_completion(status, body):
            return Answer(key=key, reply=None), ""
        return Answer(key=key, reply=self._reply(batch, response, body)), ""

    def _reply(self, batch: Batch, response: LineResponse, body: bytes) -> StoredReply:
        paid = read_usage(body) if response.status_code == OK else Paid()
        answered = Answered(
            status=response.status_code,
            body=body,
            paid=paid,
            request_id=self.server.cleared(response.request_id or "") or None,
            seen=None,
        )
        return self.price(answered, batch.id)

    async def _mark(self, batch: Batch, state: batches.State, **values: object) -> None:
        await self.ledger.call(lambda books: batches.mark(books, batch.id, state, **values))

    async def _end(self, batch: Batch, state: batches.State, detail: str) -> None:
        await self.ledger.call(partial(batches.end, batch_id=batch.id, state=state, detail=detail))


def _is_completion(status: int, body: bytes) -> bool:
    if status != OK:
        return False
    try:
        read_usage(body)
    except ValidationError:
        return False
    return True


def _state(batch: Batch) -> BatchState:
    return BatchState(
        id=batch.id,
        label=batch.label,
        state=batch.state,
        requests=batch.requests,
        answered=batch.answered,
        refused=batch.refused,
        released=batch.released,
        detail=batch.detail,
        created_at=batch.created_at,
        ended_at=batch.ended_at,
        can_go_on=batch.state == "ended" or (batch.state == "failed" and TOKEN_LIMIT in batch.detail),
    )
