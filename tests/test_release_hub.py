"""A release is pushed by the hub's own client, here to a server on loopback that answers as the hub does."""

import base64
import json
import os
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mmat_dagster.release.hub import PushFailed
from resources.hub import HuggingFaceHub
from tests.loopback import Served, Server

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    pytest.importorskip("huggingface_hub")

REPOSITORY = "somebody/mmat"
TOKEN = "hf_secret"
HEAD = "0" * 40


@dataclass
class Hub:
    """Keeps what is committed; `status` is what it answers to a commit."""

    status: int = 200
    files: dict[str, bytes] = field(default_factory=lambda: {"data/rr/train-00000-of-00009.parquet": b"old"})
    tokens: set[str] = field(default_factory=set)
    paths: list[str] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        path = request.url.path
        self.paths.append(path)
        self.tokens.add(request.headers.get("authorization", ""))
        if path.endswith("/repos/create"):
            return JSONResponse({"url": f"{request.base_url}datasets/{REPOSITORY}"})
        if "/preupload/" in path:
            asked = (await request.json())["files"]
            modes = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in asked]
            return JSONResponse({"files": modes})
        if "/commit/" in path:
            return self._commit(await request.body(), f"{request.base_url}datasets/{REPOSITORY}/commit/{HEAD}")
        if "/tree/" in path:
            return JSONResponse([{"type": "file", "path": each, "size": 3, "oid": HEAD} for each in self.files])
        siblings = [{"rfilename": each} for each in self.files]
        return JSONResponse({"id": REPOSITORY, "sha": HEAD, "siblings": siblings, "errors": [], "warnings": []})

    def _commit(self, body: bytes, address: str) -> Response:
        if self.status != 200:
            return JSONResponse({"error": f"you may not write here with {TOKEN}"}, self.status)
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "deletedFile":
                del self.files[entry["value"]["path"]]
        return JSONResponse({"success": True, "commitOid": HEAD, "commitUrl": address, "hookOutput": ""})


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def address(hub: Hub) -> Iterator[str]:
    app = Starlette(routes=[Route("/{path:path}", hub.answer, methods=["GET", "POST"])])
    with Served(Server(uvicorn.Config(app, log_level="error")), "hub") as served:
        yield served.address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "0123456789abcdef"
    (made / "data" / "rr").mkdir(parents=True)
    (made / "README.md").write_text("---\nlicense: other\n---\n# Dialogues\n")
    (made / "data" / "rr" / "train-00000-of-00001.parquet").write_bytes(b"new")
    return made


def test_every_file_is_pushed_with_the_token_and_what_is_old_goes(hub: Hub, address: str, folder: Path) -> None:
    told = HuggingFaceHub(token=TOKEN, endpoint=address).push(folder, REPOSITORY)
    assert told == f"{address}/datasets/{REPOSITORY}"
    expected = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path: data for path, data in hub.files.items() if path != ".gitattributes"} == expected
    assert hub.tokens == {f"Bearer {TOKEN}"}


def test_what_the_hub_refuses_is_told_without_the_token(hub: Hub, address: str, folder: Path) -> None:
    hub.status = 403
    with pytest.raises(PushFailed) as caught:
        HuggingFaceHub(token=TOKEN, endpoint=address).push(folder, REPOSITORY)
    assert "check HF_TOKEN and MMAT_HUB_REPO" in str(caught.value)
    # What Dagster keeps of an error is this, with all that it was raised from.
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_a_name_that_no_repository_can_have_is_told(address: str, folder: Path) -> None:
    with pytest.raises(PushFailed, match="a//b"):
        HuggingFaceHub(token=TOKEN, endpoint=address).push(folder, "a//b")
