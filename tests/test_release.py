"""A release holds every dialogue once on one side, counts what it holds, and is there whole or not at all."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmat_dagster.release import filling, shards
from mmat_dagster.release.lines import NAMES
from mmat_dagster.release.plan import ReleaseRefused
from mmat_dagster.release.provenance import Facts
from mmat_dagster.release.publishing import FOLDER, publish, read_release
from mmat_dagster.release.writing import DROPPED
from mmat_dagster.schema import Message
from mmat_dagster.splits import is_held_out
from tests.rebuilding import leave_behind
from tests.releasing import Shop, contents, ignore, lines, stock

ROWS = [(form, side) for form in ("rr", "orr") for side in ("train", "val")]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return stock(tmp_path)


def parquet_rows(folder: Path, form: str, side: str) -> list[dict[str, Any]]:
    files = sorted((folder / "data" / form).glob(f"{side}-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_every_dialogue_is_in_parquet_and_in_json_lines_on_one_side(shop: Shop) -> None:
    folder = shop.folder(shop.publish(val_share=0.3))
    for form in ("rr", "orr"):
        ids = {side: [row["id"] for row in parquet_rows(folder, form, side)] for side in ("train", "val")}
        assert sorted(ids["train"] + ids["val"]) == sorted(f"tabmwp/{number}" for number in range(60))
        assert ids["val"]
        for side in ("train", "val"):
            assert [row["id"] for row in lines(folder / NAMES[form, side])] == ids[side]


def test_both_forms_say_what_the_store_says_over_the_bytes_that_the_publisher_ships(shop: Shop) -> None:
    folder = shop.folder(shop.publish(val_share=0.3))
    for form, side in ROWS:
        for row, line in zip(
            parquet_rows(folder, form, side),
            lines(folder / NAMES[form, side]),
            strict=True,
        ):
            number = int(row["id"].partition("/")[2])
            original = (shop.root / "sources/tabmwp/pictures" / f"{number // 2}.png").read_bytes()
            assert row["messages"] == line["messages"]
            (image,), (path,) = row["images"], line["images"]
            assert image["bytes"] == (folder / path).read_bytes() == original
            assert image["path"] == Path(path).name == f"{hashlib.sha256(original).hexdigest()}.png"
            assert (row["licence"], row["answers"]) == (line["licence"], line["answers"])


def test_the_split_goes_by_the_image_as_in_exports(shop: Shop) -> None:
    folder = shop.folder(shop.publish(val_share=0.3))
    for form, side in ROWS:
        for row in lines(folder / NAMES[form, side]):
            assert is_held_out(Path(row["images"][0]).stem, 0.3) == (side == "val")


def test_dialogues_that_show_the_same_image_among_others_are_on_one_side(tmp_path: Path) -> None:
    shop = Shop(root=tmp_path)
    pictures = [shop.draw(number) for number in range(40)]
    chain = [shop.say(number, pictures[number : number + 2]) for number in range(20)]
    shop.put(*chain, *(shop.say(number, [pictures[number]]) for number in range(20, 40)))
    folder = shop.folder(shop.publish(val_share=0.4))
    sides = {row["id"]: side for side in ("train", "val") for row in lines(folder / NAMES["rr", side])}
    assert len({sides[dialogue.id] for dialogue in chain}) == 1
    assert {*sides.values()} == {"train", "val"}


def test_shards_and_small_chunks_hold_the_same_rows(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = parquet_rows(shop.folder(shop.publish()), "rr", "train")
    monkeypatch.setattr(shards, "GROUP_ROWS", 3)
    monkeypatch.setattr(filling, "CHUNK_BYTES", 100)
    folder = shop.folder(shop.publish(shard_bytes=20_000))
    files = sorted(path.name for path in (folder / "data" / "rr").glob("train-*"))
    assert len(files) > 1
    assert files == [f"train-{number:05d}-of-{len(files):05d}.parquet" for number in range(len(files))]
    assert parquet_rows(folder, "rr", "train") == whole


def test_the_same_data_have_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    one, two = (stock(tmp_path / name) for name in ("one", "two"))
    made = [each.folder(each.publish(val_share=0.2)) for each in (one, two)]
    assert contents(made[0]) == contents(made[1])
    assert str(tmp_path).encode() not in b"".join(contents(made[0]).values())


def test_a_second_release_of_the_same_data_does_nothing(shop: Shop) -> None:
    first = shop.publish()
    before = {path: path.stat().st_mtime_ns for path in shop.folder(first).rglob("*")}
    again, is_reused = publish(shop.plan(), ignore)
    assert (again, is_reused) == (first, True)
    assert {path: path.stat().st_mtime_ns for path in shop.folder(first).rglob("*")} == before


@pytest.mark.parametrize("change", [{"val_share": 0.5}, {"embeds_images": False}, {"good_score": 0.8}])
def test_another_choice_is_another_release_and_the_old_one_goes(shop: Shop, change: dict[str, Any]) -> None:
    first = shop.publish()
    second = shop.publish(**change)
    assert first.key != second.key
    assert [path.name for path in (shop.root / "store" / FOLDER).iterdir() if path.is_dir()] == [second.key]


def test_other_facts_are_another_release(shop: Shop) -> None:
    assert shop.publish().key != shop.publish(Facts(version="9.9")).key


def test_a_release_that_fails_in_the_middle_leaves_the_last_one_whole(shop: Shop) -> None:
    first = shop.publish()
    before = contents(shop.folder(first))
    shop.put(*(shop.say(number, [shop.draw(number)]) for number in range(30)))

    def stop(folder: Path) -> None:
        assert (folder / "README.md").is_file()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(shop.plan(), ignore, stop)
    assert read_release(shop.store) == first
    assert contents(shop.folder(first)) == before
    assert [path.name for path in (shop.root / "store" / FOLDER).iterdir() if path.is_dir()] == [first.key]


def test_what_a_killed_release_left_behind_is_removed_by_the_next(shop: Shop) -> None:
    left = shop.root / "store" / FOLDER / ".0123.writing" / "data"
    left.mkdir(parents=True)
    shop.publish()
    assert not left.parent.exists()


def test_a_release_whose_rows_were_rebuilt_meanwhile_is_refused(shop: Shop) -> None:
    plan = shop.plan()
    next((shop.root / "store/orr_dialogues/tabmwp").glob("part-*-key.parquet")).unlink()
    with pytest.raises(ReleaseRefused, match="orr_dialogues of tabmwp was rebuilt meanwhile"):
        publish(plan, ignore)
    assert read_release(shop.store) is None


def test_orr_dialogues_of_other_rr_dialogues_are_refused_with_what_to_do(shop: Shop) -> None:
    leave_behind(shop.root / "store", "orr_dialogues")
    with pytest.raises(ReleaseRefused, match="materialize orr_dialogues --source tabmwp"):
        shop.publish()


def test_an_audit_of_other_dialogues_gives_no_scores(shop: Shop) -> None:
    shop.audit({f"tabmwp/{number}": 0.9 for number in range(60)})
    assert shop.publish().audited == 60
    leave_behind(shop.root / "store", "dialogue_audit")
    assert [data.has_old_audit for data in shop.plan().data] == [True]
    assert shop.publish().audited == 0


def test_an_empty_store_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ReleaseRefused, match="materialize orr_dialogues"):
        Shop(root=tmp_path).publish()


def _without_picture(shop: Shop) -> None:
    (shop.root / "sources/tabmwp/pictures/0.png").unlink()


def _other_picture(shop: Shop) -> None:
    (shop.root / "sources/tabmwp/pictures/0.png").write_bytes(b"another")


@pytest.mark.parametrize("damage", [_without_picture, _other_picture])
def test_a_dialogue_without_its_image_is_left_out_and_named(shop: Shop, damage: Callable[[Shop], None]) -> None:
    damage(shop)
    release = shop.publish()
    lost = lines(shop.folder(release) / DROPPED)
    assert {(each["id"], each["dataset"]) for each in lost} == {
        (f"tabmwp/{number}", dataset) for number in (0, 1) for dataset in ("rr_dialogues", "orr_dialogues")
    }
    assert {each["reason"] for each in lost} == {"missing or changed image"}
    assert release.dropped == 4
    assert sum(release.splits["rr"].values()) == 58


def test_a_text_that_a_trainer_takes_for_media_is_left_out_and_named(tmp_path: Path) -> None:
    shop = Shop(root=tmp_path)
    good, video, marked = (shop.say(number, [shop.draw(number)]) for number in range(3))
    for_video = (*video.messages[:-1], Message(role="assistant", content="a <video> of it"))
    for_mark = (*marked.messages[:-1], Message(role="assistant", content="an <image>"))
    shop.put(good)
    shop.put_records(type(good), [good, replace(video, messages=for_video), replace(marked, messages=for_mark)], 7)
    lost = lines(shop.folder(shop.publish(val_share=0.0)) / DROPPED)
    assert [(each["id"], each["reason"]) for each in lost] == [
        ("tabmwp/1", "media mark in the text"),
        ("tabmwp/2", "image marks do not match the images"),
    ]


def test_only_what_may_be_sold_is_released_where_that_was_asked_for(tmp_path: Path) -> None:
    shop = Shop(root=tmp_path)
    shop.put(*(shop.say(number, [shop.draw(number)]) for number in range(5)))
    free = "Apache-2.0 over CC BY 4.0 (TextVQA)"
    draw = [shop.draw(number + 100, "visual_cot") for number in range(5)]
    shop.put(*(shop.say(n, [draw[n]], "visual_cot", part="textvqa", licence=free) for n in range(5)))
    release = shop.publish(only_commercial=True, val_share=0.0)
    assert [(part.source, part.is_commercial, part.rr) for part in release.parts] == [("visual_cot", True, 5)]
    assert {each["reason"] for each in lines(shop.folder(release) / DROPPED)} == {"not for commercial use"}
    both = shop.publish(val_share=0.0)
    assert [(part.source, part.is_commercial) for part in both.parts] == [("tabmwp", False), ("visual_cot", True)]


def test_audit_scores_stand_beside_their_dialogues_and_bad_ones_can_be_left_out(shop: Shop) -> None:
    shop.audit({f"tabmwp/{number}": number / 100 for number in range(50)} | {"tabmwp/gone": 1.0})
    release = shop.publish(val_share=0.0, good_score=0.4)
    rows = parquet_rows(shop.folder(release), "rr", "train")
    assert [row["audit_score"] for row in rows] == [*(number / 100 for number in range(50)), *[None] * 10]
    assert (release.audited, release.good) == (50, 10)
    assert "(judged by checks): **20.0%** have a score of\n0.4" in (shop.folder(release) / "README.md").read_text()
    best = shop.publish(val_share=0.0, min_audit_score=0.4)
    assert best.splits == {"rr": {"train": 10, "val": 0}, "orr": {"train": 10, "val": 0}}
    reasons = [each["reason"] for each in lines(shop.folder(best) / DROPPED) if each["dataset"] == "rr_dialogues"]
    assert (reasons.count("below the audit score"), reasons.count("not audited")) == (40, 10)


def test_a_release_without_images_of_its_own_says_where_they_are(shop: Shop) -> None:
    folder = shop.folder(shop.publish(embeds_images=False, copies_images=False, val_share=0.0))
    assert not (folder / "images").exists()
    (path,) = lines(folder / NAMES["rr", "train"])[0]["images"]
    assert Path(path).is_absolute()
    assert Path(path).is_file()
    assert parquet_rows(folder, "rr", "train")[0]["images"][0]["bytes"] is None
