"""Entries of JSON objects and arrays: the same wherever the file is cut, and whichever way its seams are found."""

import codecs
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmat_dagster.sources import scanning
from mmat_dagster.sources.json_files import Broken, RawRecord, decoder, parse, read_entries, read_lines


class Named(RawRecord, frozen=True):
    """A record whose own parts are no records."""

    name: str


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
    unbroken = [each for each in scanned if not str(each[2]).startswith("file.json: broken from")]
    assert cut_at_seams[: len(unbroken)] == unbroken
    assert len(unbroken) == len(scanned) or cut_at_seams[len(unbroken)][0] == scanned[-1][0]
    assert len(unbroken) < len(scanned) or cut_at_seams == scanned


def test_an_entry_beyond_the_longest_is_a_broken_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "PIECE", 16)
    monkeypatch.setattr(scanning, "LONGEST", 64)
    path = tmp_path / "file.json"
    path.write_text(json.dumps([[1], ["x" * 500], [2]]), encoding="utf-8")
    (_, _, first), (_, _, second) = read_entries(path, object)
    assert first == [1]
    assert isinstance(second, Broken)
    assert second.where == "file.json: broken from entry 2 on"


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("is_keyed", [True, False])
def test_reading_goes_on_behind_a_record_that_is_no_json(is_keyed: bool, mark: bytes, tmp_path: Path) -> None:
    records = [{"name": f"größe {number}", "boxes": [{"x": 1}, {"x": 2}]} for number in range(6)]
    texts = [json.dumps(record, ensure_ascii=False) for record in records]
    texts[1] = texts[1].replace('"boxes"', 'boxes"')
    texts[4] = texts[4][:-1] + "]"
    entries = [f'"k{number}": {text}' if is_keyed else text for number, text in enumerate(texts)]
    body = ",\n".join(entries)
    (tmp_path / "file.json").write_bytes(mark + (f"{{{body}}}" if is_keyed else f"[{body}]").encode())
    found = list(read_entries(tmp_path / "file.json", Named))
    assert [one.name for _, _, one in found if isinstance(one, Named)] == [f"größe {number}" for number in (0, 2, 3, 5)]
    assert [one.where.split(" to byte")[0] for _, _, one in found if isinstance(one, Broken)] == [
        "file.json: broken from entry 2",
        "file.json: broken from entry 5",
    ]
    assert [key for _, key, one in found if isinstance(one, Named)] == (
        ["k0", "k2", "k3", "k5"] if is_keyed else [""] * 4
    )


def test_a_file_without_a_line_is_told(tmp_path: Path) -> None:
    (tmp_path / "file.jsonl").write_bytes(b"\n \n")
    ((_, found),) = read_lines(tmp_path / "file.jsonl", Named)
    assert str(found) == "file.jsonl: the file holds no record"
