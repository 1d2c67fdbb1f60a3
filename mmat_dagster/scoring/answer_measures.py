"""How near an answer comes to the gold ones, by the measures of sources whose parts are checked by themselves.

exact match        TabMWP-like parts: the same but for case and outer spaces
ANLS               DocVQA, InfographicVQA: 1 less the edits that are needed, per letter; 0 where half is wrong
relaxed accuracy   ChartQA: numbers within 5 %, `5%` being 0.05; other answers but for case
VQA accuracy       TextVQA, VQAv2: of ten people's answers, three that agree are enough
"""

from collections.abc import Sequence

from mmat_dagster.scoring.edit_distance import edit_distance
from mmat_dagster.scoring.vqa_wording import normalise_answer

# An answer of which less than this is right is wrong.
ANLS_THRESHOLD = 0.5
RELATIVE_CHANGE = 0.05
# So many of the people asked must agree.
AGREEING = 3
# Of longer answers the beginnings are compared: the time grows with the square.
LONGEST = 5_000


def score_exact_match(answer: str, golds: Sequence[str]) -> float:
    """Return 1 where `answer` is one of `golds`, but for case and outer spaces."""
    return float(answer.strip().lower() in {gold.strip().lower() for gold in golds})


def score_anls(answer: str, golds: Sequence[str], threshold: float = ANLS_THRESHOLD) -> float:
    """Return the average normalised Levenshtein similarity to the nearest gold answer (Biten et al., ICCV 2019)."""
    said = _squeezed(answer)
    best = max((_similarity(said, _squeezed(gold), threshold) for gold in golds), default=0.0)
    return best if best >= threshold else 0.0


def score_relaxed(answer: str, golds: Sequence[str], relative_change: float = RELATIVE_CHANGE) -> float:
    """Return 1 where `answer` is near enough to one of `golds` (Masry et al., ACL Findings 2022, section 5.1)."""
    return float(any(_is_near(answer.strip(), gold, relative_change) for gold in golds))


def score_vqa(answer: str, golds: Sequence[str]) -> float:
    """Return the mean over all but one of the people's answers, each in turn, of a third for each that agrees."""
    said, told = normalise_answer(answer), [normalise_answer(gold) for gold in golds]
    agreeing = told.count(said)
    shares = [min(1.0, (agreeing - (gold == said)) / AGREEING) for gold in told]
    return sum(shares) / len(shares) if shares else 0.0


def _squeezed(answer: str) -> str:
    return " ".join(answer.lower().split())[:LONGEST]


def _similarity(one: str, other: str, threshold: float) -> float:
    longest, shortest = sorted((one, other), key=len, reverse=True)
    # Letters that are missing need an edit each; no need to look at the others where these are too many.
    if len(shortest) < threshold * len(longest):
        return 0.0
    return 1.0 - edit_distance(longest, shortest) / len(longest) if longest else 1.0


def _is_near(answer: str, gold: str, relative_change: float) -> bool:
    said, right = _number(answer), _number(gold)
    # The original compares a gold 0 as text.
    if said is not None and right:
        return abs(said - right) / abs(right) <= relative_change
    return answer.lower() == gold.lower()


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None
