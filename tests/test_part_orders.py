"""Parts that are ordered from other processes: the same bytes, every record told once, and no part made otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mmat_dagster.engine import Engine, EngineError, PartOrder, Watch
from mmat_dagster.parts import Part
from mmat_dagster.pipeline import Pipeline, RepliesPending
from mmat_dagster.progress import Progress
from mmat_dagster.spending import Spending, total
from tests import test_pipeline
from tests.layouts import write_tabmwp
from tests.test_pipeline import EndlessOcr, PatientTeacher, build, files, finished_parts, ignore, pipeline

folder = test_pipeline.folder


@dataclass
class Elsewhere(Engine):
    """Has other pipelines make the parts, the last one first, each with a teacher of its own."""

    teachers: Sequence[PatientTeacher]
    work: Pipeline
    orders: list[PartOrder] = field(default_factory=list)

    @property
    def spendings(self) -> Mapping[str, Spending]:
        return {"teacher": total(filter(None, (teacher.spending for teacher in self.teachers)))}

    @property
    def shares(self) -> str:
        return "all"

    def make(self, orders: Sequence[PartOrder], watch: Watch) -> Mapping[int, Part | None]:
        self.orders += orders
        last: dict[int, Progress] = {}
        made: dict[int, Part | None] = {}
        for order, teacher in zip(reversed(orders), self.teachers, strict=False):

            def listen(progress: Progress, index: int = order.index) -> None:
                last[index] = progress
                watch(last.values())

            made[order.index] = replace(self.work, teacher=teacher).make_part(order, listen)
        return made


def ordered(folder: Path, *pending: str) -> tuple[Pipeline, Elsewhere]:
    """Return a pipeline whose parts others make, and those."""
    engine = Elsewhere([PatientTeacher(*pending) for _ in range(3)], pipeline(folder))
    return replace(pipeline(folder), teacher=PatientTeacher(), engine=engine), engine


def test_parts_that_others_make_are_the_same(folder: Path, tmp_path: Path) -> None:
    work, engine = ordered(folder)
    build(work)
    here = tmp_path / "here"
    write_tabmwp(here / "sources", 5)
    build(replace(pipeline(here), teacher=PatientTeacher()))
    assert files(folder) == files(here)
    assert [order.index for order in engine.orders] == [0, 1, 2] * 3


def test_every_record_is_told_once_and_so_is_what_it_has_cost(folder: Path) -> None:
    work, _ = ordered(folder)
    seen: list[Progress] = []
    list(work.build("rationales", "tabmwp", seen.append))
    counts = [progress.done for progress in seen if progress.dataset == "rationales"]
    assert counts == sorted(counts)
    assert (seen[-1].done, seen[-1].total, seen[-1].spending) == (5, 5, Spending(calls=5))
    assert work.spendings["teacher"].calls == 5


def test_a_part_that_waits_for_a_batch_is_left_and_the_others_are_kept(folder: Path) -> None:
    work, _ = ordered(folder, "tabmwp/3")
    with pytest.raises(RepliesPending, match="1 records of rationales of tabmwp wait"):
        build(work)
    assert len(finished_parts(folder / "store" / "rationales" / "tabmwp")) == 2


def test_what_is_finished_is_not_ordered(folder: Path) -> None:
    with pytest.raises(RepliesPending):
        build(ordered(folder, "tabmwp/3")[0])
    work, engine = ordered(folder)
    build(work, "rationales")
    assert [(order.dataset, order.index) for order in engine.orders] == [("rationales", 1)]


def test_who_has_other_tools_or_stands_on_other_records_makes_nothing(folder: Path, tmp_path: Path) -> None:
    work, engine = ordered(folder)
    build(work, "rationales")
    order = engine.orders[0]
    longer = EndlessOcr()
    longer.max_chars = 77
    with pytest.raises(EngineError, match="would be made otherwise on this machine"):
        replace(engine.work, operators={"ocr": longer}).make_part(order, ignore)
    empty = pipeline(tmp_path / "another")
    with pytest.raises(EngineError, match="machines must share the store"):
        empty.make_part(order, ignore)
