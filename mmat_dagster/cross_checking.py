"""Has another tool examine a served student, and prints its score beside this project's: the command cross-check."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mmat_dagster.evaluation.cross_check import CrossCheck, Disputed, Figure, compare
from mmat_dagster.evaluation.vlmevalkit import LOG, Errand, ToolMissing, examine, find_tool
from mmat_dagster.evaluation.vlmevalkit_files import DATASETS, ToolFailed
from mmat_dagster.processes import terminable
from mmat_dagster.scoring import BENCHMARKS
from mmat_dagster.scoring.benchmark import Benchmark, ScoringError

# So many answers that are judged otherwise are told, and so much of each.
TOLD, TOLD_CHARS = 20, 60
INTERRUPTED = 130
# Where VLMEvalKit keeps its tables unless LMUData names another folder.
USUAL_DATA = Path("~/LMUData")


@dataclass(frozen=True, kw_only=True)
class CrossChecking:
    """What is to be cross-checked, and with what; None is the usual."""

    benchmark: str
    base_url: str
    model: str
    work_dir: Path
    limit: int | None
    rule: str | None
    judge: str | None
    tool_path: Path | None
    tool_python: Path | None
    data: Path | None


def cross_check(asked: CrossChecking, variables: Mapping[str, str]) -> int:
    """Cross-check a benchmark and print both scores; return the exit code: 0 where they agree."""
    try:
        benchmark = _benchmark(asked)
        errand = _errand(asked, variables)
        print(f"VLMEvalKit asks {errand.asked} of {errand.model}; its log: {errand.folder / LOG}", flush=True)
        with terminable():
            findings = examine(errand, variables)
        check = compare(benchmark, findings, asked.rule)
    except (ScoringError, ToolFailed, ToolMissing, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; VLMEvalKit was ended", file=sys.stderr)
        return INTERRUPTED
    print("\n".join(_lines(check)))
    return 0 if check.is_agreed else 1


def _benchmark(asked: CrossChecking) -> Benchmark:
    """Return the benchmark, before anything is asked of it; raise ScoringError where it or the rule is not known."""
    benchmark = BENCHMARKS.get(asked.benchmark)
    if benchmark is None:
        raise ScoringError(f"{asked.benchmark} is no benchmark here yet: it may be {', '.join(BENCHMARKS)}")
    if asked.rule is not None and asked.rule not in benchmark.rules:
        raise ScoringError(f"{asked.rule!r} is no rule of {benchmark.title}: it may be {', '.join(benchmark.rules)}")
    return benchmark


def _errand(asked: CrossChecking, variables: Mapping[str, str]) -> Errand:
    tool = find_tool(asked.tool_path)
    own = tool / ".venv" / "bin" / "python"
    started = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    return Errand(
        tool=tool,
        # Not resolved: an environment's interpreter is a link.
        python=(asked.tool_python or (own if own.is_file() else Path(sys.executable))).absolute(),
        dataset=DATASETS[asked.benchmark],
        base_url=asked.base_url,
        model=asked.model,
        folder=asked.work_dir.resolve() / f"vlmevalkit-{asked.benchmark}-{started}",
        data=(asked.data or Path(variables.get("LMUData") or USUAL_DATA)).expanduser().resolve(),
        judge=asked.judge,
        limit=asked.limit,
    )


def _lines(check: CrossCheck) -> list[str]:
    told = f"{check.benchmark.title}, {check.scores.n:,} answers, rule: {check.rule}"
    lines = [told, f"  {'':<40} {'here':>9} {'VLMEvalKit':>11}", *(_figure(check, figure) for figure in check.figures)]
    if check.findings.failed:
        lines.append(f"{check.findings.failed} questions got no answer from the server, and count as wrong in both")
    if check.unreadable:
        first = check.unreadable[0]
        lines.append(f"{len(check.unreadable)} answers not scored here: {first.where}: {first.problem}")
    return [*lines, *_verdicts(check), _conclusion(check)]


def _figure(check: CrossCheck, figure: Figure) -> str:
    ours, theirs = (_number(value, check.benchmark.decimals) for value in (figure.ours, figure.theirs))
    return f"  {figure.name:<40} {ours:>9} {theirs:>11}{'   differs' if check.is_apart(figure) else ''}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _verdicts(check: CrossCheck) -> list[str]:
    if not check.compared:
        return ["VLMEvalKit does not tell its verdicts answer by answer."]
    told = [f"{len(check.disputed):,} of {check.compared:,} answers are judged otherwise."]
    told += map(_dispute, check.disputed[:TOLD])
    return told


def _dispute(disputed: Disputed) -> str:
    item = disputed.output.item
    said = " ".join(disputed.output.response.split())
    cut = f"{said[:TOLD_CHARS]}.." if len(said) > TOLD_CHARS else said
    ours, theirs = ("wrong", "right") if disputed.theirs else ("right", "wrong")
    gold, read = " | ".join(item.gold), disputed.ours.parsed
    return f"  {item.id}: {ours} here, {theirs} there; gold {gold!r}, read {read!r} in {cut!r}"


def _conclusion(check: CrossCheck) -> str:
    if check.findings.scores is None:
        return "VLMEvalKit came to no score: its log tells why."
    return "The scores agree." if check.is_agreed else "The scores differ."
