"""Datasets are brought up to date like make, part by part, and a killed build goes on where it stopped."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mmat_dagster import parts
from mmat_dagster.frames import count_frame, read_frame, status_frame
from mmat_dagster.interfaces import LedgerError, Reply, ReplyPending, StoreError
from mmat_dagster.pipeline import Built, Pipeline, RepliesPending, Settings, UpstreamMissing
from mmat_dagster.progress import Progress
from mmat_dagster.schema import Dialogue, OrrDialogue, Rejection, Sample, Step, Turn
from mmat_dagster.sources.layout import SourceAbsent
from mmat_dagster.spending import Spending
from mmat_dagster.teachers.annotations import AnnotationsTeacher
from mmat_dagster.tools import Failed, Look, Operator, Sight
from resources.store import LocalStore
from tests.fakes import ScriptedTeacher, ToldOperator, ToldRetriever
from tests.layouts import write_tabmwp
from tests.processes import wait_until

ROOT = Path(__file__).resolve().parents[1]


class EndlessOcr(ToldOperator):
    """Reads the same table in every image, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        self.looks += len(looks)
        return [Sight(text="sand | $2; gravel | $3") for _ in looks]


class PatientTeacher(ScriptedTeacher):
    """Ends every dialogue at once, but those whose reply is still in a batch; counts what it was asked."""

    def __init__(self, *pending: str) -> None:
        super().__init__()
        self.pending = set(pending)
        self.asked: list[str] = []
        self.sessions: list[str] = []

    @property
    def spending(self) -> Spending | None:
        return Spending(calls=len(self.asked))

    @asynccontextmanager
    async def session(self, label: str) -> AsyncIterator[None]:
        self.sessions.append(f"{label} opens")
        yield
        self.sessions.append(f"{label} closes")

    async def next_step(self, sample: Sample, turns: Sequence[Turn], offered: Sequence[Operator]) -> Reply | Rejection:
        self.asked.append(sample.id)
        if sample.id in self.pending:
            raise ReplyPending
        return Reply(step=Step(thought=f"It is {sample.answers[0]}.", signal="end"))


class ChainedTeacher(PatientTeacher):
    """Answers the first record only when the last one has been asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.last_is_asked = asyncio.Event()

    async def next_step(self, sample: Sample, turns: Sequence[Turn], offered: Sequence[Operator]) -> Reply | Rejection:
        if sample.id == "tabmwp/5":
            self.last_is_asked.set()
        if sample.id == "tabmwp/1":
            await asyncio.wait_for(self.last_is_asked.wait(), 30)
        return await super().next_step(sample, turns, offered)


class ForgetfulTeacher(PatientTeacher):
    """Has a ledger that cannot be written."""

    async def next_step(self, sample: Sample, turns: Sequence[Turn], offered: Sequence[Operator]) -> Reply | Rejection:
        raise LedgerError("the reply ledger cannot be written")


def pipeline(
    folder: Path, operator: Operator | None = None, *, part_rows: int = 2, limit: int | None = None
) -> Pipeline:
    return Pipeline(
        sources=folder / "sources",
        store=LocalStore(root=str(folder / "store")),
        teacher=AnnotationsTeacher(),
        operators={"ocr": operator or EndlessOcr()},
        search=ToldRetriever(),
        settings=Settings(part_rows=part_rows, limit=limit),
    )


def ignore(progress: Progress) -> None:
    """Report to nobody."""


def build(work: Pipeline, dataset: str = "orr_dialogues") -> list[Built]:
    return list(work.build(dataset, "tabmwp", ignore))  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted((folder / "store").rglob("*"))
        if path.is_file() and path.name != ".lock" and path.parent.name != "files"  # a cache
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tabmwp(tmp_path / "sources", 5)
    return tmp_path


def test_a_dataset_is_built_with_all_that_it_stands_on(folder: Path) -> None:
    built = build(pipeline(folder))
    assert [each.manifest.dataset for each in built] == ["source_qa", "rationales", "rr_dialogues", "orr_dialogues"]
    assert [(each.rows_in, each.manifest.rows) for each in built] == [(5, 5)] * 4
    assert [len(each.manifest.parts) for each in built] == [3] * 4
    assert built[1].manifest.census == {"2 turns": 5, "ocr called": 5}


def test_records_survive_their_files(folder: Path) -> None:
    work = pipeline(folder)
    *_, dialogues, integrated = build(work)
    samples = list(parts.read_records(work.store, build(work, "source_qa")[0].manifest, Sample))
    read = list(parts.read_records(work.store, dialogues.manifest, Dialogue))
    assert [dialogue.sample for dialogue in read] == samples
    assert [item.id for item in parts.read_records(work.store, integrated.manifest, OrrDialogue)] == [
        f"tabmwp/{number}" for number in range(1, 6)
    ]


def test_what_has_not_changed_is_not_done_again(folder: Path) -> None:
    operator = EndlessOcr()
    build(pipeline(folder, operator))
    before = {path: path.stat().st_mtime_ns for path in (folder / "store").rglob("*.parquet")}
    assert all(each.reused_parts == len(each.manifest.parts) for each in build(pipeline(folder, operator)))
    assert {path: path.stat().st_mtime_ns for path in (folder / "store").rglob("*.parquet")} == before
    assert operator.looks == 5


def test_a_changed_record_redoes_only_its_part(folder: Path) -> None:
    operator = EndlessOcr()
    build(pipeline(folder, operator))
    path = folder / "sources" / "tabmwp" / "problems_train.json"
    path.write_text(path.read_text().replace("How much do 3 kilograms", "What do 3 kilograms"))
    built = build(pipeline(folder, operator))
    assert [each.reused_parts for each in built] == [0, 2, 2, 2]
    assert operator.looks == 5 + 2
    assert len(list((folder / "store" / "rr_dialogues" / "tabmwp").glob("*.parquet"))) == 2 * 3


def test_a_moved_store_and_moved_sources_are_still_up_to_date(folder: Path, tmp_path: Path) -> None:
    build(pipeline(folder))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "sources").rename(elsewhere / "sources")
    (folder / "store").rename(elsewhere / "store")
    operator = EndlessOcr()
    assert all(each.reused_parts == 3 for each in build(pipeline(elsewhere, operator)))
    assert operator.looks == 0


def test_a_limit_takes_the_first_records(folder: Path) -> None:
    assert [each.manifest.rows for each in build(pipeline(folder, limit=3))] == [3] * 4


def test_a_lost_record_is_named_and_its_neighbours_go_on(folder: Path) -> None:
    (folder / "sources" / "tabmwp" / "tables" / "2.png").write_bytes(b"broken")
    work = pipeline(folder)
    first, *_, last = build(work)
    assert (first.manifest.rows, first.manifest.rejected, last.manifest.rows) == (4, {"unreadable image": 1}, 4)
    (lost,) = parts.read_rejected(work.store, first.manifest)
    assert (lost.record_id, lost.stage) == ("tabmwp/2", "source_qa")


def test_without_upstream_a_missing_dataset_names_the_command(folder: Path) -> None:
    work = pipeline(folder)
    with pytest.raises(UpstreamMissing, match="--select rationales --partition tabmwp"):
        list(work.build("rr_dialogues", "tabmwp", ignore, with_upstream=False))
    build(work, "rationales")
    (_, built) = work.build("rr_dialogues", "tabmwp", ignore, with_upstream=False)
    assert built.manifest.rows == 5


def test_a_source_that_is_gone_is_told_where_its_datasets_are_still_there(folder: Path) -> None:
    build(pipeline(folder))
    (folder / "sources" / "tabmwp").rename(folder / "gone")
    with pytest.raises(SourceAbsent, match="does not exist"):
        list(pipeline(folder).build("rr_dialogues", "tabmwp", ignore, with_upstream=False))


def test_a_stale_upstream_counts_as_missing(folder: Path) -> None:
    build(pipeline(folder))
    write_tabmwp(folder / "sources", 6)
    with pytest.raises(UpstreamMissing):
        list(pipeline(folder).build("rr_dialogues", "tabmwp", ignore, with_upstream=False))


def test_an_absent_source_says_what_is_expected_and_where_from(folder: Path) -> None:
    with pytest.raises(SourceAbsent, match=r"train\.jsonl as published by .*LLaVA-CoT"):
        list(pipeline(folder).build("rr_dialogues", "llava_cot", ignore))


def test_a_teacher_that_breaks_loses_no_finished_part(folder: Path) -> None:
    step = Step(thought="It is shown.", signal="end")
    work = pipeline(folder)
    broken = replace(work, teacher=ScriptedTeacher(step, step, step))
    with pytest.raises(IndexError):
        build(broken)
    assert len(finished_parts(folder / "store" / "rationales" / "tabmwp")) == 1
    assert not (folder / "store" / "rationales" / "tabmwp" / "manifest.json").exists()
    mended = replace(work, teacher=ScriptedTeacher(step, step, step))
    assert build(mended)[1].reused_parts == 1


def test_records_of_later_parts_begin_while_a_slow_one_holds_the_first_part_back(folder: Path) -> None:
    teacher = ChainedTeacher()
    assert [len(each.manifest.parts) for each in build(replace(pipeline(folder), teacher=teacher), "rationales")] == [
        3,
        3,
    ]
    assert teacher.asked[-1] == "tabmwp/1"


def test_records_that_wait_for_a_batch_hold_back_their_part_alone(folder: Path) -> None:
    teacher, work = PatientTeacher("tabmwp/3"), pipeline(folder)
    seen: list[Progress] = []
    with pytest.raises(RepliesPending) as told:
        list(replace(work, teacher=teacher).build("rr_dialogues", "tabmwp", seen.append))
    assert told.value.label == "rationales of tabmwp"
    assert "1 records of rationales of tabmwp wait" in str(told.value)
    assert (seen[-1].done, seen[-1].pending, seen[-1].total) == (4, 1, 5)
    rationales = folder / "store" / "rationales" / "tabmwp"
    assert len(finished_parts(rationales)) == 2
    assert not (rationales / "manifest.json").exists()
    assert teacher.sessions == ["rationales of tabmwp opens", "rationales of tabmwp closes"]


def test_a_later_run_asks_for_the_part_that_waited_and_ends_like_an_undisturbed_one(
    folder: Path, tmp_path: Path
) -> None:
    undisturbed = tmp_path / "undisturbed"
    write_tabmwp(undisturbed / "sources", 5)
    build(replace(pipeline(undisturbed), teacher=PatientTeacher()))
    work = pipeline(folder)
    with pytest.raises(RepliesPending):
        build(replace(work, teacher=PatientTeacher("tabmwp/3", "tabmwp/4")))
    teacher = PatientTeacher()
    assert [each.reused_parts for each in build(replace(work, teacher=teacher))] == [3, 2, 0, 0]
    assert teacher.asked == ["tabmwp/3", "tabmwp/4"]
    assert teacher.sessions[1::2] == ["rationales of tabmwp closes", "rr_dialogues of tabmwp closes"]
    assert files(folder) == files(undisturbed)


def test_a_teacher_is_left_alone_where_nothing_is_to_be_done(folder: Path) -> None:
    build(replace(pipeline(folder), teacher=PatientTeacher()))
    teacher = PatientTeacher()
    build(replace(pipeline(folder), teacher=teacher))
    assert (teacher.asked, teacher.sessions) == ([], [])


def test_progress_tells_what_the_teacher_has_cost(folder: Path) -> None:
    seen: list[Progress] = []
    list(replace(pipeline(folder), teacher=PatientTeacher()).build("rationales", "tabmwp", seen.append))
    assert seen[-1].spending == Spending(calls=5)
    assert {progress.spending for progress in seen if progress.dataset == "source_qa"} == {None}


def test_a_ledger_that_cannot_be_written_stops_the_run(folder: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be written"):
        build(replace(pipeline(folder), teacher=ForgetfulTeacher()))


def test_a_store_that_cannot_be_written_is_one_clear_error(folder: Path) -> None:
    (folder / "store").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="Set MMAT_STORE to a folder"):
        build(pipeline(folder))


def test_datasets_are_data_frames_for_notebooks(folder: Path) -> None:
    (folder / "sources" / "tabmwp" / "tables" / "2.png").write_bytes(b"broken")
    work = pipeline(folder)
    build(work, "rr_dialogues")
    frame = read_frame(work.store, "rr_dialogues")
    assert list(frame["id"]) == [f"tabmwp/{number}" for number in (1, 3, 4, 5)]
    assert frame["messages"][0][0]["role"] == "system"
    assert read_frame(work.store, "orr_dialogues").empty
    counts = count_frame(work.store).to_dict("records")
    assert counts[0] == {
        "source": "tabmwp",
        "dataset": "source_qa",
        "rows": 4,
        "rejected": 1,
        "reasons": "1 unreadable image",
    }
    (status,) = status_frame(work.store).to_dict("records")
    assert (status["rr_dialogues"], status["rejected"], status["reasons"]) == (4, 1, "1 unreadable image")


def test_progress_counts_every_record_once(folder: Path) -> None:
    (folder / "sources" / "tabmwp" / "tables" / "2.png").unlink()
    seen: list[Progress] = []
    report: Callable[[Progress], None] = seen.append
    list(pipeline(folder).build("rationales", "tabmwp", report))
    foundation = [progress.done for progress in seen if progress.dataset == "source_qa" and not progress.files]
    assert foundation == [1, 2, 3, 4, 5]
    last = seen[-1]
    assert (last.dataset, last.done, last.total) == ("rationales", 4, 4)


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.test_pipeline import EndlessOcr, build, pipeline

class SlowOcr(EndlessOcr):
    async def look(self, looks):
        await asyncio.sleep(0.05)
        return await super().look(looks)

if __name__ == "__main__":
    build(pipeline(Path({folder!r}), SlowOcr()))
"""


def test_a_killed_build_goes_on_and_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    for each in (killed, undisturbed):
        write_tabmwp(each / "sources", 30)
    build(pipeline(undisturbed))
    script = KILLED.format(root=str(ROOT), folder=str(killed))
    rationales = killed / "store" / "rationales" / "tabmwp"
    for wanted in (2, 6, 11):
        with subprocess.Popen([sys.executable, "-c", script]) as process:
            wait_until(lambda wanted=wanted: len(finished_parts(rationales)) >= wanted)  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
    finished = {path: path.stat().st_mtime_ns for path in finished_parts(rationales)}
    assert 11 <= len(finished) < 15
    built = build(pipeline(killed))
    assert built[1].reused_parts == len(finished)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert files(killed) == files(undisturbed)


def finished_parts(folder: Path) -> list[Path]:
    """Return the parts whose records' file is there."""
    return [path for path in folder.glob("part-*.parquet") if not path.name.endswith(".rejected.parquet")]
