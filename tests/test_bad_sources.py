"""Every damage to a source ends in a named rejection: no traceback, no hang, no lost good neighbour."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import EpsImagePlugin

from mmat_dagster.images import UnreadableImage, examine
from mmat_dagster.pixels import read_rgb
from mmat_dagster.schema import Sample, SourceName
from tests.damaged_files import EPS, FILES
from tests.damages import ANNOTATIONS, Damage
from tests.sound_sources import COUNT, record_id, write_sound
from tests.source_building import build_source_qa, patience

DAMAGES = (*ANNOTATIONS, *FILES)
# What a person reads in one look; a record of 80 MB must not come back as a message of 80 MB.
LONGEST_DETAIL = 1000


def numbers(source: SourceName) -> range:
    """Return the numbers of a sound folder's records."""
    return range(1, COUNT + (3 if source == "the_cauldron" else 1))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[SourceName, dict[str, Sample]]:
    """Return what the undamaged folders give."""
    found = {}
    for source in sorted({damage.source for damage in DAMAGES}):
        root = tmp_path_factory.mktemp(source)
        write_sound(root, source)
        samples, lost = build_source_qa(root, source)
        assert list(samples) == [record_id(source, number) for number in numbers(source)]
        assert lost == []
        found[source] = samples
    return found


def as_parameter(damage: Damage) -> object:
    """Return a damage as a test's parameter."""
    return pytest.param(damage, id=damage.name)


@pytest.mark.parametrize("damage", [as_parameter(damage) for damage in DAMAGES])
def test_a_damage_costs_what_it_hits_and_nothing_else(
    damage: Damage, sound: dict[SourceName, dict[str, Sample]], tmp_path: Path
) -> None:
    before = sound[damage.source]
    gone = {record_id(damage.source, number) for number in damage.gone}
    changed = {record_id(damage.source, number) for number in damage.changed}
    damage.do(write_sound(tmp_path, damage.source))
    with patience():
        samples, lost = build_source_qa(tmp_path, damage.source)
    assert list(samples) == [one for one in before if one not in gone]
    assert all(samples[one] == before[one] for one in samples if one not in changed)
    assert {rejection.reason for rejection in lost} == ({damage.reason} if damage.reason else set())
    assert all(damage.place in f"{each.record_id} {each.detail}" for each in lost)
    if damage.size:
        assert {(samples[one].images[0].width, samples[one].images[0].height) for one in changed} == {damage.size}


@pytest.mark.parametrize(
    "damage",
    [
        as_parameter(one)
        for one in DAMAGES
        if one.name
        in {"80 MB on one line", "a nesting of 100,000", "a page of HTML in place of lines", "half a Parquet file"}
    ],
)
def test_what_is_told_of_a_monster_is_short(damage: Damage, tmp_path: Path) -> None:
    damage.do(write_sound(tmp_path, damage.source))
    _, lost = build_source_qa(tmp_path, damage.source)
    assert lost
    assert all(0 < len(each.detail) <= LONGEST_DETAIL for each in lost)


def test_what_is_told_of_an_endless_path_is_short(tmp_path: Path) -> None:
    (endless,) = (one for one in DAMAGES if one.name == "a name of 5,000 letters (llava_cot)")
    endless.do(write_sound(tmp_path, endless.source))
    _, lost = build_source_qa(tmp_path, endless.source)
    assert all(0 < len(each.detail) <= LONGEST_DETAIL for each in lost)


def test_a_program_that_is_named_like_an_image_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter, ran = tmp_path / "gs", tmp_path / "ran"
    interpreter.write_text(f"#!/bin/sh\ntouch {ran}\n", "utf-8")
    interpreter.chmod(0o755)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", str(interpreter))
    with pytest.raises(UnreadableImage, match="not an image"):
        examine(EPS)
    with pytest.raises(OSError, match="not an image"):
        read_rgb(EPS)
    assert not ran.exists()


def test_no_two_damages_are_the_same_and_there_are_enough_of_them() -> None:
    names = Counter(damage.name for damage in DAMAGES)
    assert max(names.values()) == 1
    assert len(names) >= 40
