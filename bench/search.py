"""Engines for RAG offline, side by side: what they find, what they cost.

    python -m bench.search [PASSAGES]        default 300000; 0: only XQuAD

Every engine gets the same words (those of resources/bm25.py), so that only the engines differ, and works in a process
of its own. "project" is the resource itself: it reads and tells passages as in a run; "project, kept" opens
the index that it has kept. An engine that is not installed is named and passed over.
XQuAD's 1,190 questions look for their paragraph among 240; the generated passages have 80 words, as frequent as in a
language (Zipf), and each of 200 queries is 8 words in a row of one of them.
"""

import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parents[1]
XQUAD = ROOT.parent / "shared" / "data" / "operators" / "rag" / "xquad" / "xquad.en.json"
TOP_K = 10
PASSAGE_WORDS, VOCABULARY, QUERIES, QUERY_WORDS = 80, 200_000, 200, 8
ROW = "{:<18} {:>9} {:>7} {:>11} {:>14} {:>9} {:>8}"

Search: TypeAlias = Callable[[str], list[str]]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one engine found and took; seconds are of the CPU."""

    recall_3: float
    mrr_10: float
    index_s: float
    queries_per_s: float
    peak_mb: float
    disk_mb: float


def open_project(corpus: Path, folder: Path) -> Search:  # noqa: ARG001
    """The resource, as a run uses it, without a kept index."""
    return _project(corpus, None)


def open_kept(corpus: Path, folder: Path) -> Search:
    """The resource with an index that is kept: the first process builds it, the second is measured."""
    return _project(corpus, folder)


def open_bm25s(corpus: Path, folder: Path) -> Search:  # noqa: ARG001
    """bm25s by its own interface."""
    import bm25s  # noqa: PLC0415

    from resources.bm25 import words_of  # noqa: PLC0415

    ids, texts = zip(*_passages(corpus), strict=True)
    index = bm25s.BM25(k1=1.2, b=0.75)
    index.index([words_of(text) for text in texts], show_progress=False)

    def search(query: str) -> list[str]:
        words = [word for word in words_of(query) if word in index.vocab_dict]
        if not words:
            return []
        found, _ = index.retrieve([words], k=min(TOP_K, len(ids)), show_progress=False, n_threads=0)
        return [ids[number] for number in found[0]]

    return search


def open_tantivy(corpus: Path, folder: Path) -> Search:
    """tantivy by its own interface, its index mapped from a folder."""
    import tantivy  # noqa: PLC0415

    from resources.bm25 import words_of  # noqa: PLC0415

    fields = tantivy.SchemaBuilder()
    fields.add_text_field("words", stored=False, tokenizer_name="whitespace", index_option="freq")
    fields.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    schema = fields.build()
    index = tantivy.Index(schema, path=str(folder))
    writer = index.writer(heap_size=100_000_000, num_threads=1)
    for key, text in _passages(corpus):
        writer.add_document(tantivy.Document(words=" ".join(words_of(text)), id=key))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def search(query: str) -> list[str]:
        terms = [tantivy.Query.term_query(schema, "words", word) for word in words_of(query)]
        wanted = tantivy.Query.boolean_query([(tantivy.Occur.Should, term) for term in terms])
        return [searcher.doc(at)["id"][0] for _, at in searcher.search(wanted, TOP_K, count=False).hits]

    return search


def open_duckdb(corpus: Path, folder: Path) -> Search:
    """DuckDB's extension fts, which it downloads when it is first asked for."""
    import duckdb  # noqa: PLC0415

    from resources.bm25 import words_of  # noqa: PLC0415

    base = duckdb.connect(str(folder / "words.duckdb"), config={"threads": 1})
    base.execute("INSTALL fts; LOAD fts; CREATE TABLE passages (id VARCHAR, words VARCHAR)")
    rows = [(key, " ".join(words_of(text))) for key, text in _passages(corpus)]
    base.executemany("INSERT INTO passages VALUES (?, ?)", rows)
    base.execute("PRAGMA create_fts_index('passages', 'id', 'words', stemmer='none', stopwords='none')")
    ask = "SELECT id, fts_main_passages.match_bm25(id, ?) AS s FROM passages WHERE s > 0 ORDER BY s DESC, rowid LIMIT ?"
    return lambda query: [row[0] for row in base.execute(ask, [" ".join(words_of(query)), TOP_K]).fetchall()]


def open_sqlite(corpus: Path, folder: Path) -> Search:
    """SQLite's FTS5, which comes with Python."""
    import sqlite3  # noqa: PLC0415

    from resources.bm25 import words_of  # noqa: PLC0415

    base = sqlite3.connect(folder / "words.sqlite")
    base.execute("CREATE VIRTUAL TABLE passages USING fts5(id UNINDEXED, words, detail=none)")
    rows = ((key, " ".join(words_of(text))) for key, text in _passages(corpus))
    base.executemany("INSERT INTO passages VALUES (?, ?)", rows)
    base.commit()

    def search(query: str) -> list[str]:
        wanted = " OR ".join(f'"{word}"' for word in words_of(query))
        ask = "SELECT id FROM passages WHERE passages MATCH ? ORDER BY bm25(passages), rowid LIMIT ?"
        return [row[0] for row in base.execute(ask, (wanted, TOP_K))] if wanted else []

    return search


ENGINES: dict[str, Callable[[Path, Path], Search]] = {
    "project": open_project,
    "project, kept": open_kept,
    "bm25s": open_bm25s,
    "tantivy": open_tantivy,
    "duckdb fts": open_duckdb,
    "sqlite fts5": open_sqlite,
}


def _project(corpus: Path, cache: Path | None) -> Search:
    from resources.search import BM25Search  # noqa: PLC0415

    over = BM25Search(corpus=str(corpus), cache=str(cache) if cache else None).over(None)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(over.search("open", 1))
    return lambda query: [passage.id for passage in loop.run_until_complete(over.search(query, TOP_K))]


def _passages(corpus: Path) -> Iterator[tuple[str, str]]:
    with corpus.open("rb") as lines:
        for line in lines:
            passage = json.loads(line)
            yield passage["id"], f"{passage.get('title', '')} {passage['text']}"


def write_xquad(folder: Path) -> tuple[Path, Path]:
    """Write XQuAD's paragraphs and questions; a question's answer is its paragraph's id."""
    pages = json.loads(XQUAD.read_text("utf-8"))["data"]
    paragraphs = [(page["title"], item) for page in pages for item in page["paragraphs"]]
    passages = (
        {"id": str(number), "title": title.replace("_", " "), "text": item["context"]}
        for number, (title, item) in enumerate(paragraphs)
    )
    queries = (
        {"text": asked["question"], "answer": str(number)}
        for number, (_, item) in enumerate(paragraphs)
        for asked in item["qas"]
    )
    return _write(folder / "xquad.jsonl", passages), _write(folder / "questions.jsonl", queries)


def write_generated(folder: Path, count: int) -> tuple[Path, Path]:
    """Write `count` passages of invented words, and queries from some of them."""
    rng = random.Random(7)
    words = [_word(number) for number in range(VOCABULARY)]
    weights = list(accumulate(1 / (rank + 3) for rank in range(VOCABULARY)))
    asked = set(rng.sample(range(count), min(QUERIES, count)))
    queries: list[dict[str, str]] = []

    def passages() -> Iterator[dict[str, str]]:
        for number in range(count):
            text = rng.choices(words, cum_weights=weights, k=PASSAGE_WORDS)
            if number in asked:
                queries.append({"text": " ".join(text[20 : 20 + QUERY_WORDS]), "answer": str(number)})
            yield {"id": str(number), "title": "", "text": " ".join(text)}

    return _write(folder / "generated.jsonl", passages()), _write(folder / "queries.jsonl", queries)


def _word(number: int) -> str:
    """Return an invented word that no stemmer changes much: syllables that spell a number."""
    syllables = []
    while True:
        number, rest = divmod(number, 80)
        syllables.append("bdfgklmnprtvzjqw"[rest // 5] + "aiouy"[rest % 5])
        if not number:
            return "".join(syllables) + "x"


def _write(path: Path, items: Any) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(item) + "\n" for item in items)
    return path


def measure(engine: str, corpus: Path, queries: Path, folder: Path) -> Result:
    """Index `corpus` and answer `queries`, in this process."""
    begun = time.process_time()
    search = ENGINES[engine](corpus, folder)
    index_s = time.process_time() - begun
    asked = [json.loads(line) for line in queries.read_text("utf-8").splitlines()]
    search(asked[0]["text"])
    begun = time.process_time()
    ranks = [_rank(search(query["text"]), query["answer"]) for query in asked]
    spent = time.process_time() - begun
    return Result(
        recall_3=sum(0 < rank <= 3 for rank in ranks) / len(ranks),
        mrr_10=sum(1 / rank for rank in ranks if rank) / len(ranks),
        index_s=index_s,
        queries_per_s=len(asked) / spent,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        disk_mb=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6,
    )


def _rank(found: list[str], answer: str) -> int:
    return found.index(answer) + 1 if answer in found else 0


def run_alone(engine: str, corpus: Path, queries: Path) -> Result | str:
    """Measure an engine in a process of its own; return why where it cannot work."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as folder:
        order = [sys.executable, "-m", "bench.search", "--alone", engine, str(corpus), str(queries), folder]
        for _ in range(2 if "kept" in engine else 1):
            done = subprocess.run(  # noqa: S603
                order, cwd=ROOT, env=os.environ | threads, capture_output=True, text=True, check=False
            )
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if "Error" in line] or [f"ended with {done.returncode}"]
        return complaints[-1][:120]
    return Result(**json.loads(done.stdout))


def compare(title: str, corpus: Path, queries: Path) -> None:
    """Print one table."""
    print(f"\n{title}")
    print(ROW.format("engine", "recall@3", "MRR@10", "index CPU-s", "queries/CPU-s", "peak MB", "disk MB"))
    for engine in ENGINES:
        result = run_alone(engine, corpus, queries)
        if isinstance(result, str):
            print(f"{engine:<18} passed over: {result}")
            continue
        found, cost = (f"{result.recall_3:.4f}", f"{result.mrr_10:.4f}"), (result.peak_mb, result.disk_mb)
        spent = (f"{result.index_s:.2f}", f"{result.queries_per_s:.0f}")
        print(ROW.format(engine, *found, *spent, *(f"{each:.0f}" for each in cost)), flush=True)


def main() -> None:
    """Print both tables."""
    if sys.argv[1:2] == ["--alone"]:
        engine, *paths = sys.argv[2:]
        print(json.dumps(asdict(measure(engine, *map(Path, paths)))))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    with tempfile.TemporaryDirectory() as folder:
        if XQUAD.is_file():
            compare("XQuAD: 240 paragraphs, 1,190 questions", *write_xquad(Path(folder)))
        if count:
            compare(f"generated: {count:,} passages, {QUERIES} queries", *write_generated(Path(folder), count))


if __name__ == "__main__":
    main()
