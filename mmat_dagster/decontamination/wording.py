"""Questions as they are compared: their words without case, punctuation and image marks, and the 8-grams of these.

"In <image 1>, is AB = 7.50?"  -->  in is ab 7.50
"""

import hashlib
import re
import unicodedata

import numpy as np
from numpy.typing import NDArray

GRAM = 8

_IMAGE_MARK = re.compile(r"<\s*/?\s*(?:img|image)\s*\d*\b[^<>]{0,400}>", re.IGNORECASE)
# Sources spell a line as `A B` or as `AB`.
_SPELLED_OUT = re.compile(r"\b([A-Z]) (?=[A-Z]\b)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
# Chinese and Japanese put no space between words: each sign counts as one.
_WORD = re.compile(
    r"\d+(?:\.\d+)?|[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\d_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)


def words(question: str) -> list[str]:
    """Return the words and numbers of `question` in the form in which they are compared."""
    text = unicodedata.normalize("NFKC", _IMAGE_MARK.sub(" ", question))
    return _WORD.findall(_THOUSANDS.sub("", _SPELLED_OUT.sub(r"\1", text)).casefold())


def grams(question_words: list[str]) -> NDArray[np.uint64]:
    """Return a hash of 64 bits for each distinct run of GRAM words, in rising order; none of a shorter question."""
    runs = {" ".join(question_words[at : at + GRAM]) for at in range(len(question_words) - GRAM + 1)}
    return np.array(sorted(map(_mark, runs)), dtype=np.uint64)


def wording(question_words: list[str]) -> int:
    """Return a hash of 64 bits of the whole question."""
    return _mark(" ".join(question_words))


def _mark(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
