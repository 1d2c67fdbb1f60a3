r"""Numbers in LaTeX: the values are those of latex2sympy2 1.9.1, whose quirks are the rule."""

import pytest

from mmat_dagster.scoring.latex_numbers import read_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("-8.50", -8.5),
        (".5", 0.5),
        ("1,000,000.5", 1000000.5),
        (r"$5 \sqrt{3}$", 8.66),
        (r"\frac{\sqrt{130}}{13}", 0.88),
        (r"24+4\pi", 36.57),
        (r"\frac{3}{4}\pi", 2.36),
        ("1:2", 0.5),
        ("7/3", 2.33),
        (r"\sqrt[3]{27}", 3),
        (r"\frac{3^{1008}-1}{3^{1009}}", 0.33),
        (r"2\left(\sqrt{2}-1\right)", 0.83),
        (r"10\%", 0.1),
        ("3!", 6),
        ("--5", 5),
        ("[5]", 5),
    ],
)
def test_a_number_has_its_value(text: str, value: float) -> None:
    found = read_number(text)
    assert found is not None
    assert round(found, 2) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"1\frac{1}{2}", 0.5),
        ("2^2^3", 64),
        (r"1/2\pi", 0.16),
        ("-2^2", -4),
        ("2 3", 6),
        ("25)", 25),
        ("2 triangles", 2),
        (r"625 \rightarrow 626 \rightarrow 627", 625),
        ("3_2", 3),
        (r"\sin(1)2", 1.68),
        (r"\tan(1)/2", 0.78),
    ],
)
def test_the_quirks_of_the_publishers_parser_are_kept(text: str, value: float) -> None:
    found = read_number(text)
    assert found is not None
    assert round(found, 2) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "five",
        "5cm",
        "25%",
        r"$10 \%$",
        r"60^{\circ}",
        r"\frac12",
        r"\sqrt3",
        "x=5",
        r"\infty",
        "(1,2)",
        "1e5",
        "3√2",
        "5-",
        "1/0",
        r"\sqrt{-1}",
        "(-8)^{1/3}",
        r"13\)",
        r"\frac{1}{2",
        "٣",
    ],
)
def test_what_is_no_number_there_is_none_here(text: str) -> None:
    assert read_number(text) is None


@pytest.mark.parametrize(
    "text",
    ["9^9^9^9^9", "9^{9^{9^{9}}}", "9!!!", "(" * 1000, r"\frac{" * 200, "-" * 100_000, "7" * 100_000, "2^{99999}" * 9],
)
def test_numbers_beyond_measure_have_no_value(text: str) -> None:
    assert read_number(text) is None
