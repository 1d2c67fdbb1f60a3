"""An observation is one line of text of limited length."""

import re
from collections.abc import Sequence

MAX_CHARS = 4000
CUT = " [cut]"

# White space, control characters, and halves of surrogate pairs, which no UTF-8 file can hold; what turns the direction
# of writing; and tag characters, in which a page can hold a text for models that nobody sees.
_BREAK = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]+")


def one_line(text: str, max_chars: int = MAX_CHARS) -> str:
    """Fold white space and control characters to single spaces, and mark a cut behind `max_chars` characters."""
    folded = _BREAK.sub(" ", text).strip()
    return folded if len(folded) <= max_chars else folded[: max_chars - len(CUT)].rstrip() + CUT


def by_image(texts: Sequence[str], max_chars: int = MAX_CHARS) -> str:
    """Join the observations of a sample's images in one line; several are numbered, and a cut leaves each its share.

    What is the same for all images is told once.
    """
    lines = [one_line(text, max_chars) for text in texts]
    if len(lines) == 1:
        return lines[0]
    if len(set(lines)) == 1:
        return one_line(f"every image: {lines[0]}", max_chars)
    numbered = [f"image {number}: {line}" for number, line in enumerate(lines, 1)]
    whole = "; ".join(numbered)
    if len(whole) <= max_chars:
        return whole
    share = max(max_chars // len(numbered) - len("; "), 2 * len(CUT))
    return one_line("; ".join(one_line(line, share) for line in numbered), max_chars)
