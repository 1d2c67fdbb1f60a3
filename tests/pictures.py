"""Pictures for tests: photo-like ones, tables, and what people do to them."""

import io
import random

from PIL import Image, ImageDraw


def photo(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Return coloured blobs, different for every seed."""
    noise = Image.frombytes("RGB", (20, 15), random.Random(seed).randbytes(20 * 15 * 3))
    return noise.resize(size, Image.Resampling.BICUBIC)


def table(cells: list[str]) -> Image.Image:
    """Return a table of one column."""
    image = Image.new("RGB", (180, 26 * len(cells) + 10), "#f4f0ff")
    draw = ImageDraw.Draw(image)
    for number, cell in enumerate(cells):
        top = 5 + 26 * number
        draw.rectangle((5, top, 174, top + 26), outline="#7050a0")
        draw.text((14, top + 4), cell, fill="black", font_size=16)
    return image


def encoded(image: Image.Image, form: str = "PNG", quality: int = 75) -> bytes:
    """Return the file of `image`."""
    buffer = io.BytesIO()
    image.save(buffer, form, **({"quality": quality} if form == "JPEG" else {}))
    return buffer.getvalue()


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return what JPEG leaves of `image`."""
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality))).convert("RGB")


def scaled(image: Image.Image, factor: float) -> Image.Image:
    """Return `image` in another size."""
    size = (round(image.width * factor), round(image.height * factor))
    return image.resize(size, Image.Resampling.LANCZOS)


def trimmed(image: Image.Image, share: float) -> Image.Image:
    """Return `image` without `share` of its width and height on each side."""
    across, down = round(image.width * share), round(image.height * share)
    return image.crop((across, down, image.width - across, image.height - down))


def bordered(image: Image.Image, share: float) -> Image.Image:
    """Return `image` on white paper that is `share` wider and higher on each side."""
    across, down = max(1, round(image.width * share)), max(1, round(image.height * share))
    paper = Image.new("RGB", (image.width + 2 * across, image.height + 2 * down), "white")
    paper.paste(image, (across, down))
    return paper
