"""Boxes on images, from what operators told and sources marked."""

from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.operators.findings import Face, Thing, faces_sight, things_sight
from mmat_dagster.operators.observation import by_image
from mmat_dagster.schema import ImageRef, Observation, Step, Turn
from mmat_dagster.viewer.shapes import Shape, shapes_of
from tests.builders import make_sample
from tests.viewed_stores import dialogue_of, make_dialogue

IMAGE = ImageRef(home="store", path="images/a.png", sha256="a" * 64, width=200, height=100)
END = Turn(step=Step(thought="So it is.", signal="end"))
shares = st.floats(0, 1).map(lambda share: round(share, 2))


def seen(tool: str, text: str, images: int = 1) -> list[list[Shape]]:
    """Return the boxes of a dialogue in which `tool` told `text`."""
    look = Turn(
        step=Step(thought="I look.", operators=(tool,), signal="continue"),
        observations=(Observation(tool=tool, text=text),),
    )
    sample = make_sample(images=(IMAGE,) * images)
    return [list(each) for each in shapes_of(dialogue_of(sample, (look, END)))]


def corners(shape: Shape) -> tuple[float, ...]:
    """Return a box as operators tell it."""
    return (shape.x, shape.y, shape.x + shape.width, shape.y + shape.height)


def test_shares_become_pixels_of_the_image() -> None:
    ((dog, other),) = seen("label_bbox", '{"a dog": [[0.1, 0.25, 0.5, 0.75], [0.9, 0.9, 1.0, 1.0]]}')
    assert (dog.label, dog.turn, corners(dog)) == ("a dog", 1, (20.0, 25.0, 100.0, 75.0))
    assert corners(other) == (180.0, 90.0, 200.0, 100.0)


def test_faces_are_in_pixels_already_and_are_numbered() -> None:
    (faces,) = seen("face_detection", "2 faces: [12, 30, 64, 98], [140, 22, 199, 97]")
    assert [(face.label, corners(face)) for face in faces] == [
        ("face 1", (12.0, 30.0, 64.0, 98.0)),
        ("face 2", (140.0, 22.0, 199.0, 97.0)),
    ]


def test_each_image_gets_its_own_boxes() -> None:
    told = by_image(['{"a": [[0, 0, 0.5, 0.5]]}', "no such thing found", '{"b": [[0, 0, 1, 1]]}'])
    first, second, third = seen("label_bbox", told, images=3)
    assert ([each.label for each in first], second, [each.label for each in third]) == (["a"], [], ["b"])


def test_what_is_told_of_every_image_is_drawn_on_all() -> None:
    assert [len(each) for each in seen("label_bbox", by_image(['{"a": [[0, 0, 1, 1]]}'] * 2), images=2)] == [1, 1]


def test_marked_boxes_are_told_apart_from_observed_ones() -> None:
    (shapes,) = shapes_of(make_dialogue(1, IMAGE))
    assert [each.kind for each in shapes] == ["annotation", *["label_bbox"] * 2, *["face_detection"] * 2]


@given(st.lists(st.tuples(shares, shares, shares, shares), max_size=5))
def test_what_label_bbox_tells_is_read_back(boxes: list[tuple[float, float, float, float]]) -> None:
    ordered = [(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)) for x1, y1, x2, y2 in boxes]
    told = things_sight([Thing(phrase="it", box=box) for box in ordered], ["it"]).text
    found = {corners(shape) for shape in seen("label_bbox", told)[0]}
    sized = {(x1, y1, x2, y2) for x1, y1, x2, y2 in ordered if x2 > x1 or y2 > y1}
    expected = {(x1 * 200, y1 * 100, x2 * 200, y2 * 100) for x1, y1, x2, y2 in sized}
    assert {tuple(round(edge, 6) for edge in box) for box in found} == {
        tuple(round(edge, 6) for edge in box) for box in expected
    }


@given(st.lists(st.tuples(*[st.integers(0, 99)] * 4), max_size=5))
def test_what_face_detection_tells_is_read_back(boxes: list[tuple[int, int, int, int]]) -> None:
    ordered = [(min(x1, x2), min(y1, y2), max(x1, x2) + 1, max(y1, y2) + 1) for x1, y1, x2, y2 in boxes]
    told = faces_sight([Face(box=box, confidence=0.9) for box in ordered]).text
    assert sorted(map(corners, seen("face_detection", told)[0])) == sorted(tuple(map(float, box)) for box in ordered)


@given(
    st.one_of(
        st.text(st.characters(codec="utf-8", exclude_characters="\n<>"), max_size=60),
        st.recursive(
            st.none() | st.floats() | st.text("ab", max_size=3),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
        ).map(lambda value: f"{value}".replace("'", '"').replace("None", "null")),
        st.sampled_from(["{" * 5000, "image 99999999999999999999: {}", '{"a": [[NaN, 0, 1e999, 1]]}', "[" * 100_000]),
    )
)
def test_whatever_an_operator_told_harms_nothing(text: str) -> None:
    for shapes in seen("label_bbox", text or "nothing", images=2):
        assert all(shape.x >= 0 and shape.x + shape.width <= IMAGE.width for shape in shapes)
