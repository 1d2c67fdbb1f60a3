"""An index that is kept is built once, found again under what it was built from, and never seen half."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmat_dagster.tools import CorpusError, Passage
from resources.search import BM25Retriever, BM25Search

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ("A swan swims.", "A heron fishes.", "A swan and a heron meet.")

# Builds an index as a run does, and is killed by itself in the middle.
KILLED = """
import os, signal, sys
from pathlib import Path
import resources.search
from resources.search import BM25Retriever

def dying(corpus, read=resources.search.read_passages):
    for number, found in enumerate(read(corpus)):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield found

resources.search.read_passages = dying
BM25Retriever(Path(sys.argv[1]), cache=Path(sys.argv[2]))._search("swan", 3)
"""
BUILDS = """
import asyncio, sys
from pathlib import Path
from resources.search import BM25Retriever

found = asyncio.run(BM25Retriever(Path(sys.argv[1]), cache=Path(sys.argv[2])).search("swan", 3))
print([passage.id for passage in found])
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(TEXTS)))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "indexes"


def search(corpus: Path, cache: Path | None) -> tuple[Passage, ...]:
    engine = BM25Search(corpus=str(corpus), cache=str(cache) if cache else None)
    return asyncio.run(engine.over(None).search("swan", 3))


def files(cache: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_a_kept_index_finds_the_same_and_is_built_once(corpus: Path, cache: Path) -> None:
    unkept = search(corpus, None)
    assert search(corpus, cache) == unkept
    written = files(cache)
    assert written
    again = search(corpus, cache)
    assert [(passage, passage.score) for passage in again] == [(passage, passage.score) for passage in unkept]
    assert files(cache) == written


def test_copies_share_an_index_and_another_corpus_has_its_own(corpus: Path, cache: Path, tmp_path: Path) -> None:
    copy, other = tmp_path / "copy.jsonl", tmp_path / "other.jsonl"
    copy.write_bytes(corpus.read_bytes())
    other.write_text('{"id": "x", "text": "Another swan."}')
    assert search(copy, cache) == search(corpus, cache)
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1
    assert [passage.id for passage in search(other, cache)] == ["x"]
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 2


def test_a_killed_build_leaves_nothing_that_is_taken_for_an_index(corpus: Path, cache: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, corpus, cache], cwd=ROOT, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert [path.suffix for path in cache.iterdir() if path.is_dir()] == [".part"]
    assert [passage.id for passage in search(corpus, cache)] == ["0", "2"]
    assert [path.suffix for path in cache.iterdir() if path.is_dir()] == [""]


def test_processes_that_build_at_once_agree_and_build_one(corpus: Path, cache: Path) -> None:
    order = [sys.executable, "-c", BUILDS, str(corpus), str(cache)]
    both = [subprocess.Popen(order, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[0] for process in both] == ["['0', '2']\n"] * 2
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_an_index_of_a_corpus_that_changed_meanwhile_is_not_kept(corpus: Path, cache: Path) -> None:
    over = BM25Retriever(corpus, cache=cache)
    assert over.version
    corpus.write_text('{"id": "x", "text": "Another swan."}')
    with pytest.raises(CorpusError, match="has changed since it was first read"):
        asyncio.run(over.search("swan", 3))
    assert not [path for path in cache.iterdir() if path.is_dir() and path.suffix != ".part"]


def test_a_cache_that_cannot_be_used_is_complained_of(corpus: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match=r"the index of .*corpus\.jsonl cannot be kept in .*file: "):
        search(corpus, tmp_path / "file")
    search(corpus, cache)
    next(cache.rglob("meta.json")).write_text("{")
    with pytest.raises(CorpusError, match=r"cannot be kept in .*indexes: \w+ is damaged, remove it"):
        search(corpus, cache)
