"""Cuts English text into words as the Penn Treebank does, and NLTK's `word_tokenize` after it (3.9).

    "Liz Truss didn't resign (yet)."   Liz Truss did n't resign ( yet ) .

Sentences end where a full stop stands between a word and a space; NLTK has learnt which abbreviations do not end one,
here stand the common ones.
"""

import re

_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st jr sr vs inc corp co ltd no gen sen rep gov rev capt col lt maj sgt etc al fig dept est "
    "e.g i.e u.s u.k u.n d.c a.m p.m ph.d jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
_STOP = re.compile(r"""(?<=[^\s.])(\.)(?=["'”’)\]]*\s)""")
_LAST_STOP = re.compile(r"""(?<![.\s])\.(?=[\])}>"'»”’ ]*$)""")
# What stands alone wherever it is; a comma and a colon do not in numbers.
_ALONE = re.compile(r"--|\.{2,}|`+|[«“‘„»”’;@#$%&?!*\[\](){}<>]|[:,](?!\d)")
_OPENING = re.compile(r"""^"|([ (\[{<])(?:"|'')""")
_CLOSING = re.compile(r"""\"|''""")
# An apostrophe before a word of one letter that is no ending.
_QUOTED = re.compile(r"(')(?!re|ve|ll|[mtsdn])(\w)\b", re.IGNORECASE)
_ENDING = re.compile(r"(?<=[^' ])('(?:[smd]|ll|re|ve)?|n't)(?= )", re.IGNORECASE)
_JOINED = re.compile(
    r"\b(can)(not)\b|\b(d)('ye)\b|\b(gim|lem)(me)\b|\b(gon)(na)\b|\b(got)(ta)\b|\b(more)('n)\b|\b(wan)(na)(?=\s)"
    r"|(?<= )('t)(is|was)\b",
    re.IGNORECASE,
)


def cut_words(text: str) -> list[str]:
    """Return the words and marks of an English text, in order."""
    return [word for sentence in _sentences(text) for word in _cut(sentence)]


def _sentences(text: str) -> list[str]:
    starts = [0]
    for stop in _STOP.finditer(text):
        before = text[max(0, stop.start() - 12) : stop.start()].split()[-1:]
        word = before[0].lower().lstrip("(\"'“‘[") if before else ""
        if word not in _ABBREVIATIONS and not (len(word) == 1 and word.isalpha()):
            starts.append(stop.end())
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def _cut(sentence: str) -> list[str]:
    opened = _QUOTED.sub(r"\1 \2", _OPENING.sub(r"\1 `` ", sentence.strip()))
    apart = _ALONE.sub(r" \g<0> ", _LAST_STOP.sub(" . ", opened))
    closed = _CLOSING.sub(" '' ", apart)
    ended = _ENDING.sub(r" \1", f" {' '.join(closed.split())} ")
    return _JOINED.sub(lambda found: " ".join(part for part in found.groups() if part), ended).split()
