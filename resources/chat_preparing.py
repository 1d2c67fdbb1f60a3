"""From a request to what is sent for it, how many tokens it will take, and what it costs at most and in the end."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from posixpath import normpath
from typing import TypeVar
from urllib.parse import quote

import orjson

from mmat_dagster.chat.estimates import USUAL_IMAGE_TOKENS, TokenEstimator, image_tokens, most_prompt_tokens
from mmat_dagster.chat.forecasts import cacheable
from mmat_dagster.chat.models import ModelFacts, Prices
from mmat_dagster.chat.requests import ChatRequest, Parameters, body_bytes, render_batch_line, render_body
from mmat_dagster.chat.scaling import UNREADABLE, ImageChanged, PreparedImage, ShelfUnusable, prepare
from mmat_dagster.interfaces import ChatImage, RowError, StoreError, TeacherUnavailable
from mmat_dagster.ledger.accounts import Paid
from mmat_dagster.ledger.orders import StoredReply
from mmat_dagster.spending import Forecast
from resources.chat_asker import Errand
from resources.outcomes import Answered

CANARY_TOKENS = 64

# Two threads read and scale images: more only hold more memory, since most of it holds the interpreter.
_LOOKING = ThreadPoolExecutor(max_workers=2, thread_name_prefix="images")

T = TypeVar("T")


@dataclass(kw_only=True)
class Preparing:
    """What a resource knows of its model: how requests are written for it, and what they cost.

    `image_url` is a template where the server fetches images itself, `shelf` keeps scaled images,
    `image_tokens_at_most` bounds an image's tokens where the model's rule is not known.
    """

    facts: ModelFacts
    prices: Prices | None
    parameters: Parameters
    estimator: TokenEstimator
    image_url: str | None
    shelf: Path | None
    image_tokens_at_most: int | None

    async def prepare(self, request: ChatRequest, key: bytes) -> Errand | RowError:
        """Return the request ready to be sent; a RowError where an image is at fault."""
        render = partial(render_body, self.parameters, self.facts.max_tokens_field, request, self._show)
        body = await self._guarded(render) if request.images else render()
        if isinstance(body, RowError):
            return body
        expected = self.estimator.expect(request, self._usual_image_tokens(request))
        return Errand(key=key, body=body, tokens=expected, reserve_usd=self.most_usd(request))

    async def measure(self, request: ChatRequest) -> int | RowError:
        """Return about how many bytes the request's line in a batch takes; its images are scaled on the way."""
        if not request.images:
            return body_bytes(request, 0)
        shown = await self._guarded(lambda: [self._show(image) for image in request.images])
        if isinstance(shown, RowError):
            return shown
        return body_bytes(request, sum(len(each.content) for each in shown if isinstance(each, PreparedImage)))

    def line(self, custom_id: str, request: ChatRequest) -> bytes | None:
        """Return the request's line in a batch; None where its image is not there any more as it was."""
        try:
            return render_batch_line(custom_id, self.parameters, self.facts.max_tokens_field, request, self._show)
        except (ImageChanged, *UNREADABLE):
            return None

    def most_usd(self, request: ChatRequest, *, batch: bool = False) -> float:
        """Return what the request can cost at most; 0 where no price is known. Raises TeacherUnavailable."""
        if self.prices is None:
            return 0.0
        tokens = self._image_tokens(request)
        if tokens is None:
            raise TeacherUnavailable(f"how {self.facts.name} counts images is not known: set `image_tokens_at_most`")
        return self.prices.cost(most_prompt_tokens(request, tokens), 0, self.parameters.max_tokens, batch=batch)

    def forecast(self, request: ChatRequest, kept: int) -> Forecast:
        """Return what the request will probably take, when the provider has seen its first `kept` messages before."""
        seen = ChatRequest(messages=request.messages[:kept], schema=request.schema)
        prompt, completion = self.estimator.usual(request, self._usual_image_tokens(request))
        cached, _ = self.estimator.usual(seen, self._usual_image_tokens(seen))
        return Forecast(calls=1, prompt_tokens=prompt, cached_tokens=cacheable(cached), completion_tokens=completion)

    def price(self, answered: Answered, batch: str | None = None) -> StoredReply:
        """Return the reply to store, with what it cost."""
        paid = answered.paid
        tokens = (paid.prompt_tokens, paid.cached_tokens, paid.completion_tokens)
        priced = Paid(
            prompt_tokens=paid.prompt_tokens,
            cached_tokens=paid.cached_tokens,
            completion_tokens=paid.completion_tokens,
            cost_usd=self.prices.cost(*tokens, batch=batch is not None) if self.prices else None,
        )
        return StoredReply(
            status=answered.status, body=answered.body, paid=priced, batch=batch, request_id=answered.request_id
        )

    def canary(self, key: bytes) -> Errand:
        """Return the cheapest request there is: its answer tells that the server is well."""
        body = {
            "model": self.parameters.model,
            "messages": [{"role": "user", "content": "Reply with the JSON object {}."}],
            self.facts.max_tokens_field: CANARY_TOKENS,
        }
        usd = self.prices.cost(CANARY_TOKENS, 0, CANARY_TOKENS) if self.prices else 0.0
        return Errand(key=key, body=orjson.dumps(body), tokens=CANARY_TOKENS, reserve_usd=usd)

    def learn(self, request: ChatRequest, reply: StoredReply) -> None:
        """Take in how many tokens a request really took."""
        tokens = self._usual_image_tokens(request)
        self.estimator.learn(request, tokens, reply.paid.prompt_tokens, reply.paid.completion_tokens)

    def _usual_image_tokens(self, request: ChatRequest) -> int:
        tokens = self._image_tokens(request)
        return USUAL_IMAGE_TOKENS * len(request.images) if tokens is None else tokens

    def _image_tokens(self, request: ChatRequest) -> int | None:
        sides = (self.parameters.image_detail, self.parameters.max_image_side)
        counted = image_tokens(self.facts, request.images, *sides)
        if counted is None and self.image_tokens_at_most is not None:
            return self.image_tokens_at_most * len(request.images)
        return counted

    def _show(self, image: ChatImage) -> str | PreparedImage:
        if self.image_url is not None:
            # A file may be called what a URL takes for parameters or for a way up.
            return self.image_url.format(reference=quote(normpath(image.reference)), sha256=image.sha256)
        limits = self.parameters
        return prepare(
            image.path, image.sha256, max_side=limits.max_image_side, tiles=limits.fits_tiles, shelf=self.shelf
        )

    async def _guarded(self, look: Callable[[], T]) -> T | RowError:
        """Run `look`, which reads images, beside the event loop."""
        try:
            return await asyncio.get_running_loop().run_in_executor(_LOOKING, look)
        except FileNotFoundError as absent:
            return RowError(reason="missing image", detail=f"{absent.filename}")
        except ImageChanged as changed:
            return RowError(reason="image changed", detail=str(changed))
        except ShelfUnusable as broken:
            raise StoreError(str(broken)) from None
        except UNREADABLE as broken:
            return RowError(reason="unreadable image", detail=str(broken))
