"""Entries of JSON objects and arrays: the same wherever the file is cut, and whichever way its seams are found."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmat_dagster.sources import scanning
from mmat_dagster.sources.json_files import Broken, decoder, parse, read_entries


@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 18])
def test_entries_are_the_same_however_the_file_is_cut_into_pieces(
    piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "PIECE", piece)
    values = [{"a": 'ünï "{[,:]}" \\'}, [1, [2]], "text", 12.5, -3, True, None, {}]
    path = tmp_path / "file.json"
    path.write_text("\ufeff" + json.dumps(values, ensure_ascii=False, indent=3), encoding="utf-8", newline="\r\n")
    assert [found for _, _, found in read_entries(path, object)] == values
    path.write_text(json.dumps(dict(zip("abcdefgh", values, strict=True))), encoding="utf-8")
    assert [(key, found) for _, key, found in read_entries(path, object)] == list(zip("abcdefgh", values, strict=True))


BREAKS = st.sampled_from(
    [
        b"",
        b"}",
        b"{",
        b'"',
        b"\\",
        b",",
        b", ",
        b":",
        b"[",
        b"\n",
        b"\xff",
        b"\x01",
        b'}, "k": {',
        b"null",
        b"NaN",
        b"1e999",
        b"#",
    ]
)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(
        st.dictionaries(st.text('ak\\"é}{,:', max_size=3), st.text('a}", k:{\\é', max_size=12) | st.just({"x": {}}))
        | st.sampled_from(["}", 1, None, []]),
        max_size=6,
    ),
    indent=st.sampled_from([None, 0, 2]),
    damage=st.tuples(st.integers(0, 200), BREAKS, st.integers(0, 6)),
    piece=st.sampled_from([1, 20, 1 << 18]),
)
def test_an_object_cut_at_its_seams_gives_what_the_scanner_gives(
    values: list[Any], indent: int | None, damage: tuple[int, bytes, int], piece: int, tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    members = {f"{'é' if number == 4 else 'k'}{number}": value for number, value in enumerate(values)}
    whole = json.dumps(members, indent=indent, ensure_ascii=False).encode()
    at, junk, cut = damage
    path.write_bytes(whole[:at] + junk + whole[at + cut :])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "PIECE", piece)
        cut_at_seams = list(read_entries(path, dict))
    decode = decoder(dict)
    scanned = [(raw.number, raw.key, parse(raw.text, decode, raw.where)) for raw in scanning.scan(path)]
    assert cut_at_seams == scanned


def test_an_entry_beyond_the_longest_is_a_broken_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "PIECE", 16)
    monkeypatch.setattr(scanning, "LONGEST", 64)
    path = tmp_path / "file.json"
    path.write_text(json.dumps([[1], ["x" * 500], [2]]), encoding="utf-8")
    (_, _, first), (_, _, second) = read_entries(path, object)
    assert first == [1]
    assert isinstance(second, Broken)
    assert second.where == "file.json: broken from entry 2 on"
