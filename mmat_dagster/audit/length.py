"""Does a dialogue fit into the student's context? An estimate that is rather too high, without any tokenizer.

text     a token for every four letters of a word, begun ones included; one for each digit, mark and line break; two for
         every three bytes of other scripts
images   the larger one of what InternVL (256 a tile of 448 pixels, up to 12 of them and the whole) and Qwen2.5-VL (one
         for every 28 x 28 pixels) make of them
message  8, for its role and its limits

How many it really are is measured with the student's own processor before a training, which leaves out what does not
fit; this says so while the data is made.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from mmat_dagster.audit.integrated import Integrated
from mmat_dagster.schema import Dialogue, ImageRef, Message
from mmat_dagster.wire import IMAGE

# The paper's, and what a training takes where nobody says otherwise.
MAX_LENGTH = 16384

_MESSAGE_TOKENS = 8
_WORD = re.compile(r"[A-Za-z]+")
_SINGLE = re.compile(r"[0-9]|[!-/:-@\[-`{-~]|\n")
_LETTERS_A_TOKEN = 4
_INTERNVL_TILE_PX, _INTERNVL_TILES, _INTERNVL_TILE_TOKENS = 448, 12, 256
_QWEN_PATCH_PX, _QWEN_MOST = 28, 16384


def find_too_long(dialogue: Dialogue) -> Iterator[str]:
    """Yield how long an RR dialogue is where it is too long."""
    return _find_too_long(dialogue.messages, dialogue.images)


def find_too_long_integrated(integrated: Integrated) -> Iterator[str]:
    """Yield how long an ORR dialogue is where it is too long."""
    return _find_too_long(integrated.record.messages, integrated.record.images)


def text_tokens(text: str) -> int:
    """Return about how many tokens `text` has, rather too many."""
    words = sum(-(-len(word) // _LETTERS_A_TOKEN) for word in _WORD.findall(text))
    others = len(text.encode("utf-8", "surrogatepass")) - len(text)
    characters = sum(not character.isascii() for character in text) if others else 0
    return words + len(_SINGLE.findall(text)) + -(-2 * (others + characters) // 3)


@lru_cache(maxsize=4096)
def image_tokens(width: int, height: int) -> int:
    """Return about how many tokens an image of this size has, for the student that makes most of it."""
    tiles = _internvl_tiles(width, height)
    internvl = _INTERNVL_TILE_TOKENS * (tiles + (tiles > 1))
    qwen = -(-width // _QWEN_PATCH_PX) * -(-height // _QWEN_PATCH_PX)
    return max(internvl, min(qwen, _QWEN_MOST))


def dialogue_tokens(messages: Sequence[Message], images: Sequence[ImageRef]) -> int:
    """Return about how many tokens a dialogue has, rather too many."""
    texts = sum(text_tokens(message.content.replace(IMAGE, "")) + _MESSAGE_TOKENS for message in messages)
    return texts + sum(image_tokens(image.width, image.height) for image in images)


def _find_too_long(messages: Sequence[Message], images: Sequence[ImageRef]) -> Iterator[str]:
    of_images = sum(image_tokens(image.width, image.height) for image in images)
    # No estimate is above the bytes: most dialogues are short enough to be sure.
    if sum(len(message.content.encode("utf-8", "surrogatepass")) + _MESSAGE_TOKENS for message in messages) <= (
        MAX_LENGTH - of_images
    ):
        return
    tokens = dialogue_tokens(messages, images)
    if tokens > MAX_LENGTH:
        yield f"about {tokens:,} tokens, {of_images:,} of them for images; {MAX_LENGTH:,} are trained on"


def _internvl_tiles(width: int, height: int) -> int:
    """Return into how many tiles InternVL cuts an image: the grid nearest to its shape, a larger one if it fills it."""
    shape, chosen, nearest = width / max(1, height), (1, 1), float("inf")
    for columns, rows in _grids():
        distance = abs(shape - columns / rows)
        fills = width * height > _INTERNVL_TILE_PX**2 * columns * rows / 2
        if distance < nearest or (distance == nearest and fills):
            chosen, nearest = (columns, rows), distance
    return chosen[0] * chosen[1]


@lru_cache(maxsize=1)
def _grids() -> tuple[tuple[int, int], ...]:
    sides = range(1, _INTERNVL_TILES + 1)
    grids = [(columns, rows) for columns in sides for rows in sides if columns * rows <= _INTERNVL_TILES]
    return tuple(sorted(grids, key=lambda grid: grid[0] * grid[1]))
