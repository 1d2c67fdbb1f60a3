"""The tables of a card, in Markdown: what the release holds beside what the paper reports."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from mmat_dagster import paper
from mmat_dagster.ledger.outlays import Outlay
from mmat_dagster.licences import licence_of
from mmat_dagster.licensed_parts import PartKey
from mmat_dagster.release.plan import FORMS, SIDES, SourceData
from mmat_dagster.release.statistics import Statistics


def table(head: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> str:
    """Return a table whose first `left` columns are words and whose others are figures."""
    marks = ["---" if number < left else "---:" for number in range(len(head))]
    return "\n".join(_row(cells) for cells in (head, marks, *rows))


def splits(statistics: Statistics) -> str:
    """Return how many dialogues each form has on each side."""
    rows = [
        (f"`{form}`", *(f"{statistics.dialogues(form, side):,}" for side in SIDES), f"{statistics.dialogues(form):,}")
        for form in FORMS
    ]
    return table(("form", *SIDES, "together"), rows)


def composition(statistics: Statistics) -> str:
    """Return dialogues and images by source and part."""
    rows: list[Sequence[object]] = []
    for source in dict.fromkeys(part.source for part in statistics.parts):
        keys = [part for part in statistics.parts if part.source == source]
        rows.append((f"**{source}**", "", *_counts(statistics, keys), f"{paper.DIALOGUES[source]:,}"))
        rows += [("", _cell(key.part), *_counts(statistics, [key]), "") for key in keys]
    rows.append(("**all**", "", *_counts(statistics, statistics.parts), f"{sum(paper.DIALOGUES.values()):,}"))
    return table(("source", "part", "RR", "ORR", "images", "dialogues in the paper"), rows, left=2)


def licences(statistics: Statistics) -> str:
    """Return the licence of each part, what it forbids, and who says so."""
    rows = []
    for key in statistics.parts:
        evidence = licence_of(key.source, key.part).evidence
        rows.append(
            (key.source, _cell(key.part), _cell(key.licence), forbids(key.licence, key.is_commercial), evidence)
        )
    return table(("source", "part", "licence", "what it forbids or asks for", "the publisher's page"), rows, left=5)


def forbids(licence: str, is_commercial: bool) -> str:
    """Return what a licence forbids or asks for, as far as its name tells; an unclear one is told to be that."""
    told = [] if is_commercial else ["**no commercial use**" if "NC" in licence else "commercial use is not cleared"]
    told += ["derived data under the same licence"] if "SA" in licence.split() or "-SA" in licence else []
    told += ["derived work under the GPL"] if "GPL" in licence else []
    told += ["name the authors"] if "CC BY" in licence else []
    told += ["the publisher's own terms of use hold"] if "terms" in licence or "per subset" in licence else []
    return "; ".join(told or ["keep its notice"])


def rounds(statistics: Statistics) -> str:
    """Return how many questions were asked over the same pictures, up to the dialogue's own."""
    return beside("question", _grouped(statistics.rounds, "3 or more", 3), paper.ROUNDS)


def steps(statistics: Statistics) -> str:
    """Return how many turns the reasoning takes."""
    return beside("steps", _grouped(statistics.steps, "5 or more", 5), paper.STEPS)


def calls(statistics: Statistics) -> str:
    """Return how often each operator was called."""
    return beside("operator", statistics.calls, paper.CALLS)


def reflections(statistics: Statistics) -> str:
    """Return how many dialogues reflect, as a share of all."""
    ours = {kind: statistics.reflections[kind] for kind in paper.REFLECTIONS}
    rows = [
        (kind, f"{count:,}", _share(count, statistics.dialogues("rr")), f"{theirs:,}", _share(theirs, paper.QA_PAIRS))
        for (kind, count), theirs in zip(ours.items(), paper.REFLECTIONS.values(), strict=True)
    ]
    return table(("reflection", "here", "share", "paper", "share"), rows)


def beside(title: str, ours: Mapping[str, int], theirs: Mapping[str, int]) -> str:
    """Return counts with their shares beside those of the paper; what the paper does not know comes last."""
    names = [*theirs, *sorted(name for name in ours if name not in theirs)]
    here, there = sum(ours.values()), sum(theirs.values())
    rows = [
        (
            name,
            f"{ours.get(name, 0):,}",
            _share(ours.get(name, 0), here),
            f"{theirs[name]:,}" if name in theirs else "-",
            _share(theirs[name], there) if name in theirs else "-",
        )
        for name in names
    ]
    return table((title, "here", "share", "paper", "share"), rows)


def losses(data: Sequence[SourceData], statistics: Statistics) -> str:
    """Return what was lost on the way from the sources to the release, by stage and reason."""
    lost: Counter[tuple[str, str]] = Counter()
    for manifest in (manifest for each in data for manifest in each.manifests):
        for reason, count in manifest.rejected.items():
            lost[manifest.dataset, reason] += count
    for (_, form, reason), count in sorted(statistics.lost.items()):
        lost[f"this release, {form}", reason] += count
    rows = [(stage, reason, f"{count:,}") for (stage, reason), count in lost.items() if count]
    return table(("stage", "reason", "records"), rows, left=2) if rows else "Nothing was lost."


def fingerprints(data: Sequence[SourceData]) -> str:
    """Return the fingerprint of every dataset that the release was made from."""
    rows: list[tuple[str, ...]] = [
        (m.source, m.dataset, f"{m.rows:,}", f"`{m.fingerprint}`") for each in data for m in each.manifests
    ]
    rows += [(each.source, "dialogue_audit", "", f"`{each.audit.fingerprint}`") for each in data if each.audit]
    return table(("source", "dataset", "records", "fingerprint"), rows, left=2)


def outlays(paid: Sequence[Outlay]) -> str:
    """Return what was paid, for what and when."""
    rows = [
        (
            each.model,
            each.label,
            f"{each.calls:,}",
            f"{each.prompt_tokens:,}",
            f"{each.cached_tokens:,}",
            f"{each.completion_tokens:,}",
            "not known" if each.usd is None else f"{each.usd:,.4f}",
            _days(each),
        )
        for each in paid
    ]
    usd = [each.usd for each in paid]
    sums = (sum(getattr(e, name) for e in paid) for name in _SUMMED)
    told = "not known" if None in usd else f"{sum(each or 0.0 for each in usd):,.4f}"
    total = ("**in all**", "", *(f"{count:,}" for count in sums), told, "")
    head = ("model", "for", "calls", "tokens in", "of them cached", "tokens out", "USD", "days (UTC)")
    return table(head, [*rows, total], left=2)


_SUMMED = ("calls", "prompt_tokens", "cached_tokens", "completion_tokens")


def _days(each: Outlay) -> str:
    first, last = (datetime.fromtimestamp(at, UTC).date().isoformat() for at in (each.first_at, each.last_at))
    return first if first == last else f"{first} to {last}"


def _counts(statistics: Statistics, keys: Sequence[PartKey]) -> tuple[str, str, str]:
    rr, orr = (statistics.dialogues_of(form, keys) for form in FORMS)
    return f"{rr:,}", f"{orr:,}", f"{statistics.images_of(keys):,}"


def _grouped(counts: Mapping[int, int], last: str, bound: int) -> dict[str, int]:
    grouped: Counter[str] = Counter()
    for number, count in sorted(counts.items()):
        grouped[str(number) if number < bound else last] += count
    return dict(grouped)


def _share(count: int, whole: int) -> str:
    return f"{count / whole:.1%}".replace("%", " %") if whole else "-"


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
