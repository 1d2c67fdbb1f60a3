"""What a question is about: the short noun phrase that names the region where its answer stands."""

import re
from functools import lru_cache

UNNAMED = "answer region"

_PHRASE_WORDS = 4
# Questions are asked again and again of other images; those that are longer are hardly.
_REMEMBERED, _REMEMBERED_LENGTH = 4096, 200

_PICTURE = frozenset("picture image photo photograph side".split())
_ARTICLES = frozenset("the a an this that these those his her its their".split())
_OPENINGS = frozenset("what which whose many much".split())
_STOP = frozenset(
    (
        "is are was were be been being am do does did has have had can could will would should may might must"
        " in on at of to from for by with without near under over above below behind beside between among inside"
        " outside into onto through during about against along around across after before within and or but not than"
        " as if that which who whom whose what where when why how there here say says said look looks mean means show"
        " shown shows seem seems wear wears hold holds go goes come comes read reads made make makes called appear"
        " appears belong belongs sit sits stand stands taken used found worn held seen located depicted displayed"
        " mentioned written given printed"
    ).split()
)
_WORD = re.compile(r"[^\W_][\w'’&/-]*|[^\w\s]")


def phrase_of(question: str) -> str:
    """Return the short noun phrase that `question` is about: `company` in "What is the company in the invoice?"."""
    return _remembered(question) if len(question) <= _REMEMBERED_LENGTH else _phrase_of(question)


def _phrase_of(question: str) -> str:
    words, lowered = _words(question)
    return _first_phrase(words, lowered, _ARTICLES) or _first_phrase(words, lowered, _OPENINGS) or UNNAMED


def _words(question: str) -> tuple[list[str], list[str]]:
    """Return the words and signs of a question, as they stand and in small letters."""
    plain = question.rstrip("?.")
    # Most questions are words between blanks, which need no search: a sign at the end names nothing.
    if plain.replace(" ", "").isalnum():
        return plain.split(), plain.lower().split()
    words = _WORD.findall(question)
    return words, list(map(str.lower, words))


_remembered = lru_cache(maxsize=_REMEMBERED)(_phrase_of)


def _first_phrase(words: list[str], lowered: list[str], starts: frozenset[str]) -> str:
    if starts.isdisjoint(lowered):
        return ""
    for at, word in enumerate(lowered, start=1):
        if word in starts:
            phrase = _noun_phrase(words, lowered, at)
            if phrase:
                return phrase
    return ""


def _noun_phrase(words: list[str], lowered: list[str], start: int) -> str:
    """Return the words from `start` to the first that cannot belong to a noun; none where that is no useful name."""
    end = start
    for word in lowered[start : start + _PHRASE_WORDS + 1]:
        if word in _STOP or not word[0].isalnum() or (end > start and len(word) > 4 and word.endswith("ing")):
            break
        end += 1
    named = 0 < end - start <= _PHRASE_WORDS and lowered[end - 1] not in _PICTURE
    return " ".join(words[start:end]) if named else ""
