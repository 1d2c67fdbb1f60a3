"""The files of the teacher's server: uploaded, listed, read and deleted as OpenAI's API does it."""

import email
import email.policy
import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.chat_server import OK, Body, error_reply

FILES_A_PAGE = 10_000


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file with its bytes."""

    id: str
    filename: str
    purpose: str
    content: bytes
    created_at: int

    def render(self) -> Body:
        """Return the file object of OpenAI's API."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


class FileDesk:
    """Keeps files by id, in the order in which they came."""

    def __init__(self) -> None:
        self.files: dict[str, StoredFile] = {}
        self._count = 0

    def routes(self) -> list[Route]:
        """Return the endpoints under /v1/files."""
        return [
            Route("/v1/files", self._upload, methods=["POST"]),
            Route("/v1/files", self._list, methods=["GET"]),
            Route("/v1/files/{id}", self._retrieve, methods=["GET"]),
            Route("/v1/files/{id}", self._delete, methods=["DELETE"]),
            Route("/v1/files/{id}/content", self._read, methods=["GET"]),
        ]

    def add(self, filename: str, purpose: str, content: bytes) -> StoredFile:
        """Keep a new file."""
        self._count += 1
        file = StoredFile(
            id=f"file-{self._count:06}",
            filename=filename,
            purpose=purpose,
            content=content,
            created_at=int(time.time()),
        )
        self.files[file.id] = file
        return file

    async def _upload(self, request: Request) -> Response:
        form = parse_form(request.headers["content-type"], await request.body())
        if "file" not in form or "purpose" not in form:
            return respond_error(400, "A file and its purpose are required.")
        filename, content = form["file"]
        return respond(self.add(filename, form["purpose"][1].decode(), content).render())

    async def _list(self, request: Request) -> Response:
        return respond_page(request, [file.render() for file in self.files.values()], FILES_A_PAGE)

    async def _retrieve(self, request: Request) -> Response:
        file = self.files.get(request.path_params["id"])
        return _not_found(request) if file is None else respond(file.render())

    async def _read(self, request: Request) -> Response:
        file = self.files.get(request.path_params["id"])
        return _not_found(request) if file is None else Response(file.content, media_type="application/octet-stream")

    async def _delete(self, request: Request) -> Response:
        file = self.files.pop(request.path_params["id"], None)
        return _not_found(request) if file is None else respond({"id": file.id, "object": "file", "deleted": True})


def parse_form(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """Read a multipart form: file name ("" for a plain field) and bytes of each field."""
    boundary = email.message_from_string(f"Content-Type: {content_type}").get_param("boundary")
    fields = {}
    for part in body.split(f"--{boundary}".encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        message = email.message_from_bytes(head.lstrip(b"\r\n"), policy=email.policy.HTTP)
        name = message.get_param("name", header="content-disposition")
        fields[str(name)] = (message.get_filename() or "", content.removesuffix(b"\r\n"))
    return fields


def respond(content: Body, status: int = OK) -> Response:
    """Return a JSON response."""
    return Response(orjson.dumps(content), status, media_type="application/json")


def respond_error(status: int, message: str, code: str | None = None) -> Response:
    """Return an error in OpenAI's form."""
    return Response(error_reply(status, message, code).body, status, media_type="application/json")


def respond_page(request: Request, oldest_first: Sequence[Body], limit: int) -> Response:
    """Return the page behind the query's `after`, newest first."""
    items = list(reversed(oldest_first))
    after = request.query_params.get("after")
    start = next((place for place, item in enumerate(items, start=1) if item["id"] == after), 0)
    page = items[start : start + int(request.query_params.get("limit", limit))]
    return respond(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": start + len(page) < len(items),
        }
    )


def _not_found(request: Request) -> Response:
    return respond_error(404, f"No such File object: {request.path_params['id']}")
