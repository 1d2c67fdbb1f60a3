"""Plots of what a dataset is made of, from the counts in its manifest, beside the paper's where it gives them.

A panel whose counts do not cover the dataset is left out: parts of an earlier version may not have counted it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from mmat_dagster import paper, plotting
from mmat_dagster.census import ANSWER_TYPE, CALLED, NOTHING_CALLED, SOURCE_PART
from mmat_dagster.parts import Manifest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The dialog in which Dagster's UI shows a picture is about as wide.
PANEL_PX, MOST_PX, BAR_PX, FRAME_PX = 320, 960, 26, 84
MOST_BARS = 12
LABEL_CHARS = 18
TURNS, REFLECTION = " turns", " reflection"
STEPS = ("2", "3", "4", "5 or more")
# Drawing takes longer than all else about a small dataset, and what is built again mostly counts the same.
KEPT_PLOTS = 64

# The paper tells of those that reflect; the rest of its question-answer pairs does not.
THE_PAPERS_REFLECTIONS = {**paper.REFLECTIONS, "none": paper.QA_PAIRS - sum(paper.REFLECTIONS.values())}


Bars = tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Bars of counts, the first one on top; `paper` holds the paper's own counts of the same things."""

    title: str
    counts: Bars
    paper: Bars = ()


def draw_counts(manifest: Manifest) -> bytes | None:
    """Return the plot of a dataset as a PNG, or None where nothing that is plotted was counted."""
    shown = [panel for make in PANELS.get(manifest.dataset, ()) if (panel := make(manifest)) is not None]
    return draw_panels(tuple(shown)) if shown else None


@lru_cache(KEPT_PLOTS)
def draw_panels(panels: tuple[Panel, ...]) -> bytes:
    """Return panels side by side as a PNG: a bar for each count, a mark for the paper's share."""
    bars = max(len(panel.counts) for panel in panels)
    width = min(MOST_PX, PANEL_PX * len(panels) + 160)

    def paint(figure: "Figure") -> None:
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _paint(axes, panel, bars)
        if any(panel.paper for panel in panels):
            _explain(figure)

    return plotting.draw(width, FRAME_PX + BAR_PX * bars, paint)


def _paint(axes: "Axes", panel: Panel, bars: int) -> None:
    total, in_paper = (sum(count for _, count in bars_of) for bars_of in (panel.counts, panel.paper))
    shares = [count / max(1, total) for _, count in panel.counts]
    papers = {name: count / in_paper for name, count in panel.paper}
    reach = max([0.01, *shares, *papers.values()])
    places = range(len(shares))
    axes.barh(places, shares, 0.66, color=plotting.BLUE)
    for place, (name, count) in enumerate(panel.counts):
        theirs = papers.get(name, 0.0)
        if panel.paper:
            axes.plot([theirs, theirs], [place - 0.42, place + 0.42], color=plotting.ORANGE, linewidth=2.5)
        told = f"{count:,} · {_percent(shares[place])}" if count else "0"
        plotting.write(axes, max(shares[place], theirs) + 0.03 * reach, place, told, color=plotting.GREY)
    plotting.tidy(axes, panel.title)
    axes.set_yticks(places, [_label(name) for name, _ in panel.counts], fontsize=plotting.TEXT_PT, parse_math=False)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(0, 1.6 * reach)
    axes.set_ylim(bars - 0.4, -0.6)


def _explain(figure: "Figure") -> None:
    figure.supxlabel(
        "orange: the share in the paper's MMAT-1M", fontsize=plotting.TEXT_PT, color=plotting.ORANGE, x=0.01, ha="left"
    )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def _label(name: str) -> str:
    """Return `name` in characters that matplotlib's own font has."""
    text = "".join(letter if letter.isprintable() and letter < "\u0250" else "?" for letter in name)
    return text if len(text) <= LABEL_CHARS else f"{text[: LABEL_CHARS - 1]}…"


def _answer_types(manifest: Manifest) -> Panel | None:
    return _largest("Answer types", manifest, _below(manifest.census, ANSWER_TYPE))


def _source_parts(manifest: Manifest) -> Panel | None:
    return _largest("Parts of the source", manifest, _below(manifest.census, SOURCE_PART))


def _turns(manifest: Manifest) -> Panel | None:
    counts = Counter(dict.fromkeys(STEPS, 0))
    for name, count in manifest.census.items():
        turns = name.removesuffix(TURNS)
        if turns != name:
            counts[turns if turns in STEPS or int(turns) < 5 else "5 or more"] += count
    ordered = {name: counts[name] for name in sorted(counts)}
    return _panel("Turns", ordered, paper.STEPS) if _covers(manifest, counts) else None


def _calls(manifest: Manifest) -> Panel | None:
    filled = [part for part in manifest.parts if part.rows]
    if not filled or not all(any(name.endswith(CALLED) for name in part.census) for part in filled):
        return None
    calls = {name.removesuffix(CALLED): count for name, count in manifest.census.items() if name.endswith(CALLED)}
    calls.pop(NOTHING_CALLED.removesuffix(CALLED), None)
    names = [*paper.CALLS, *sorted(calls.keys() - paper.CALLS.keys())]
    return _panel("Calls", {name: calls.get(name, 0) for name in names}, paper.CALLS)


def _reflections(manifest: Manifest) -> Panel | None:
    counts = {kind: manifest.census[f"{kind}{REFLECTION}"] for kind in ("general", "math")}
    counts["none"] = manifest.census[f"no{REFLECTION}"]
    if not _covers(manifest, counts):
        return None
    return _panel("Reflections", counts, THE_PAPERS_REFLECTIONS)


def _largest(title: str, manifest: Manifest, counts: Counter[str]) -> Panel | None:
    if not _covers(manifest, counts):
        return None
    shown = dict(counts.most_common(MOST_BARS))
    others = counts.total() - sum(shown.values())
    return _panel(title, shown | ({"others": others} if others else {}))


def _panel(title: str, counts: Mapping[str, int], theirs: Mapping[str, int] | None = None) -> Panel:
    return Panel(title=title, counts=tuple(counts.items()), paper=tuple((theirs or {}).items()))


def _below(census: Counter[str], prefix: str) -> Counter[str]:
    return Counter({name.removeprefix(prefix): count for name, count in census.items() if name.startswith(prefix)})


def _covers(manifest: Manifest, counts: Mapping[str, int]) -> bool:
    return 0 < manifest.rows == sum(counts.values())


PANELS: Mapping[str, Sequence[Callable[[Manifest], Panel | None]]] = {
    "source_qa": (_answer_types, _source_parts),
    "rationales": (_turns, _calls),
    "rr_dialogues": (_turns, _calls, _reflections),
}
