"""Plots over scores and over runs: how good dialogues were judged to be, and what materializations have cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmat_dagster import plotting
from mmat_dagster.census import SCORE
from mmat_dagster.parts import Manifest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_PX, HEIGHT_PX = 640, 300
TENTHS = 10
# From this score on the paper's judge calls a dialogue one of high quality.
HIGH = 0.7


def draw_audit(manifest: Manifest, high: float = HIGH) -> bytes | None:
    """Return the histogram of a dataset's scores, or None where they were not counted."""
    counts = {
        round(TENTHS * float(name.removeprefix(SCORE))): count
        for name, count in manifest.census.items()
        if name.startswith(SCORE)
    }
    return draw_scores(counts, high) if counts else None


def draw_scores(counts: Mapping[int, int], high: float = HIGH) -> bytes:
    """Return a histogram of scores as a PNG; `counts` are by tenth, and from `high` on the quality is high."""
    total = max(1, sum(counts.values()))

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        for bar in range(TENTHS):
            count = counts.get(bar, 0)
            is_high = (bar + 0.5) / TENTHS > high
            axes.bar(bar + 0.5, count, 0.9, color=plotting.BLUE if is_high else plotting.PALE_BLUE)
            if count:
                plotting.write(axes, bar + 0.5, count, f"{count:,}", ha="center", va="bottom", color=plotting.GREY)
        axes.axvline(high * TENTHS, color=plotting.ORANGE, linewidth=1.5)
        share = sum(count for bar, count in counts.items() if (bar + 0.5) / TENTHS > high) / total
        plotting.tidy(axes, f"Scores: {share:.1%} high quality ({high:g} or more); the paper: over 89 %")
        axes.set_xticks(range(TENTHS + 1), [f"{mark / TENTHS:.1f}" for mark in range(TENTHS + 1)])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.margins(y=0.12)

    return plotting.draw(WIDTH_PX, HEIGHT_PX, paint)


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What one materialization has cost; `label` says when it was."""

    label: str
    models_usd: float = 0.0
    search_usd: float = 0.0

    @property
    def usd(self) -> float:
        """Both together."""
        return self.models_usd + self.search_usd


def draw_spending(materializations: Sequence[Spent]) -> bytes:
    """Return as a PNG what materializations have cost, the oldest first: models (teacher, judge) below search."""

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        places = range(len(materializations))
        models = [each.models_usd for each in materializations]
        axes.bar(places, models, 0.66, color=plotting.BLUE, label="models")
        if any(each.search_usd for each in materializations):
            search = [each.search_usd for each in materializations]
            axes.bar(places, search, 0.66, bottom=models, color=plotting.ORANGE, label="search")
            axes.legend(fontsize=plotting.TEXT_PT, frameon=False)
        for place, each in enumerate(materializations):
            plotting.write(axes, place, each.usd, _usd(each.usd), ha="center", va="bottom", color=plotting.GREY)
        plotting.tidy(axes, f"Dollars by materialization, {_usd(sum(each.usd for each in materializations))} in all")
        axes.set_xticks(places, [each.label for each in materializations], fontsize=7)
        axes.set_xlim(-0.6, max(2.6, len(materializations) - 0.4))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.margins(y=0.15)

    return plotting.draw(WIDTH_PX, HEIGHT_PX, paint)


def _usd(dollars: float) -> str:
    return f"${dollars:,.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.4f}"
