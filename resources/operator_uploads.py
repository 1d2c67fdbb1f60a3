"""What a client sends to an operator, read within limits: a form of one image and what is asked of it.

The body is counted while it comes in, and the image known by its header only: a model's worker decodes it whole anyway
and says what is wrong further in, and an answer from a cache needs no pixels at all.
"""

import asyncio
import hashlib
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from fastapi import Request
from PIL import Image, UnidentifiedImageError
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from mmat_dagster.images import DAMAGE, FORMATS, LYING, ORIENTATION, PIXEL_LIMIT
from mmat_dagster.tools import Look
from resources.operator_contract import Code, Parameters

# A slower client gives its place to others.
UPLOAD_S = 120.0
PARAMETERS_BYTES = 1_000_000
MULTIPART = "multipart/form-data"
# What photos, scans and charts come as. Formats that Pillow hands to other programs (EPS) stay outside.


class Refused(Exception):
    """A request that is not carried out, and what its client is told."""

    def __init__(self, status: int, code: Code, message: str, headers: Mapping[str, str] | None = None) -> None:
        """Remember all of it."""
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


@dataclass(frozen=True, kw_only=True)
class Received:
    """A sound-looking image, still on its way from the client's form, and what is asked of it."""

    file: UploadFile
    parameters: Parameters
    width: int
    height: int

    async def look(self) -> Look:
        """Take the image's bytes into memory."""
        content = await self.file.read()
        digest = await asyncio.to_thread(hashlib.sha256, content)
        return Look(
            image=content,
            sha256=digest.hexdigest(),
            question=self.parameters.question,
            phrases=tuple(self.parameters.phrases),
            width=self.width,
            height=self.height,
        )


@asynccontextmanager
async def receive(request: Request, max_bytes: int) -> AsyncIterator[Received]:
    """Read the form of `request` and check it; its file is open within. Raises Refused, and ClientDisconnect."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MULTIPART:
        raise Refused(400, "malformed", f"the body must be {MULTIPART}: `image`, one file, and `parameters`, JSON")
    form = await _form(request, max_bytes)
    try:
        image, parameters = _image(form), _parameters(form)
        width, height = measure(image.file)
        yield Received(file=image, parameters=parameters, width=width, height=height)
    finally:
        await form.close()


def measure(file: BinaryIO) -> tuple[int, int]:
    """Return width and height in upright pixels as the header of an image tells them; raise Refused for none."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and of images near its own size limit: the size is judged here.
            warnings.simplefilter("ignore")
            image = Image.open(file, formats=FORMATS)
            lies = image.getexif().get(ORIENTATION) in LYING
        file.seek(0)
    except UnidentifiedImageError as error:
        known = ", ".join(sorted(FORMATS))
        raise Refused(
            415, "not_an_image", f"these bytes begin like no image of a kind that is read: {known}"
        ) from error
    except DAMAGE as error:
        raise Refused(422, "unreadable", f"the image is damaged or too large: {_told(error)}") from error
    width, height = image.size
    if width < 1 or height < 1:
        raise Refused(422, "unreadable", f"the image has {width}x{height} pixels")
    if width * height > PIXEL_LIMIT:
        raise Refused(422, "unreadable", f"the image's {width}x{height} pixels are more than {PIXEL_LIMIT:,}")
    return (height, width) if lies else (width, height)


class _Form(MultiPartParser):
    """A form that must be whole, and leaves no file behind where it is not."""

    is_whole = False

    def on_end(self) -> None:
        self.is_whole = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self.is_whole:
            # The last part may be missing from the form, and its file with it.
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("the form is not finished")
        return form


async def _form(request: Request, max_bytes: int) -> FormData:
    try:
        async with asyncio.timeout(UPLOAD_S), aclosing(_counted(request, max_bytes)) as body:
            return await _Form(request.headers, body, max_files=1, max_fields=1, max_part_size=PARAMETERS_BYTES).parse()
    except TimeoutError as error:
        raise Refused(408, "slow", f"the body did not come within {UPLOAD_S:g} s") from error
    except MultiPartException as error:
        raise Refused(400, "malformed", error.message) from error


async def _counted(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the body as long as it is not too long, whatever its headers say of its length."""
    count = 0
    async with aclosing(request.stream()) as stream:
        async for chunk in stream:
            count += len(chunk)
            if count > max_bytes:
                raise Refused(413, "too_large", f"the body is longer than {max_bytes:,} bytes")
            yield chunk


def _image(form: FormData) -> UploadFile:
    unknown = sorted({name for name, _ in form.multi_items()} - {"image", "parameters"})
    if unknown:
        raise Refused(400, "malformed", f"the form has a part {unknown[0][:100]!r}; it may have image and parameters")
    image = form.get("image")
    if image is None or isinstance(image, str):
        raise Refused(400, "malformed", "the form must have `image`, a file: a part with a filename")
    if not image.size:
        raise Refused(415, "not_an_image", "the image is empty: 0 bytes")
    return image


def _parameters(form: FormData) -> Parameters:
    text = form.get("parameters")
    if text is None:
        return Parameters()
    if not isinstance(text, str):
        raise Refused(400, "malformed", "`parameters` must be a field, not a file: a part without a filename")
    try:
        return Parameters.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("parameters", *map(str, first["loc"])))
        raise Refused(400, "malformed", f"{where[:200]}: {first['msg']}") from error


def _told(error: Exception) -> str:
    return str(error).replace("\n", " ") or type(error).__name__
