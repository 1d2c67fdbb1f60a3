"""Whatever form a server quotes a key in, it is not told."""

import base64
import html
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resources.redaction import MARK, Secret

ODD = "sk-a/b+c=\"d\\e&f'<g> %h"
KEYS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=8, max_size=60).map(str.strip)
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "json": json.dumps,
    "json of PHP": lambda key: json.dumps(key).replace("/", "\\/"),
    "json in json": lambda key: json.dumps(json.dumps({"key": key})),
    "url": lambda key: f"https://b.org/?key={quote(key, safe='')}&x",
    "url in small letters": lambda key: re.sub("%..", lambda escape: escape[0].lower(), quote(key, safe="")),
    "path": quote,
    "url in a url": lambda key: quote(quote(key, safe=""), safe=""),
    "json in a url": lambda key: quote(json.dumps(key)),
    "form": quote_plus,
    "html": lambda key: f"<p>{html.escape(key)}</p>",
    "json in escapes": lambda key: '"' + "".join(f"\\u{ord(each):04X}" for each in key) + '"',
    "html in numbers": lambda key: "".join(f"&#{ord(each)};" for each in key),
    "html text": lambda key: f"<p>{html.escape(key, quote=False)}</p>",
}


@given(form=st.sampled_from(sorted(FORMS)), key=KEYS.filter(lambda key: len(key) >= 8))
@example(form="json of PHP", key=ODD)
@example(form="json in json", key=ODD)
@example(form="url in small letters", key=ODD)
@example(form="html", key=ODD)
def test_a_secret_is_found_in_every_form(form: str, key: str) -> None:
    quoted = FORMS[form](key)
    for told in (Secret(key).cleared(f"so {quoted}!"), Secret(key).cleared_bytes(f"so {quoted}!".encode()).decode()):
        assert MARK in told
        assert key not in told


@pytest.mark.parametrize("before", ["", "B", "Be", "Bearer ", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_is_found_in_base64_wherever_it_stands(before: str, encode: Callable[[bytes], bytes]) -> None:
    encoded = encode(f"{before}{ODD}@host".encode()).decode()
    told = Secret(ODD).cleared(f"Authorization: Basic {encoded}")
    assert MARK in told
    rest = told.partition("Basic ")[2].replace(MARK, "")
    assert len(rest) <= len(encoded) - len(ODD)


def test_a_form_that_begins_like_another_one_leaves_no_rest() -> None:
    assert Secret(ODD).cleared(f"{json.dumps(ODD)} {quote(ODD)}") == f'"{MARK}" {MARK}'


@pytest.mark.parametrize("text", ["", "nothing of it", "*" * 10])
def test_what_holds_no_secret_stays_as_it_is(text: str) -> None:
    assert Secret(ODD).cleared(text) == Secret("").cleared(text) == text
    assert Secret(ODD).cleared_bytes(text.encode()) == text.encode()


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    assert Secret(ODD).cleared_bytes(b"\xff\xfe\x00" + ODD.encode() + b"\xff") == b"\xff\xfe\x00***\xff"


def test_a_secret_is_not_shown() -> None:
    assert ODD not in repr(Secret(ODD)) + str(Secret(ODD))
