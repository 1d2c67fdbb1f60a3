"""An export is there whole or not at all, and never takes the place of something else."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmat_dagster.export.folder import SUMMARY, ExportRefused, whole_folder

ROOT = Path(__file__).resolve().parents[1]
SLOW = """
import sys, time
from pathlib import Path
from mmat_dagster.export.folder import whole_folder
from mmat_dagster.processes import terminable
with terminable(), whole_folder(Path(sys.argv[1]), is_replacing=True) as folder:
    (folder / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def write(out: Path, text: str, *, is_replacing: bool = False) -> None:
    with whole_folder(out, is_replacing=is_replacing) as folder:
        (folder / SUMMARY).write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def slowly(out: Path) -> subprocess.Popen[str]:
    """Return a process that is writing `out` and will not end by itself soon."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def end(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)
    process.wait(60)
    assert process.stdout is not None
    process.stdout.close()


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "one")
    assert names(tmp_path) == ["out"]


def test_what_is_there_is_kept_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    write(tmp_path / "out", "one")
    with pytest.raises(ExportRefused, match=r"is not empty; nothing was overwritten\. Add --overwrite"):
        write(tmp_path / "out", "two")
    assert (tmp_path / "out" / SUMMARY).read_text() == "one"
    write(tmp_path / "out", "two", is_replacing=True)
    assert (tmp_path / "out" / SUMMARY).read_text() == "two"
    assert names(tmp_path) == ["out"]


def test_what_is_no_export_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(ExportRefused, match="so it is no export; nothing was overwritten"):
        write(tmp_path / "out", "two", is_replacing=True)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"
    (tmp_path / "file").write_text("a file")
    with pytest.raises(ExportRefused, match="is a file; an export is a folder"):
        write(tmp_path / "file", "two", is_replacing=True)
    assert names(tmp_path) == ["file", "out"]


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_folder(tmp_path / "out", is_replacing=False) as folder:
        (folder / "half").write_text((folder / "nothing").read_text())
    assert names(tmp_path) == []


def test_a_terminated_export_leaves_what_was_there_before(tmp_path: Path) -> None:
    write(tmp_path / "out", "one")
    end(slowly(tmp_path / "out"), signal.SIGTERM)
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / SUMMARY).read_text() == "one"


def test_a_killed_export_leaves_nothing_half_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    end(slowly(tmp_path / "out"), signal.SIGKILL)
    assert not (tmp_path / "out").exists()
    write(tmp_path / "out", "one")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == [SUMMARY]


def test_two_exports_do_not_write_the_same_folder_at_once(tmp_path: Path) -> None:
    process = slowly(tmp_path / "out")
    try:
        with pytest.raises(ExportRefused, match=r"another export is writing out"):
            write(tmp_path / "out", "two")
        assert (tmp_path / ".out.writing" / "half").exists()
    finally:
        end(process, signal.SIGKILL)


def test_what_a_kill_between_two_renames_moved_away_is_put_back(tmp_path: Path) -> None:
    write(tmp_path / ".out.replaced", "one")
    with pytest.raises(ExportRefused, match="is not empty"):
        write(tmp_path / "out", "two")
    assert (tmp_path / "out" / SUMMARY).read_text() == "one"
    assert names(tmp_path) == ["out"]
