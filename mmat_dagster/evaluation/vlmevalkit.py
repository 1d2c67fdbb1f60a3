"""VLMEvalKit as another judge: how it is told to examine a served student. vlmevalkit_files.py: what it leaves behind.

    python run.py --config config.json --work-dir runs --judge exact_matching
    config.json    {"model": {"<label>": {"class": "LMDeployAPI", "api_base": "..", "model": ".."}},
                    "data": {"MMStar": {"class": "ImageMCQDataset", "dataset": "MMStar"}}}

LMDeployAPI is its client of any server with OpenAI's protocol: images in full size, the key from LMDEPLOY_API_KEY.
PRED_FORMAT=tsv asks for tables of text; versions that do not know it write Excel files. It ends with exit code 0
whatever has failed. All this as its source tells it in 2026. It has no limit: a part of the questions is a table of its
own, which it takes without asking for its checksum.
"""

import csv
import json
import re
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mmat_dagster.decontamination.rows import Row, read_rows
from mmat_dagster.evaluation.cross_check import Findings
from mmat_dagster.evaluation.vlmevalkit_files import Dataset, ToolFailed, find_table, read_findings

INSTALL = """VLMEvalKit is not here. It brings a torch of its own, so give it an environment of its own:
  git clone https://github.com/open-compass/VLMEvalKit
  python -m venv VLMEvalKit/.venv
  VLMEvalKit/.venv/bin/pip install -e VLMEvalKit
Then name its folder: --tool-path VLMEvalKit"""
# An answer may be so long, and a request may take so many seconds.
MAX_TOKENS, TIMEOUT_S = 2048, 600
LOG = "vlmevalkit.log"
TOLD_LINES = 15

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD")
SHORTEST_SECRET = 6


class ToolMissing(Exception):
    """The tool is not where it was looked for; the text says how to get it."""


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What VLMEvalKit is sent to do. `folder` is new, `data` holds its tables of the benchmarks."""

    tool: Path
    python: Path
    dataset: Dataset
    base_url: str
    model: str
    folder: Path
    data: Path
    judge: str | None
    limit: int | None

    @property
    def label(self) -> str:
        """The student's name as files may have it."""
        return re.sub(r"[^\w-]+", "_", self.model, flags=re.ASCII)

    @property
    def asked(self) -> str:
        """What the questions are called: the benchmark, or its first ones."""
        return self.dataset.name if self.limit is None else f"{self.dataset.name}_first{self.limit}"

    @property
    def gold(self) -> Path | None:
        """VLMEvalKit's own table of the questions, once it is there."""
        table = self.tables / f"{self.asked}.tsv"
        return table if table.is_file() else None

    @property
    def tables(self) -> Path:
        """Where VLMEvalKit finds its tables."""
        return self.data if self.limit is None else self.folder / "data"


def find_tool(folder: Path | None) -> Path:
    """Return the repository's folder, that of an installed one where none is named; raise ToolMissing."""
    spec = None if folder is not None else find_spec("vlmeval")
    found = Path(spec.origin).parents[1] if spec is not None and spec.origin else folder
    if found is None:
        raise ToolMissing(INSTALL)
    if not (found / "run.py").is_file():
        raise ToolMissing(f"{found} is no folder of VLMEvalKit's repository: it has no run.py.\n{INSTALL}")
    return found.resolve()


def examine(errand: Errand, variables: Mapping[str, str]) -> Findings:
    """Have VLMEvalKit examine the student, and return what it finds; raise ToolFailed."""
    errand.folder.mkdir(parents=True)
    if errand.limit is not None:
        _write_first(errand, errand.limit)
    config = errand.folder / "config.json"
    config.write_text(json.dumps(_config(errand), indent=1), encoding="utf-8")
    last = _run(errand, _command(errand, config), _environment(errand, variables))
    try:
        table = find_table(errand.folder / "runs", errand.label, errand.asked)
        return read_findings(table, errand.dataset, errand.folder, errand.gold)
    except ToolFailed as error:
        raise ToolFailed(f"{error}. Its last lines:\n{last}") from error


def _config(errand: Errand) -> dict[str, dict[str, dict[str, object]]]:
    student: dict[str, object] = {
        "class": "LMDeployAPI",
        "api_base": _endpoint(errand),
        "model": errand.model,
        "temperature": 0.0,
        "max_tokens": MAX_TOKENS,
        "timeout": TIMEOUT_S,
        "verbose": False,
    }
    return {
        "model": {errand.label: student},
        "data": {errand.asked: {"class": errand.dataset.kind, "dataset": errand.asked}},
    }


def _endpoint(errand: Errand) -> str:
    return f"{errand.base_url.rstrip('/')}/chat/completions"


def _command(errand: Errand, config: Path) -> list[str]:
    judge = errand.judge or errand.dataset.judge
    command = [str(errand.python), "run.py", "--config", str(config), "--work-dir", str(errand.folder / "runs")]
    return [*command, "--judge", judge] if judge else command


def _environment(errand: Errand, variables: Mapping[str, str]) -> dict[str, str]:
    # The first would move the results.
    kept = {name: value for name, value in variables.items() if name != "MMEVAL_ROOT"}
    told = {"LMDEPLOY_API_BASE": _endpoint(errand), "PRED_FORMAT": "tsv", "EVAL_FORMAT": "csv", "PYTHONUNBUFFERED": "1"}
    if errand.tables.is_dir():
        told["LMUData"] = str(errand.tables)
    return {**kept, **told}


def _run(errand: Errand, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run VLMEvalKit to its end, and return its last lines; its log tells all, but no key."""
    secrets = [value for name, value in environment.items() if _SECRET.search(name) and len(value) >= SHORTEST_SECRET]
    last: deque[str] = deque(maxlen=TOLD_LINES)
    with (
        (errand.folder / LOG).open("w", encoding="utf-8", buffering=1) as log,
        subprocess.Popen(  # noqa: S603
            command,
            cwd=errand.tool,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                last.append(_without(line, secrets))
                log.write(last[-1])
        except BaseException:
            # Ended early: it would go on asking.
            process.terminate()
            raise
    if process.returncode != 0:
        raise ToolFailed(f"VLMEvalKit has ended with code {process.returncode}. Its last lines:\n{''.join(last)}")
    return "".join(last)


def _without(line: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        line = line.replace(secret, "***")
    return line


def _write_first(errand: Errand, limit: int) -> None:
    """Write a table of the first questions; those that share another one's image have a copy."""
    whole = errand.data / f"{errand.dataset.name}.tsv"
    if not whole.is_file():
        raise ToolFailed(
            f"{whole} is not there, whose first questions were to be asked: name the folder of VLMEvalKit's tables by "
            "--data, or run once without a limit, when VLMEvalKit fetches it"
        )
    rows = [row for row in read_rows(whole) if isinstance(row, Row) and row.number <= limit]
    with whole.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file, delimiter="\t"))
    errand.tables.mkdir()
    with (errand.tables / f"{errand.asked}.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(header)
        table.writerows([row.fields[name.casefold()] for name in header] for row in sorted(rows, key=_number))


def _number(row: Row) -> int:
    return row.number
