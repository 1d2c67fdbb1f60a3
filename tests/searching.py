"""The search as tests ask it: short pauses, a ledger in the test's own folder."""

from pathlib import Path

from mmat_dagster.tools import Passage
from resources.google_search import GoogleSearch
from tests.google_server import ENGINE

KEY = "AIzaSyZq7vNeverTell0123456789abcdefghi"


def make_search(url: str, folder: Path, **fields: object) -> GoogleSearch:
    """Return the search behind the server at `url`, with its ledger in `folder` and short pauses."""
    usual = {
        "api_key": KEY,
        "engine_id": ENGINE,
        "endpoint": url,
        "ledger": str(folder / "ledger.sqlite"),
        "queries_per_minute": None,
        "max_retries": 0,
        "backoff_s": 0.001,
    }
    return GoogleSearch.model_validate({**usual, **fields})


async def search(engine: GoogleSearch, query: str = "judo", top_k: int = 3, question: str = "") -> tuple[Passage, ...]:
    """Search once, in a session of its own."""
    async with engine.session("tests"):
        return await engine.search(query, top_k, question)
