"""From a query to what is sent for it: the parameters of one page of results, and the key that they are kept under.

q=who built it -site:a.org -site:b.org  cx=..  num=10  start=1  safe=active  lr=lang_en  hl=en  gl=..
siteSearch=c.org  siteSearchFilter=i    where it is one site; several are terms of the query: (site:c.org OR site:d.org)
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from mmat_dagster.operators.observation import one_line

# The API's own bounds: results of one request, the last start of a page, and characters of a query.
PAGE = 10
LAST_START = 91
MAX_QUERY_CHARS = 2048
# So much is left for the query itself, however many sites are named.
LEAST_QUERY_CHARS = 1024
# What is read of an answer; the rest (page maps, thumbnails) is four fifths of it, and would fill the ledger.
FIELDS = (
    "kind,queries(nextPage(startIndex)),searchInformation(totalResults),"
    "items(title,htmlTitle,link,displayLink,snippet,htmlSnippet)"
)
# Answered at once by every engine that answers at all.
PROBE = "encyclopedia"


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Where is searched: the search engine (`cx`), and what narrows it."""

    engine_id: str
    safe: str
    sites: tuple[str, ...] = ()
    not_sites: tuple[str, ...] = ()
    country: str | None = None

    def parameters(self, query: str, language: str | None, start: int = 1) -> dict[str, str]:
        """Return what asks for the page of results that begins with number `start`; everything but the API key."""
        one_site, terms = self._narrowing()
        room = MAX_QUERY_CHARS - len(terms)
        parameters = {
            "q": f"{cut_at_word(one_line(query, MAX_QUERY_CHARS * 2), room)}{terms}",
            "cx": self.engine_id,
            "num": str(PAGE),
            "start": str(start),
            "safe": self.safe,
            "fields": FIELDS,
            **one_site,
        }
        if language is not None:
            parameters |= {"lr": f"lang_{language}", "hl": language}
        return parameters | ({"gl": self.country} if self.country else {})

    @property
    def room(self) -> int:
        """How many characters a query may have."""
        return MAX_QUERY_CHARS - len(self._narrowing()[1])

    def holds(self, link: str) -> bool:
        """Say whether `link` is where is searched: terms of a query are a wish, this is sure."""
        if self.sites and not any(lies_on(link, site) for site in self.sites):
            return False
        return not any(lies_on(link, site) for site in self.not_sites)

    def _narrowing(self) -> tuple[dict[str, str], str]:
        """Return the parameters and the terms that narrow a query to sites; the API takes one site as a parameter."""
        if len(self.sites) == 1:
            return {"siteSearch": self.sites[0], "siteSearchFilter": "i"}, _without(self.not_sites)
        if len(self.not_sites) == 1 and not self.sites:
            return {"siteSearch": self.not_sites[0], "siteSearchFilter": "e"}, ""
        some = " OR ".join(f"site:{site}" for site in self.sites)
        return {}, (f" ({some})" if some else "") + _without(self.not_sites)


def bare_site(site: str) -> str:
    """Return a site as the API names it: no scheme, no slash at its end, the host in small letters."""
    host, slash, path = site.strip().partition("://")[2 if "://" in site else 0].partition("/")
    return f"{host.lower()}{slash}{path}".rstrip("/")


def lies_on(link: str, site: str) -> bool:
    """Say whether a link leads to `site` (`b.org`, `*.edu`, `b.org/path`) or to something below it."""
    host, _, path = site.partition("/")
    host = host.lstrip("*.")
    at = urlsplit(link)
    named = (at.hostname or "").lower()
    return (named == host or named.endswith(f".{host}")) and at.path.startswith(f"/{path}")


def cut_at_word(text: str, max_chars: int) -> str:
    """Return `text`, or as many of its whole words as fit."""
    if len(text) <= max_chars:
        return text
    return text[: max_chars + 1].rpartition(" ")[0].rstrip() or text[:max_chars]


def request_body(parameters: Mapping[str, str]) -> bytes:
    """Return the parameters in the one form that the same request always has."""
    return orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS)


def request_key(endpoint: str, body: bytes) -> bytes:
    """Return the key under which the answer is kept: all that decides it, and the API key does not."""
    return hashlib.sha256(b"\0".join((b"google search", endpoint.encode(), body))).digest()


def _without(sites: Sequence[str]) -> str:
    return "".join(f" -site:{site}" for site in sites)
