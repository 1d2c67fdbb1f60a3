"""The batches of the teacher's server: validated, worked off after a delay, ended as told, as OpenAI's API does it.

validating -> in_progress -> finalizing -> completed | expired | cancelled
validating -> failed                       what the file or the quota does not allow
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.chat_server import OK, Body
from tests.teacher_server_files import FileDesk, respond, respond_error, respond_page

BatchOutcome: TypeAlias = Literal["completed", "expired", "failed", "cancelled"]
Status: TypeAlias = BatchOutcome | Literal["validating", "in_progress", "finalizing", "cancelling"]

ENDPOINT = "/v1/chat/completions"
WINDOW = "24h"
WINDOW_S = 24 * 60 * 60
BATCHES_A_PAGE = 20
# After so many lines others get their turn on the event loop.
LINES_AT_ONCE = 50
UNDONE: dict[str, Body] = {
    "expired": {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    },
    "cancelled": {
        "code": "batch_cancelled",
        "message": "This request was not executed because this batch was cancelled.",
    },
}


@dataclass(frozen=True, kw_only=True)
class BatchRules:
    """What an input file may hold."""

    max_lines: int = 50_000
    max_bytes: int = 200_000_000
    max_custom_id_chars: int = 512


@dataclass(kw_only=True)
class Batch:
    """A batch; `index` counts from 0."""

    id: str
    index: int
    input_file_id: str
    metadata: dict[str, str] | None
    created_at: int
    status: Status = "validating"
    happened_at: dict[str, int] = field(default_factory=dict)
    output_file_id: str | None = None
    error_file_id: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    errors: list[Body] = field(default_factory=list)
    is_cancelled: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in ("completed", "expired", "failed", "cancelled")

    def move_to(self, status: Status) -> None:
        """Change the status and keep when that was."""
        self.status = status
        self.happened_at[f"{status}_at"] = int(time.time())

    def render(self) -> Body:
        """Return the batch object of OpenAI's API."""
        moments = "in_progress finalizing completed failed expired cancelling cancelled".split()
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": ENDPOINT,
            "status": self.status,
            "input_file_id": self.input_file_id,
            "completion_window": WINDOW,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            "expires_at": self.created_at + WINDOW_S,
            **{f"{moment}_at": self.happened_at.get(f"{moment}_at") for moment in moments},
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "metadata": self.metadata,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
        }


@dataclass(kw_only=True)
class BatchDesk:
    """Takes batches and works them off; `answer` gives a line's status and body."""

    files: FileDesk
    answer: Callable[[Body], tuple[int, Body]]
    delay_s: float
    outcome: Callable[[int], BatchOutcome]
    rules: BatchRules
    seed: int
    batches: dict[str, Batch] = field(default_factory=dict)
    _work: set[asyncio.Task[None]] = field(default_factory=set)

    def routes(self) -> list[Route]:
        """Return the endpoints under /v1/batches, all but the one that creates."""
        return [
            Route("/v1/batches", self._list, methods=["GET"]),
            Route("/v1/batches/{id}", self._retrieve, methods=["GET"]),
            Route("/v1/batches/{id}/cancel", self._cancel, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """Register a batch and begin to work on it."""
        asked: Body = orjson.loads(await request.body())
        if asked.get("endpoint") != ENDPOINT or asked.get("completion_window") != WINDOW:
            return respond_error(400, f"Only {ENDPOINT} within {WINDOW} can be asked for.", "invalid_value")
        if asked.get("input_file_id") not in self.files.files:
            return respond_error(400, f"Invalid input_file_id: {asked.get('input_file_id')}", "invalid_value")
        index = len(self.batches)
        batch = Batch(
            id=f"batch_{index + 1:06}",
            index=index,
            input_file_id=asked["input_file_id"],
            metadata=asked.get("metadata"),
            created_at=int(time.time()),
        )
        self.batches[batch.id] = batch
        task = asyncio.create_task(self._run(batch, self.files.files[batch.input_file_id].content))
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return respond(batch.render())

    async def _list(self, request: Request) -> Response:
        return respond_page(request, [batch.render() for batch in self.batches.values()], BATCHES_A_PAGE)

    async def _retrieve(self, request: Request) -> Response:
        batch = self.batches.get(request.path_params["id"])
        return _not_found(request) if batch is None else respond(batch.render())

    async def _cancel(self, request: Request) -> Response:
        batch = self.batches.get(request.path_params["id"])
        if batch is None:
            return _not_found(request)
        if batch.status not in ("validating", "in_progress", "cancelling"):
            return respond_error(409, f"Cannot cancel a batch with status '{batch.status}'.")
        batch.move_to("cancelling")
        batch.is_cancelled.set()
        return respond(batch.render())

    async def _run(self, batch: Batch, content: bytes) -> None:
        lines, batch.errors = parse_lines(content, self.rules)
        outcome = self.outcome(batch.index)
        if outcome == "failed":
            batch.errors = [_error("token_limit_exceeded", "Enqueued token limit reached for this model.")]
        if batch.errors:
            batch.move_to("failed")
            return
        batch.total = len(lines)
        if batch.status == "validating":
            batch.move_to("in_progress")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(batch.is_cancelled.wait(), self.delay_s)
        if batch.is_cancelled.is_set():
            outcome = "cancelled"
        batch.move_to("finalizing")
        await self._finish(batch, lines, outcome)
        batch.move_to(outcome)

    async def _finish(self, batch: Batch, lines: list[Body], outcome: BatchOutcome) -> None:
        done = lines if outcome == "completed" else lines[: len(lines) // 2]
        answered: list[Body] = []
        for line in done:
            answered.append(_answered(batch, line, *self.answer(line["body"])))
            if len(answered) % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
        outputs = [line for line in answered if line["response"]["status_code"] == OK]
        errors = [line for line in answered if line["response"]["status_code"] != OK]
        errors += [_undone(batch, line, outcome) for line in lines[len(done) :]]
        batch.completed, batch.failed = len(outputs), len(errors)
        batch.output_file_id = self._write(batch, "output", outputs)
        batch.error_file_id = self._write(batch, "error", errors)

    def _write(self, batch: Batch, name: str, lines: list[Body]) -> str | None:
        """Keep the lines in an order of their own; no file where there is no line."""
        random.Random(f"{self.seed}/{batch.index}/{name}").shuffle(lines)
        content = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        return self.files.add(f"{batch.id}_{name}.jsonl", "batch_output", content).id if lines else None


def parse_lines(content: bytes, rules: BatchRules) -> tuple[list[Body], list[Body]]:
    """Read a batch's input; return its lines and what is wrong with them."""
    if len(content) > rules.max_bytes:
        return [], [_error("file_too_large", f"The file is larger than {rules.max_bytes} bytes.")]
    raw = content.splitlines()
    if not raw:
        return [], [_error("empty_file", "The input file is empty.")]
    if len(raw) > rules.max_lines:
        return [], [_error("too_many_tasks", f"The file has more than {rules.max_lines} lines.")]
    try:
        lines: list[Body] = [orjson.loads(line) for line in raw]
    except orjson.JSONDecodeError:
        return [], [_error("invalid_json_line", "A line is not parseable as valid JSON.")]
    return lines, list(_faults(lines, rules))


def _faults(lines: list[Body], rules: BatchRules) -> Iterator[Body]:
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        custom_id = line.get("custom_id")
        if not isinstance(custom_id, str) or not 0 < len(custom_id) <= rules.max_custom_id_chars:
            yield _error("invalid_custom_id", "The custom_id is missing or too long.", number)
        elif custom_id in seen:
            yield _error("duplicate_custom_id", f"The custom_id '{custom_id}' appears twice.", number)
        elif line.get("url") != ENDPOINT or line.get("method") != "POST":
            yield _error("invalid_url", f"Every line is a POST to {ENDPOINT}.", number)
        elif line["body"]["model"] != lines[0]["body"]["model"]:
            yield _error("mismatched_model", "Every line asks the same model.", number)
        seen.add(str(custom_id))


def _error(code: str, message: str, line: int | None = None) -> Body:
    return {"code": code, "message": message, "line": line, "param": None}


def _answered(batch: Batch, line: Body, status: int, body: Body) -> Body:
    name = f"{batch.id}_{line['custom_id']}"
    response = {"status_code": status, "request_id": f"req_{name}", "body": body}
    return {"id": f"batch_req_{name}", "custom_id": line["custom_id"], "response": response, "error": None}


def _undone(batch: Batch, line: Body, outcome: BatchOutcome) -> Body:
    name = f"batch_req_{batch.id}_{line['custom_id']}"
    return {"id": name, "custom_id": line["custom_id"], "response": None, "error": UNDONE[outcome]}


def _not_found(request: Request) -> Response:
    return respond_error(404, f"No batch found with id '{request.path_params['id']}'.")
