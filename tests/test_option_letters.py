"""The option that a response means, as each version of VLMEvalKit infers it."""

import pytest

from mmat_dagster.scoring.option_letters import RULES, infer_letter

DOGS = ("teddy bear", "rabbit", "cat", "dog")
LONG = "B is what I would choose here since the picture shows it quite well"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("A", "A"),
        ("(B)", "B"),
        ("**C**: yes", "C"),
        ("The answer is D.", "D"),
        ("D", "D"),
        ("a cute teddy bear", "A"),
        ("Z", "Z"),
        ("Cannot determine the answer", "Z"),
        ("I'm sorry, but without the image provided I can't", "Z"),
        ("A or B", None),
        ("cat and dog", None),
        ("b", None),
        ("E", None),
        ("AB", None),
        ("", None),
        ("Failed to obtain answer via API.", None),
    ],
)
def test_short_responses_mean_the_same_to_all_versions(response: str, letter: str | None, rule: str) -> None:
    assert infer_letter(response, DOGS, rule) == letter


@pytest.mark.parametrize(
    ("response", "letters"),
    [
        (LONG, ("B", None, None)),
        ("The correct answer is **B**, as the picture shows it quite well", ("B", None, "B")),
        ("I see a rabbit " + "and nothing else at all " * 5, ("B", None, None)),
    ],
)
def test_the_versions_differ_in_long_responses(response: str, letters: tuple[str | None, ...]) -> None:
    assert tuple(infer_letter(response, DOGS, rule) for rule in RULES) == letters


def test_an_option_that_tables_take_for_no_value_has_no_text() -> None:
    assert infer_letter("none of them", ("cat", "None")) is None
    assert infer_letter("B", ("cat", "None")) == "B"
