"""A run in which every secret is a canary, and every server tells what it was shown: no canary is found afterwards."""

import base64
import os
import re
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

from tests import instances
from tests.echoing_server import echoing
from tests.layouts import write_tabmwp

ROOT = Path(__file__).resolve().parents[1]
# No encoding of URLs, JSON or HTML touches its letters.
CANARY = "c4nary"
KEYS = ("OPENAI_API_KEY", "GOOGLE_API_KEY", "HF_TOKEN", "MMAT_JUDGE_KEY", "MMAT_STUDENT_KEY", "MMAT_OPERATOR_TOKEN")
SECRETS = {name: f'{CANARY}/{name.lower()}+"odd\\&=' for name in KEYS}
DATABASE = f"postgresql://teacher:{quote(SECRETS['OPENAI_API_KEY'], safe='')}@127.0.0.1:9/{{}}?password={CANARY}"


def run(folder: Path, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    """Materialize an audit of four problems in a process of its own; all that it leaves is below `folder`."""
    instances.begin_history(folder / "home")
    write_tabmwp(folder / "sources", 4)
    return subprocess.run(
        [sys.executable, "-m", "mmat_dagster", "materialize", "dialogue_audit", "--source", "tabmwp"],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "no_proxy": "127.0.0.1",
            "DAGSTER_HOME": str(folder / "home"),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            "HOME": str(folder / "home"),
            "MMAT_SOURCES": str(folder / "sources"),
            "MMAT_STORE": str(folder / "store"),
            "MMAT_WORKERS": "1",
            "MMAT_TEACHER": "gpt4o",
            "MMAT_MODEL": "scripted",
            "MMAT_JUDGE": "judging",
            **SECRETS,
            **variables,
        },
        capture_output=True,
        timeout=300,
        check=False,
    )


def texts(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file below `folder` as it is, and what is compressed in it as it reads."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        yield str(path), path.read_bytes()
        if path.suffix == ".parquet":
            yield f"rows of {path}", repr(pq.read_table(path, use_threads=False).to_pylist()).encode()
        if path.name == "ledger.sqlite":
            yield f"bodies of {path}", b"\n".join(_bodies(path))


def _bodies(path: Path) -> list[bytes]:
    connection = sqlite3.connect(path)
    try:
        return [zlib.decompress(body) for (body,) in connection.execute("SELECT body FROM replies")]
    finally:
        connection.close()


def forms() -> re.Pattern[bytes]:
    """Return a pattern of the canary as it is, and in base64 wherever it stands in what was encoded."""
    encoded = [base64.b64encode(b"?" * before + CANARY.encode()).decode() for before in range(3)]
    inner = [text[-(-before * 8 // 6) : (before + len(CANARY)) * 8 // 6] for before, text in enumerate(encoded)]
    return re.compile("|".join((CANARY, *inner)).encode())


def check_no_canary(folder: Path, done: "subprocess.CompletedProcess[bytes]") -> None:
    pattern = forms()
    told = [("stdout", done.stdout), ("stderr", done.stderr), *texts(folder)]
    assert [
        (name, content[max(0, at.start() - 80) : at.end() + 40])
        for name, content in told
        for at in pattern.finditer(content)
    ][:5] == []


def test_servers_that_echo_keys_write_none_into_any_file_or_log(tmp_path: Path) -> None:
    with echoing() as server:
        done = run(
            tmp_path,
            MMAT_LEDGER=str(tmp_path / "ledger.sqlite"),
            OPENAI_BASE_URL=f"{server.url}/v1",
            MMAT_JUDGE_URL=f"{server.url}/v1",
            MMAT_OPERATORS="ocr=http",
            MMAT_OPERATOR_URL=server.url,
            MMAT_SEARCH="google",
            GOOGLE_SEARCH_URL=f"{server.url}/search",
            GOOGLE_CSE_ID="engine",
            MMAT_INFERENCE="endpoint",
            MMAT_STUDENT_URL=f"{server.url}/v1",
            MMAT_CONCURRENCY="1",
        )
    check_no_canary(tmp_path, done)
    assert done.returncode == 0, done.stderr.decode()
    # They did see them, and what they said of them was kept.
    asked = {"OPENAI_API_KEY", "GOOGLE_API_KEY", "MMAT_JUDGE_KEY", "MMAT_OPERATOR_TOKEN"}
    assert set(server.shown) == {SECRETS[name] for name in asked}
    kept = dict(texts(tmp_path))
    for dataset in ("rr_dialogues", "dialogue_audit"):
        assert any(dataset in name and b"***" in content for name, content in kept.items()), dataset
    assert any(name.startswith("bodies of") and b"***" in content for name, content in kept.items())
    assert any(b"ASSET_MATERIALIZATION" in content for name, content in kept.items() if "home" in name)


@pytest.mark.parametrize("url", [DATABASE.format("ledger"), DATABASE.format("ledger").replace(":9/", ":port/")])
def test_the_password_of_a_ledger_that_is_away_is_told_nowhere(tmp_path: Path, url: str) -> None:
    done = run(tmp_path, MMAT_LEDGER=url, MMAT_OPERATOR_CACHE=url)
    check_no_canary(tmp_path, done)
    assert done.returncode != 0
    assert b"ledger" in done.stderr + done.stdout
