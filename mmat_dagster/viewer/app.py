"""The viewer over HTTP: addresses, and the templates that fill their pages."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args
from urllib.parse import urlencode

import jinja2
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from mmat_dagster.interfaces import LedgerError, Pictures, Store
from mmat_dagster.schema import DatasetName, ImageRef
from mmat_dagster.viewer import pages
from mmat_dagster.viewer.catalogue import Catalogue
from mmat_dagster.viewer.gallery import SIDES, Gallery, SizeName
from mmat_dagster.viewer.guarding import Guard
from mmat_dagster.viewer.library import DATASETS, Library, Lost
from mmat_dagster.viewer.pages import FindExchanges
from mmat_dagster.viewer.places import LAST, SOURCES
from mmat_dagster.viewer.remembering import Remembered
from mmat_dagster.viewer.wanted import BadFilter, parse_wanted

HERE = Path(__file__).parent
IMAGES_FOR = "private, max-age=86400"
FILES_FOR = "private, max-age=300"


class NotThere(Exception):
    """There is no such page; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Viewed:
    """What is shown: a store, where its images lie, the file of its index, and how its ledger is asked."""

    store: Store
    pictures: Pictures
    index: Path
    find_exchanges: FindExchanges


def create_app(viewed: Viewed) -> Starlette:
    """Return the viewer as an ASGI application."""
    site = Site(viewed)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        site.catalogue.progress()
        try:
            yield
        finally:
            site.catalogue.close()

    routes = [
        Route("/", site.start),
        Route("/dialogues", site.dialogues),
        Route("/dialogue", site.dialogue),
        Route("/ledger", site.ledger),
        Route("/rejected", site.rejected),
        Route("/images/{sha256}/{size}", site.image),
        Mount("/static", _Files(directory=HERE / "static")),
    ]
    handlers: Mapping[Any, Callable[[Request, Exception], Response]] = {
        404: site.missing,
        NotThere: site.missing,
        BadFilter: site.refused,
    }
    return Starlette(routes=routes, middleware=[Middleware(Guard)], exception_handlers=handlers, lifespan=lifespan)


class Site:
    """The pages of one store. They are plain functions: Starlette runs each in a thread."""

    def __init__(self, viewed: Viewed) -> None:
        self.library = Library(viewed.store)
        self.catalogue = Catalogue(self.library, viewed.index)
        self._find_exchanges = viewed.find_exchanges
        self._shown = Remembered(self.catalogue.picture)
        self._gallery = Gallery(viewed.pictures, self._shown.find)
        self._templates = _templates()

    def start(self, request: Request) -> Response:
        """Show what the store holds."""
        return self._page(
            request,
            "start.html",
            held=pages.held_by(self.library),
            release=pages.release_of(self.library.store),
            root=self.library.store.locate(""),
        )

    def dialogues(self, request: Request) -> Response:
        """Show a page of dialogues."""
        wanted = parse_wanted(request.query_params)
        page = pages.list_page(self.library, self.catalogue, wanted, _bounds(request))
        self._shown.remember((entry.source, entry.image) for entry in page.entries if entry.image)
        return self._page(
            request,
            "dialogues.html",
            page=page,
            wanted=wanted,
            choices=pages.choices(self.catalogue, self.library),
            progress=self.catalogue.progress(),
            reflections=pages.REFLECTIONS,
        )

    def dialogue(self, request: Request) -> Response:
        """Show one dialogue."""
        wanted, told = parse_wanted(request.query_params), self._told(request)
        self._shown.remember((told.dialogue.source, image) for image in told.dialogue.images)
        return self._page(request, "dialogue.html", told=told, wanted=wanted)

    def ledger(self, request: Request) -> Response:
        """Show what the ledger holds of a dialogue."""
        told = self._told(request)
        fault, exchanges = "", None
        try:
            exchanges = self._find_exchanges(pages.rationale_of(self.library, told))
        except LedgerError as error:
            fault = str(error)
        return self._page(request, "ledger.html", told=told, exchanges=exchanges, fault=fault)

    def rejected(self, request: Request) -> Response:
        """Show a page of rejections."""
        lost, skip = _lost(request), _number(request, "skip") or 0
        found, total = pages.lost_page(self.library, lost, skip)
        return self._page(
            request,
            "rejected.html",
            found=found,
            total=total,
            skip=skip,
            size=pages.LOST_PAGE,
            lost=lost,
            reasons=self.library.reasons(lost),
            stages=DATASETS,
        )

    def image(self, request: Request) -> Response:
        """Send an image by its SHA-256."""
        size, sha256 = request.path_params["size"], request.path_params["sha256"]
        shown = self._gallery.show(sha256, cast("SizeName", size)) if size in SIDES else None
        if shown is None:
            return Response(status_code=404)
        media_type, content = shown
        return Response(content, media_type=media_type, headers={"Cache-Control": IMAGES_FOR})

    def missing(self, request: Request, error: Exception) -> Response:
        """Say that there is no such page."""
        told = str(error) if isinstance(error, NotThere) else "There is no such page."
        return self._page(request, "missing.html", status=404, told=told)

    def refused(self, request: Request, error: Exception) -> Response:
        """Say what cannot be asked for."""
        return self._page(request, "missing.html", status=400, told=str(error))

    def _told(self, request: Request) -> pages.Told:
        record_id = request.query_params.get("id", "")
        wanted, near = parse_wanted(request.query_params), _number(request, "at")
        told = pages.dialogue_page(self.library, self.catalogue, record_id, wanted, near)
        if told is None:
            raise NotThere(f"There is no dialogue {record_id!r} in this store.")
        return told

    def _page(self, request: Request, template: str, status: int = 200, **values: object) -> Response:
        text = self._templates.get_template(template).render(path=request.url.path, sources=SOURCES, **values)
        return HTMLResponse(text, status_code=status)


class _Files(StaticFiles):
    """The viewer's own style and script, which change with its version only."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Let a browser keep them for a while."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = FILES_FOR
        return response


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        list_link=pages.list_link, dialogue_link=pages.dialogue_link, query=urlencode, image_link=_image_link
    )
    environment.filters.update(moment=pages.moment, indented=pages.indented, count="{:,}".format, words=_words)
    return environment


def _image_link(image: ImageRef, size: SizeName) -> str:
    return f"/images/{image.sha256}/{size}"


def _words(name: str) -> str:
    """Return a name as a person reads it: visual_cot, visual cot."""
    return name.replace("_", " ")


def _bounds(request: Request) -> dict[str, int]:
    found = {name: _number(request, name) for name in ("after", "before")}
    return {name: number for name, number in found.items() if number is not None}


def _number(request: Request, name: str) -> int | None:
    """Return a number that an address holds; None where it holds none that stands for a place."""
    text = request.query_params.get(name, "")
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(LAST))
    return min(int(text), LAST) if is_number else None


def _lost(request: Request) -> Lost:
    query = request.query_params
    source, stage, reason = query.get("source"), query.get("stage"), query.get("reason")
    return Lost(
        source=source if source in SOURCES else None,
        stage=cast("DatasetName", stage) if stage in get_args(DatasetName) else None,
        reason=reason or None,
    )
