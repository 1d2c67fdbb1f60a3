"""What is known of each chat model: prices, how images are counted, which parameters it takes, when it goes.

One table, as read on AS_OF from OpenAI's pricing page, its images-and-vision guide and its deprecation notice of
2026-10-14. A model that is not in it has unknown facts, not those of its nearest relative.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, TypeAlias

AS_OF = date(2026, 11, 23)

# "none": images are not sent at all, to a model that cannot see.
ImageDetail: TypeAlias = Literal["auto", "low", "high", "none"]
Formula: TypeAlias = Literal["tiles", "patches"]
MaxTokensField: TypeAlias = Literal["max_completion_tokens", "max_tokens"]

# GPT-4o's rule: an image is scaled into a square, then its short side down, then cut into tiles.
SQUARE_PX = 2048
SHORT_SIDE_PX = 768
TILE_PX = 512
IMAGE_TOKENS = 85  # of an image as a whole, all there is at low detail
TILE_TOKENS = 170

PATCH_PX = 32


@dataclass(frozen=True, kw_only=True)
class Prices:
    """USD per million tokens; `batch_share` is the part of them that a batch pays."""

    input: float
    cached_input: float
    output: float
    batch_share: float = 0.5

    def cost(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int, *, batch: bool = False) -> float:
        """Return the USD of a call; `cached_tokens` are those of `prompt_tokens` that the server had kept."""
        fresh = prompt_tokens - cached_tokens
        listed = fresh * self.input + cached_tokens * self.cached_input + completion_tokens * self.output
        return listed * (self.batch_share if batch else 1.0) / 1_000_000


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model costs and takes; None is what is not known, a False is known.

    `reasoning_effort` must be sent for the rest to hold; `fits` names the rule to whose borders images may be scaled.
    """

    name: str
    prices: Prices | None = None
    image_tokens: Formula | None = None
    json_schema: bool | None = None
    temperature: bool = True
    seed: bool = True
    reasoning_effort: str | None = None
    max_tokens_field: MaxTokensField = "max_completion_tokens"
    shutdown: date | None = None
    successor: str | None = None
    fits: Literal["tiles"] | None = None

    def tokens_of_image(self, width: int, height: int, detail: ImageDetail) -> int | None:
        """Return at most how many tokens an image of that size in pixels costs; None where that is not known."""
        if detail == "none":
            return 0
        match self.image_tokens:
            case "tiles":
                return tiles(width, height, detail)
            case "patches":
                return patches(width, height)
            case None:
                return None


@lru_cache(maxsize=4096)
def tiles(width: int, height: int, detail: ImageDetail) -> int:
    """Return GPT-4o's tokens for an image of that size in pixels; "auto" counts as "high", the most it can be."""
    if detail == "low":
        return IMAGE_TOKENS
    scale = tile_scale(width, height)
    return IMAGE_TOKENS + TILE_TOKENS * _pieces(width * scale, TILE_PX) * _pieces(height * scale, TILE_PX)


def tile_scale(width: int, height: int) -> Fraction:
    """Return by what GPT-4o's server scales an image of that size in pixels, 1 at most."""
    sides = (width, height)
    return min(Fraction(1), Fraction(SQUARE_PX, max(sides)), Fraction(SHORT_SIDE_PX, min(sides)))


def patches(width: int, height: int) -> int:
    """Return the patches that an image of that size in pixels fills; a model's cap on them may make it fewer."""
    return _pieces(width, PATCH_PX) * _pieces(height, PATCH_PX)


def facts(model: str) -> ModelFacts:
    """Return what is known of `model` under exactly that name; of another name nothing is."""
    return MODELS.get(model) or ModelFacts(name=model)


def _pieces(side: Fraction | int, piece: int) -> int:
    return int(-(-side // piece))


def _gpt4o(name: str) -> ModelFacts:
    return ModelFacts(
        name=name,
        prices=Prices(input=2.50, cached_input=1.25, output=10.00),
        image_tokens="tiles",
        json_schema=True,
        shutdown=date(2027, 1, 14),
        successor="gpt-6-luna",
        fits="tiles",
    )


_ROWS = (
    _gpt4o("gpt-4o-2024-11-20"),
    _gpt4o("gpt-4o-2024-08-06"),
    _gpt4o("gpt-4o"),
    ModelFacts(
        name="gpt-6-luna",
        prices=Prices(input=0.10, cached_input=0.01, output=0.50),
        image_tokens="patches",
        reasoning_effort="none",  # it takes a temperature only then
    ),
)
MODELS: Mapping[str, ModelFacts] = MappingProxyType({row.name: row for row in _ROWS})
