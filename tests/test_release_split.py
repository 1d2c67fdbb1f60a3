"""No image stands on both sides of a split, whichever dialogues show which together, and new data moves little."""

import hashlib
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.splits import ImageGroups, is_held_out

images = st.integers(0, 40).map(lambda number: hashlib.sha256(str(number).encode()).hexdigest())
dialogues = st.lists(st.lists(images, min_size=1, max_size=4, unique=True), max_size=30)
shares = st.floats(0, 1, exclude_max=True)


def tied(shown: list[list[str]]) -> ImageGroups:
    groups = ImageGroups()
    for keys in shown:
        groups.tie(keys)
    return groups


@given(dialogues, shares)
def test_all_images_of_a_dialogue_are_on_one_side(shown: list[list[str]], share: float) -> None:
    groups = tied(shown)
    for keys in shown:
        assert len({groups.is_held_out(key, share) for key in keys}) == 1


@given(dialogues, shares, st.randoms(use_true_random=False))
def test_the_order_of_the_dialogues_changes_nothing(shown: list[list[str]], share: float, random: Random) -> None:
    shuffled = list(shown)
    random.shuffle(shuffled)
    one, two = tied(shown), tied(shuffled)
    for key in {key for keys in shown for key in keys}:
        assert one.is_held_out(key, share) == two.is_held_out(key, share)


@given(dialogues, dialogues, shares)
def test_new_dialogues_move_no_image_but_those_that_they_tie_to_others(
    shown: list[list[str]], more: list[list[str]], share: float
) -> None:
    before, after = tied(shown), tied([*shown, *more])
    touched = {key for keys in more if len(keys) > 1 for key in keys}
    for keys in shown:
        group = {key for other in shown for key in other if _together(shown, keys[0], key)}
        if not group & touched:
            assert before.is_held_out(keys[0], share) == after.is_held_out(keys[0], share)


@given(st.lists(images, unique=True), shares)
def test_an_image_that_stands_alone_goes_where_an_export_puts_it(keys: list[str], share: float) -> None:
    groups = tied([[key] for key in keys])
    assert all(groups.is_held_out(key, share) == is_held_out(key, share) for key in keys)


def test_the_held_out_share_is_about_what_was_asked_for() -> None:
    groups = ImageGroups()
    keys = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(10_000)]
    assert 150 < sum(groups.is_held_out(key, 0.02) for key in keys) < 250


def _together(shown: list[list[str]], one: str, other: str) -> bool:
    reached, seen = {one}, set[str]()
    while reached - seen:
        key = (reached - seen).pop()
        seen.add(key)
        reached |= {each for keys in shown if key in keys for each in keys}
    return other in reached
