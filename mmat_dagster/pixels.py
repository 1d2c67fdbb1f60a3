"""Images as upright RGB pixels, whatever their mode, depth, frames or orientation."""

import io
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from mmat_dagster.images import DAMAGE, FORMATS, PIXEL_LIMIT

# The brightest value of a picture whose pixels are numbers without a limit: the first one that holds them all.
CEILINGS = (1, 255, 65535)


def read_rgb(source: Path | bytes) -> Image.Image:
    """Return the (first) frame of an image file or of its bytes as RGB, turned as its EXIF says, on white ground.

    Raises OSError where it cannot be read or holds more than PIXEL_LIMIT pixels.
    """
    content = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with Image.open(content, formats=FORMATS) as image:
            check_size(image)
            return to_rgb(image)
    except UnidentifiedImageError:
        raise OSError("not an image, or of a format that no source has") from None
    except OSError:
        raise
    except DAMAGE as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an open image's (first) frame as RGB, turned as its EXIF says, on white ground."""
    return _on_white(_eight_bit(ImageOps.exif_transpose(image))).convert("RGB")


def check_size(image: Image.Image) -> None:
    """Raise OSError for an image that is empty or would take too much memory; to be asked before it is decoded."""
    if image.width < 1 or image.height < 1:
        raise OSError(f"an image of {image.width}x{image.height} pixels")
    if image.width * image.height > PIXEL_LIMIT:
        raise OSError(f"{image.width}x{image.height} pixels are more than {PIXEL_LIMIT:,}")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale pixels of more than 8 bits; a plain conversion would clip them to white."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    numbers = image.convert("F")
    ceiling = 65535.0 if image.mode.startswith("I;16") else _ceiling(numbers)
    return numbers.point(lambda value: value * (255 / ceiling) + 0.5).convert("L")


def _ceiling(numbers: Image.Image) -> float:
    _, high = numbers.getextrema()
    if not isinstance(high, int | float):
        raise TypeError(f"an image of one band has one maximum, not {high}")
    return float(next((ceiling for ceiling in CEILINGS if high <= ceiling), high))


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
