"""Where a person finds dialogues in the viewer, which may not be running yet."""

from urllib.parse import urlencode

HOST = "127.0.0.1"
PORT = 8765
COMMAND = "python -m mmat_dagster view"


def view_link(source: str, **wanted: str) -> str:
    """Return the address of a source's dialogues, or of those of them that `wanted` names (`reflection="math"`)."""
    return f"http://{HOST}:{PORT}/dialogues?{urlencode({'source': source, **wanted})}"


def view_hint(source: str, **wanted: str) -> str:
    """Return, as Markdown, the command that starts the viewer and the address that it then has."""
    return f"`{COMMAND}` shows them at <{view_link(source, **wanted)}>"
