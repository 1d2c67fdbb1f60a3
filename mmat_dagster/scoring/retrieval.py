"""Measures of retrieval, by the conventions and under the names of NIST's trec_eval.

Documents rank by score alone, a run's ranks are not looked at; equal scores rank by document id, the greater first. A
query counts if it stands in the run and in the qrels, even where nothing is relevant: its measures are then 0. Relevant
is what was judged `relevant_from` or more; what nobody judged, and what was judged below zero, is not. For ndcg the
gain of a document is its judgement, whatever `relevant_from`, and rank r discounts it by log2(r + 1).

    map            mean over all relevant documents of the precision at their ranks; 0 for one that was not found
    recip_rank     1 / rank of the first relevant document
    ndcg           gain against that of the best possible order of all judged documents
    P_k recall_k   relevant among the first k, divided by k, or by all that are relevant
    ndcg_cut_k     ndcg of the first k, against the best k
    mrr_cut_k      recip_rank, 0 behind rank k (trec_eval has no such measure)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log2

from mmat_dagster.scoring.trec import Qrels, Run

# trec_eval's own.
CUTOFFS = (5, 10, 15, 20, 30, 100, 200, 500, 1000)


def rank(found: Mapping[str, float]) -> list[str]:
    """Return documents by falling score, equal ones by falling id."""
    return sorted(found, key=lambda document: (found[document], document), reverse=True)


def score_run(
    run: Run, qrels: Qrels, cutoffs: Sequence[int] = CUTOFFS, relevant_from: int = 1
) -> dict[str, dict[str, float]]:
    """Return the measures of each query that stands in both."""
    return {
        query: score_query(rank(found), qrels[query], cutoffs, relevant_from)
        for query, found in run.items()
        if query in qrels
    }


def score_query(
    ranked: Sequence[str], judged: Mapping[str, int], cutoffs: Sequence[int] = CUTOFFS, relevant_from: int = 1
) -> dict[str, float]:
    """Return the measures of one query for documents in ranked order."""
    hits = [judged.get(document, -1) >= relevant_from for document in ranked]
    relevant = sum(judgement >= relevant_from for judgement in judged.values())
    gains = [max(judged.get(document, 0), 0) for document in ranked]
    ideal = sorted((max(judgement, 0) for judgement in judged.values()), reverse=True)
    first = next((place for place, hit in enumerate(hits, 1) if hit), 0)
    scores = {
        "map": _ratio(_precisions(hits), relevant),
        "ndcg": _ratio(_discounted(gains), _discounted(ideal)),
        "recip_rank": _ratio(1, first),
    }
    for k in cutoffs:
        found = sum(hits[:k])
        scores[f"P_{k}"] = found / k
        scores[f"recall_{k}"] = _ratio(found, relevant)
        scores[f"ndcg_cut_{k}"] = _ratio(_discounted(gains[:k]), _discounted(ideal[:k]))
        scores[f"mrr_cut_{k}"] = _ratio(1, first if first <= k else 0)
    return scores


@dataclass(kw_only=True)
class Means:
    """The mean of each measure over queries that come one after the other."""

    queries: int = 0
    totals: dict[str, float] = field(default_factory=dict)

    def add(self, scores: Mapping[str, float]) -> None:
        """Count one more query."""
        self.queries += 1
        for name, value in scores.items():
            self.totals[name] = self.totals.get(name, 0.0) + value

    @property
    def values(self) -> dict[str, float]:
        """The means; nothing where there is no query."""
        return {name: total / self.queries for name, total in self.totals.items()}


def mean(scores: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each measure over queries; nothing where there is no query."""
    means = Means()
    for each in scores:
        means.add(each)
    return means.values


def _precisions(hits: Sequence[bool]) -> float:
    ranks = (place for place, hit in enumerate(hits, 1) if hit)
    return sum(found / place for found, place in enumerate(ranks, 1))


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / log2(place + 1) for place, gain in enumerate(gains, 1))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
