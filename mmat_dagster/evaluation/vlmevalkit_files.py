"""What VLMEvalKit leaves behind, and what it calls the benchmarks.

    runs/<label>/T20260101-120000/          T20260101_G1a2b3c4d until 2025
        <label>_MMStar.tsv                           index  question  A  B  ..  answer  prediction
        <label>_MMStar_exact_matching_result.tsv     the same and hit; of yes and no: _auxmatch.tsv with score
        <label>_MMStar_acc.csv                       split  Overall  <category> ..      of 1
        <label>_HallusionBench_score.csv             split  aAcc  fAcc  qAcc            of 100
        <label>_MathVista_MINI_<judge>_score.csv     Task&Skill  tot  hit  acc          of 100
        <label>_OCRBench_score.json                  {"Final Score": 520, ..}           how many are right

What the math benchmarks' answers are taken for is up to a model that it asks; which one, `judge` may tell.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from mmat_dagster.decontamination.rows import Row
from mmat_dagster.evaluation.cross_check import Findings, ToolScores
from mmat_dagster.scoring.benchmark import Unreadable
from mmat_dagster.scoring.record_fields import as_text, field
from mmat_dagster.scoring.shipped import rows_of

EXACT = "exact_matching"
FAILED = "Failed to obtain answer"

_VERDICTS = ("hit", "score", "hit_score", "correct")
_RIGHT, _WRONG = frozenset({"1", "1.0", "true"}), frozenset({"0", "0.0", "false"})
_JUDGED = {True: "judged_right.jsonl", False: "judged_wrong.jsonl"}
_TABLES = (".tsv", ".xlsx", ".csv", ".json")
# Of a table with several splits, the one that is published.
_SPLITS = ("validation", "val", "test", "none")


class ToolFailed(Exception):
    """The tool has left nothing to compare; the text says what is missing, with its last lines."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What VLMEvalKit calls a benchmark, and how it tells its scores.

    `judge` is who takes answers out of responses, None for the model that VLMEvalKit asks by itself.
    """

    name: str
    kind: str
    read_scores: Callable[[Sequence[Row]], ToolScores]
    judge: str | None = EXACT


def find_table(runs: Path, label: str, asked: str) -> Path:
    """Return the table of predictions of a run; raise ToolFailed where there is none."""
    tables = sorted(path for path in (runs / label).glob(f"*/{label}_{asked}.*") if path.suffix in _TABLES)
    if not tables:
        raise ToolFailed(f"VLMEvalKit has left no table of predictions for {asked}")
    return tables[-1]


def read_findings(table: Path, dataset: Dataset, folder: Path, gold: Path | None) -> Findings:
    """Return what a table of predictions and the files beside it tell; write its rows to `folder` as outputs.

    Raises ToolFailed where one of them cannot be read, or the server has answered nothing.
    """
    rows, verdicts = _rows(table), _read_verdicts(table)
    failed = sum(FAILED in field(row, "prediction") for row in rows)
    if failed == len(rows):
        raise ToolFailed(f"None of {failed:,} questions got an answer from the server")
    said = {is_right: [row for row in rows if verdicts.get(_index(row)) is is_right] for is_right in (True, False)}
    return Findings(
        answers=_write(folder / "answers.jsonl", rows),
        gold=gold,
        judged={is_right: _write(folder / _JUDGED[is_right], judged) for is_right, judged in said.items() if judged},
        scores=_read_scores(table, dataset),
        failed=failed,
    )


def _write(path: Path, rows: Sequence[Row]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(_answer(row)) + "\n" for row in rows)
    return path


def _rows(path: Path) -> list[Row]:
    """Return all rows of a table; raise ToolFailed where one cannot be read."""
    rows: list[Row] = []
    for row in rows_of(path):
        if isinstance(row, Unreadable):
            raise ToolFailed(f"VLMEvalKit's {path.name} cannot be read: {row.where}: {row.problem}")
        rows.append(row)
    if not rows:
        raise ToolFailed(f"VLMEvalKit's {path.name} has no rows")
    return rows


def _answer(row: Row) -> dict[str, object]:
    """Return a row as a benchmark reads an output, by whichever name it looks for the response."""
    if "prediction" not in row.fields:
        raise ToolFailed(f"VLMEvalKit's {row.name} has no column prediction")
    return {"id": _index(row), **row.fields, "response": row.fields["prediction"]}


def _index(row: Row) -> str:
    return as_text(row.fields.get("index"))


def _beside(table: Path) -> Iterator[Path]:
    """Yield what was made of a table of predictions."""
    return (path for path in sorted(table.parent.glob(f"{table.stem}_*")) if path.suffix in _TABLES)


def _read_verdicts(table: Path) -> dict[str, bool]:
    """Return the verdicts of the table that tells them by row; none where none does."""
    for path in _beside(table):
        rows = [row for row in rows_of(path) if isinstance(row, Row)]
        name = next((name for name in _VERDICTS if rows and {"index", name} <= rows[0].fields.keys()), None)
        if name is not None:
            said = ((_index(row), as_text(row.fields[name]).casefold()) for row in rows)
            return {index: verdict in _RIGHT for index, verdict in said if verdict in _RIGHT | _WRONG}
    return {}


def _read_scores(table: Path, dataset: Dataset) -> ToolScores | None:
    """Return VLMEvalKit's scores, None where it came to none; raise ToolFailed where they have another form."""
    files = [path for path in _beside(table) if path.stem.endswith(("_acc", "_score"))]
    if not files:
        return None
    try:
        return dataset.read_scores(_rows(files[0]))
    except (LookupError, ValueError) as error:
        raise ToolFailed(f"VLMEvalKit's {files[0].name} has another form than its scores had: {error}") from error


def _shares(rows: Sequence[Row]) -> ToolScores:
    splits = {field(row, "split").casefold(): row for row in rows}
    row = next((splits[name] for name in _SPLITS if name in splits), rows[0])
    figures = {name: 100 * float(text) for name, text in _texts(row) if name != "split"}
    return ToolScores(overall=figures.pop("overall"), figures=figures)


def _pairs(rows: Sequence[Row]) -> ToolScores:
    """Read HallusionBench's scores; those of a category are called `vd` and `vd facc`."""
    accuracies = {field(row, "split").casefold(): _accuracies(row) for row in rows}
    overall = accuracies.pop("overall")
    named = ({name: told["aacc"], **_prefixed(name, told)} for name, told in accuracies.items())
    figures = dict(chain.from_iterable(each.items() for each in (overall, *named)))
    return ToolScores(overall=sum(overall.values()) / len(overall), figures=figures)


def _accuracies(row: Row) -> dict[str, float]:
    return {name: float(as_text(row.fields[name])) for name in ("aacc", "facc", "qacc")}


def _prefixed(category: str, accuracies: Mapping[str, float]) -> dict[str, float]:
    return {f"{category} {name}": value for name, value in accuracies.items()}


def _counted(rows: Sequence[Row]) -> ToolScores:
    """Read scores that stand below each other; whatever they are called by comes first."""
    figures = {as_text(next(iter(row.fields.values()))).casefold(): float(as_text(row.fields["acc"])) for row in rows}
    return ToolScores(overall=figures.pop("overall"), figures=figures)


def _sums(rows: Sequence[Row]) -> ToolScores:
    figures = {name: float(text) for name, text in _texts(rows[0])}
    figures.pop("final score norm", None)
    return ToolScores(overall=figures.pop("final score"), figures=figures)


def _texts(row: Row) -> list[tuple[str, str]]:
    return [(name, as_text(value)) for name, value in row.fields.items() if as_text(value)]


DATASETS: Mapping[str, Dataset] = {
    "mmstar": Dataset(name="MMStar", kind="ImageMCQDataset", read_scores=_shares),
    "mmmu": Dataset(name="MMMU_DEV_VAL", kind="MMMUDataset", read_scores=_shares),
    "mathvista": Dataset(name="MathVista_MINI", kind="MathVista", read_scores=_counted, judge=None),
    "mathvision": Dataset(name="MathVision_MINI", kind="MathVision", read_scores=_counted, judge=None),
    "ai2d": Dataset(name="AI2D_TEST", kind="ImageMCQDataset", read_scores=_shares),
    "ocrbench": Dataset(name="OCRBench", kind="OCRBench", read_scores=_sums),
    "realworldqa": Dataset(name="RealWorldQA", kind="ImageMCQDataset", read_scores=_shares),
    "hallusionbench": Dataset(name="HallusionBench", kind="ImageYORNDataset", read_scores=_pairs),
    "blink": Dataset(name="BLINK", kind="ImageMCQDataset", read_scores=_shares),
}
