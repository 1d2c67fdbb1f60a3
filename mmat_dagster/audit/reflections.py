"""Does a reflection change the reasoning: is what is thought after it more than what was thought before?"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from mmat_dagster.audit.check import shown
from mmat_dagster.schema import Dialogue, Turn

# Words, numbers and the signs of a calculation; case, spaces and punctuation do not count.
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[+*/=<>%^×÷√]|[-\u2212](?=\s*[\d(])")
# Words that may be put before the same thought.
_FILLERS = frozenset(
    "actually again and clearly hence here i indeed just now ok okay really so still then therefore thus well".split()
)


def find_idle_reflections(dialogue: Dialogue) -> Iterator[str]:
    """Yield each reflection turn that has nothing to look back on, or after which the reasoning is the same."""
    turns = dialogue.transcript.turns
    at = [index for index, turn in enumerate(turns) if turn.step.signal == "reflection"]
    if bool(at) != (dialogue.reflection != "none"):
        yield f"the dialogue is marked {dialogue.reflection!r}, and has {len(at)} reflection turns"
    for index in at:
        fault = _fault(turns, index)
        if fault is not None:
            yield f"step {index + 1}: {fault}"


def _fault(turns: Sequence[Turn], index: int) -> str | None:
    if index == 0:
        return "nothing stands before the reflection"
    if index + 1 >= len(turns):
        return "nothing follows the reflection"
    after = turns[index + 1].step.thought
    repeated = next((turn for turn in turns[:index] if not _adds(after, turn.step.thought)), None)
    return None if repeated is None else f"the thought after the reflection was there before: {shown(after)}"


def _adds(after: str, before: str) -> bool:
    """Say whether `after` holds a word, number or sign more often than `before` does."""
    new = Counter(_tokens(after)) - Counter(_tokens(before))
    return any(token not in _FILLERS for token in new)


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())
