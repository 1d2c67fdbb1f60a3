"""Every part of every source has its terms, and what may be used commercially has its publisher's word for it."""

from pathlib import Path

import pytest

from mmat_dagster import corpus
from mmat_dagster.licences import DEFAULTS, PARTS, licence_of
from mmat_dagster.schema import SourceName, SourceRecord
from mmat_dagster.sources import READERS
from mmat_dagster.sources.infoseek import FILES
from mmat_dagster.sources.tabmwp import SPLITS
from mmat_dagster.sources.the_cauldron import READER

LICENCES = [(source, part, licence) for source, parts in PARTS.items() for part, licence in parts.items()]
# The folders of the two publishers whose parts are named by what they hold, not by the reader.
VISUAL_COT = "cub docvqa dude flickr30k gqa infographicsvqa openimages sroie textcap textvqa v7w visual7w vsr".split()
LLAVA_COT = "coco sqa chartqa geoqa+ clevr_v1.0 ai2d docvqa pisc".split()


def test_every_part_of_every_source_has_an_entry() -> None:
    assert set(PARTS) == set(DEFAULTS) == set(READERS)
    assert set(VISUAL_COT) <= set(PARTS["visual_cot"])
    assert set(LLAVA_COT) <= set(PARTS["llava_cot"])
    assert set(PARTS["the_cauldron"]) == {pattern.partition("/")[0] for pattern in READER.expects}
    assert set(PARTS["tabmwp"]) == set(SPLITS)
    assert set(PARTS["infoseek"]) == {name.removeprefix("infoseek_").removesuffix(".jsonl") for name in FILES}


@pytest.mark.parametrize("source", READERS)
def test_every_part_that_a_reader_names_in_the_sample_corpus_has_an_entry(source: SourceName, tmp_path: Path) -> None:
    corpus.write_corpus(tmp_path, records=20, sources=[source])
    parts = {record.part for record in READERS[source].read(tmp_path / source) if isinstance(record, SourceRecord)}
    assert parts
    assert parts <= set(PARTS[source])


def test_every_licence_has_a_name_and_its_evidence_is_an_address() -> None:
    for source, part, licence in LICENCES:
        assert licence.name.strip(), f"{source}/{part}"
        assert not licence.evidence or licence.evidence.startswith("https://"), f"{source}/{part}"


def test_what_may_be_used_commercially_has_its_publishers_word_for_it() -> None:
    assert not [f"{source}/{part}" for source, part, each in LICENCES if each.is_commercial and not each.evidence]


def test_no_name_that_forbids_commerce_is_counted_as_commercial() -> None:
    assert not [f"{source}/{part}" for source, part, each in LICENCES if each.is_commercial and "NC" in each.name]


def test_tables_and_school_science_may_not_be_used_commercially() -> None:
    assert not licence_of("tabmwp", "train").is_commercial
    assert not licence_of("llava_cot", "sqa").is_commercial


def test_an_unknown_part_falls_back_to_its_source_and_is_not_commercial() -> None:
    for source in READERS:
        assert licence_of(source, "a folder of tomorrow") == DEFAULTS[source]
        assert not DEFAULTS[source].is_commercial
