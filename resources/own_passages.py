"""Search where it is best: a source's own passages where it has some, the web for all others."""

from pathlib import Path

import dagster as dg

from mmat_dagster.tools import Retriever, SearchEngine


class OwnPassagesFirst(dg.ConfigurableResource[SearchEngine], SearchEngine):
    """Two search engines: `own` for sources that bring passages (InfoSeek), `web` for the others."""

    own: dg.ResourceDependency[SearchEngine]
    web: dg.ResourceDependency[SearchEngine]

    def over(self, passages: Path | None) -> Retriever:
        """Return the search over `passages` where there are some, else the one of the web."""
        return self.web.over(None) if passages is None else self.own.over(passages)
