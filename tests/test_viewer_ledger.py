"""A dialogue's entries in the reply ledger: found again by leading the teacher through it, without asking anybody."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mmat_dagster import parts
from mmat_dagster.images import PicturesOnDisk
from mmat_dagster.interfaces import LedgerError
from mmat_dagster.ledger.kept_replies import kept_replies
from mmat_dagster.schema import Rationale
from mmat_dagster.viewer.app import Viewed, create_app
from mmat_dagster.viewer.folder import ReadOnlyFolder
from mmat_dagster.viewer.replaying import Exchange, KeptModel, replay
from tests.teacher_server import TeacherServer
from tests.teaching import PRICES, InstantOcr, Job, build, make_model, prompted, write_problems


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Job, TeacherServer]]:
    """Yield a job whose dialogues a real server has taught."""
    root = tmp_path_factory.mktemp("taught")
    with TeacherServer() as server:
        job = Job(
            sources=str(write_problems(root / "sources", range(1, 6))),
            store=str(root / "store"),
            url=server.url,
            ledger=str(root / "ledger.sqlite"),
            fields=dict(PRICES),
        )
        build(job)
        yield job, server


def pictures_of(job: Job) -> PicturesOnDisk:
    """Return where the job's images lie."""
    return PicturesOnDisk(source_root=Path(job.sources), store_root=Path(job.store))


def exchanges_of(job: Job, rationale: Rationale) -> tuple[Exchange, ...]:
    """Return what the ledger holds of a rationale."""
    with kept_replies(job.ledger) as ledger:
        model = KeptModel(make_model(job).parameters, ledger.find)
        return replay(rationale, (InstantOcr(),), prompted(model, pictures_of(job)), model)


def rationales_of(job: Job) -> list[Rationale]:
    """Return all rationales of the job."""
    store = ReadOnlyFolder(Path(job.store))
    manifest = parts.read_manifest(store, "rationales", "tabmwp")
    assert manifest is not None
    return list(parts.read_records(store, manifest, Rationale))


def test_every_paid_reply_is_found_at_its_dialogue(taught: tuple[Job, TeacherServer]) -> None:
    job, server = taught
    found = [exchange for rationale in rationales_of(job) for exchange in exchanges_of(job, rationale)]
    assert all(exchange.reply for exchange in found)
    assert len({exchange.key for exchange in found}) == len(server.received)
    paid = [exchange.reply.paid.cost_usd for exchange in found if exchange.reply]
    assert all(usd is not None and usd > 0 for usd in paid)


def test_looking_asks_nobody_and_writes_nothing(taught: tuple[Job, TeacherServer]) -> None:
    job, server = taught
    before = len(server.received), hashlib.sha256(Path(job.ledger).read_bytes()).hexdigest()
    exchanges_of(job, rationales_of(job)[0])
    assert (len(server.received), hashlib.sha256(Path(job.ledger).read_bytes()).hexdigest()) == before


def test_under_other_settings_nothing_is_found_and_the_requests_are_told(taught: tuple[Job, TeacherServer]) -> None:
    job, _ = taught
    found = exchanges_of(job.but(temperature=0.9), rationales_of(job)[0])
    assert found
    assert not any(exchange.reply for exchange in found)


def test_an_absent_ledger_holds_nothing_and_is_not_made(taught: tuple[Job, TeacherServer], tmp_path: Path) -> None:
    job = replace(taught[0], ledger=str(tmp_path / "none.sqlite"))
    assert not any(exchange.reply for exchange in exchanges_of(job, rationales_of(job)[0]))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_ledger_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(LedgerError, match="cannot be read"), kept_replies(str(tmp_path / "ledger.sqlite")) as ledger:
        ledger.find(b"k" * 32)


def test_the_page_shows_tokens_dollars_and_no_key(taught: tuple[Job, TeacherServer], tmp_path: Path) -> None:
    job, _ = taught
    viewed = Viewed(
        store=ReadOnlyFolder(Path(job.store)),
        pictures=pictures_of(job),
        index=tmp_path / "index.sqlite",
        find_exchanges=lambda rationale: exchanges_of(job, rationale),
    )
    with TestClient(create_app(viewed), base_url="http://localhost") as client:
        page = client.get("/ledger", params={"id": rationales_of(job)[0].sample.id}).text
    assert "scripted" in page
    assert "rationales of tabmwp" in page
    assert "$" in page
    assert "sk-test" not in page
