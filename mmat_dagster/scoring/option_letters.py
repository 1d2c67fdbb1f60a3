"""Which option of a multiple-choice question a response means, as VLMEvalKit infers it without asking a model.

    "The answer is (B)."   B: the only letter of an option that stands alone
    "a cute teddy bear"    A: the only option whose text stands in the response
    "A or B"               none

Its rule has changed: `vlmevalkit` is the one that stood until 2025, `vlmevalkit-2025` wants the letter among the last
words and the text in a response that is not much longer than the options, `vlmevalkit-2026` takes `answer is B` too.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

from mmat_dagster.scoring.benchmark import Output, Verdict

RULES = ("vlmevalkit", "vlmevalkit-2025", "vlmevalkit-2026")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# What stands for a response that refuses to choose.
REFUSED = "Z"

_API_FAILED = "Failed to obtain answer via API"
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_APART = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_ANSWER_IS = re.compile(r"(?:correct\s+)?answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)
# The letter must stand among so many last words.
_LAST_WORDS = 5
# pandas, which reads VLMEvalKit's tables, takes these for no value at all.
_NO_VALUE = frozenset(
    "#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null|".split("|")
)


def infer_letter(response: str, choices: Sequence[str], rule: str = RULES[0]) -> str | None:
    """Return the letter of the option that `response` means, Z where it refuses, None where it shows none."""
    letters = LETTERS[: len(choices)]
    return (
        _infer_from_letters(response, letters, rule)
        or (_infer_from_answer_is(response, letters) if rule == "vlmevalkit-2026" else None)
        or _infer_from_text(response, choices, rule)
    )


def judge_letter(gold: Sequence[str], response: str, choices: Sequence[str], rule: str = RULES[0]) -> Verdict:
    """Judge a response whose right answer is the letter in `gold`; none is where that is hidden."""
    letter = infer_letter(response, choices, rule)
    return Verdict(parsed=None if letter == REFUSED else letter, score=float(letter in gold))


def best_rule(rules: Sequence[str], outputs: Sequence[Output], judge: Callable[[Output, str], Verdict]) -> str:
    """Return the rule that agrees with most of the verdicts which a file tells; the first of those that tie."""
    known = [output for output in outputs if output.verdict is not None]
    agreed = Counter[str]()
    for rule in rules:
        agreed[rule] = sum(output.verdict == (judge(output, rule).score == 1.0) for output in known)
    return max(rules, key=lambda rule: agreed[rule])


def _infer_from_letters(response: str, letters: str, rule: str) -> str | None:
    if _API_FAILED in response:
        return None
    if any(refusal in response for refusal in _REFUSALS):
        return REFUSED
    words = response.translate(_APART).split()
    found = [letter for letter in letters if letter in words]
    if not found:
        return REFUSED if REFUSED in words else None
    if len(found) > 1 or (rule != RULES[0] and words.index(found[0]) <= len(words) - _LAST_WORDS):
        return None
    return found[0]


def _infer_from_answer_is(response: str, letters: str) -> str | None:
    match = _ANSWER_IS.search(response)
    return match[1].upper() if match and match[1].upper() in letters else None


def _infer_from_text(response: str, choices: Sequence[str], rule: str) -> str | None:
    texts = {letter: text.lower() for letter, text in zip(LETTERS, choices, strict=False) if text not in _NO_VALUE}
    lowered = response.lower()
    if rule != RULES[0] and len(lowered) > 2 * sum(map(len, texts.values())):
        return None
    found = [letter for letter, text in texts.items() if text in lowered]
    return found[0] if len(found) == 1 else None
