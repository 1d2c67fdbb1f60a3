"""What a dataset says is shown on a Markdown page as it is: no mark of the language does what it says."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster import markdown

MARKS = "\\`*_[]<>&|~#"
TEXT = st.text(alphabet=st.sampled_from(MARKS + "!-+=.:1) \t\nahtpsw/@"), max_size=60)


def shown(text: str) -> str:
    """Return what a page shows of escaped `text`: the rule of CommonMark for backslashes, invisible marks left out."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text).replace("\u2060", "")


@given(TEXT)
def test_a_cell_shows_its_text_in_one_line(text: str) -> None:
    assert shown(markdown.cell(text)) == " ".join(text.split())


@given(TEXT)
def test_no_mark_stands_without_its_backslash(text: str) -> None:
    for written in (markdown.cell(text), markdown.literal(text).replace("\\\n", "")):
        assert re.search(rf"(?<!\\)(?:\\\\)*[{re.escape(MARKS.replace(chr(92), ''))}]", written) is None


@given(TEXT)
def test_no_line_of_a_paragraph_begins_anything_else(text: str) -> None:
    for line in markdown.literal(text).split("\n"):
        assert re.match(r"[-+=:>#|`~ \t]|\d+[.)](\s|$)", line) is None


@given(TEXT)
def test_a_paragraph_never_ends_within_its_text(text: str) -> None:
    assert "\n\n" not in markdown.literal(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("<script>alert(1)</script>", r"\<script\>alert(1)\</script\>"),
        ("![x](http://127.0.0.1/x.png)", "!\\[x\\](http\u2060://127.0.0.1/x.png)"),
        ("a | b", r"a \| b"),
        ("```\nrm\n```", "\\`\\`\\`\\\nrm\\\n\\`\\`\\`"),
        ("&lt;", r"\&lt;"),
        ("one\n\n    two", "one\\\n\\\n\u00a0\u00a0\u00a0\u00a0two"),
        ("a\n1. b\n- c\n---", "a\\\n1\\. b\\\n\\- c\\\n\\---"),
        ("$30.05 + $2.70 = $32.75", "$30.05 + $2.70 = $32.75"),
        ("ask@example.org", "ask@\u2060example.org"),
    ],
)
def test_text_is_escaped_as_little_as_it_needs(text: str, written: str) -> None:
    assert markdown.literal(text) == written


def test_a_name_cannot_break_out_of_its_row_or_its_picture() -> None:
    assert "| leak: a \\| b \\| c | 1 |" in markdown.count_table("what", {"leak: a | b\n| c": 1})
    assert markdown.picture("x](http://y) ![", b"\x00", "png").startswith("![x\\](http\u2060://y) !\\[](data:image/png")
