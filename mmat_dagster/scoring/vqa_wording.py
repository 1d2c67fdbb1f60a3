"""How the VQA evaluation writes answers before it compares them, as others took it over.

Marks go, number words become digits, articles go, contractions get their apostrophes:

    "Two, I think."        2 i think
    "the 1,000 dogs"       1000 dogs
    "He dont (know)"       he don't know
"""

import re

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
# The original hands re.UNICODE over where the count stands: so many full stops go, no more.
_FULL_STOPS = int(re.UNICODE)
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = {
    "none": "0",
    **{name: str(value) for value, name in enumerate("zero one two three four five six seven eight nine ten".split())},
}
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
o'clock oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
y'all y'all'll y'all'd've you'd you'd've you'll you're you've 'ow's'at
""".split()
# The original's table has this one the wrong way round.
_REVERSED = {"somebody'd": "somebodyd"}


def normalise_answer(answer: str) -> str:
    """Return an answer in the form in which it is compared."""
    return _normalise_words(strip_punctuation(answer.replace("\n", " ").replace("\t", " ").strip()))


def strip_punctuation(text: str) -> str:
    """Return `text` without marks: those that stand beside a space are taken out, others become one.

    Where a comma parts the digits of a number, all are taken out; full stops are, except before a digit.
    """
    has_number = _COMMA_IN_NUMBER.search(text) is not None
    written = text
    for mark in _MARKS:
        stands_apart = has_number or f"{mark} " in text or f" {mark}" in text
        written = written.replace(mark, "" if stands_apart else " ")
    return _FULL_STOP.sub("", written, count=_FULL_STOPS)


def _normalise_words(text: str) -> str:
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTED.get(word, word) for word in words if word not in _ARTICLES)


def _bared(contraction: str) -> list[str]:
    """Return a contraction without one of its apostrophes, each in turn."""
    return [contraction[:at] + contraction[at + 1 :] for at, sign in enumerate(contraction) if sign == "'"]


_CONTRACTED = {bare: contraction for contraction in _CONTRACTIONS for bare in _bared(contraction)} | _REVERSED
