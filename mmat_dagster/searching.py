"""The command search: queries over a corpus, told as a TREC run, and measured where there are judgements.

Queries are answered one after the other as they are read, so that their file takes no memory.
"""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import orjson
from pydantic import BaseModel, Field, ValidationError

from mmat_dagster.scoring.retrieval import Means, score_query
from mmat_dagster.scoring.trec import Qrels, TrecError, field, read_qrels, render_run
from mmat_dagster.tools import CorpusError
from resources.search import BM25Search

TAG = "bm25"
CUTOFFS = (1, 3, 5, 10, 100)


class Query(BaseModel):
    """One line of the queries; an id may be a number."""

    id: Annotated[str, Field(coerce_numbers_to_str=True)]
    text: str


class QueryError(Exception):
    """The queries are missing or not in their format."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What to search for, and where."""

    corpus: Path
    queries: Path
    top_k: int
    cache: Path | None = None


def print_run(search: Search, qrels: Path | None) -> int:
    """Print the run, and to standard error its measures if there are judgements; return the exit code."""
    try:
        judged = read_qrels(qrels) if qrels else {}
        means = asyncio.run(_print_run(search, judged))
        if qrels:
            _print_means(means, qrels)
    except (CorpusError, QueryError, TrecError) as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def read_queries(path: Path) -> Iterator[Query]:
    """Yield the queries of a file; raise QueryError where it holds none."""
    seen: set[str] = set()
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    query = _query(line, f"{path}, line {number}")
                    if query.id in seen:
                        raise QueryError(f"{path}, line {number}: the query {query.id} is there twice")
                    seen.add(query.id)
                    yield query
    except OSError as error:
        raise QueryError(f"{path} cannot be read: {error.strerror}") from error
    if not seen:
        raise QueryError(f"{path} holds no query")


async def _print_run(search: Search, judged: Qrels) -> Means:
    """Print the run; return the means over the queries that found something and that somebody judged."""
    engine = BM25Search(corpus=str(search.corpus), cache=str(search.cache) if search.cache else None).over(None)
    means = Means()
    for query in read_queries(search.queries):
        passages = await engine.search(query.text, search.top_k)
        sys.stdout.write(render_run(query.id, [(passage.id, passage.score) for passage in passages], TAG))
        if passages and query.id in judged:
            means.add(score_query([passage.id for passage in passages], judged[query.id], CUTOFFS))
    return means


def _print_means(means: Means, qrels: Path) -> None:
    if not means.queries:
        raise TrecError(f"{qrels} judges no query that found anything")
    print(f"{'num_q':<22}\tall\t{means.queries}", file=sys.stderr)
    for name, value in means.values.items():
        print(f"{name:<22}\tall\t{value:.4f}", file=sys.stderr)


def _query(line: bytes, where: str) -> Query:
    try:
        query = Query.model_validate(orjson.loads(line))
        field(query.id)
    except orjson.JSONDecodeError as error:
        raise QueryError(f"{where} is not a query: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
        raise QueryError(f"{where} is not a query: {told}") from error
    except TrecError as error:
        raise QueryError(f"{where}: {error}") from error
    return query
