"""URLs of servers: shown in logs, in errors and in the UI, so that no secret may stand in one."""

from urllib.parse import urlsplit

SCHEMES = ("http", "https")
FORM = "https://host/v1, without a name, a password or parameters: a key has a variable of its own"


def is_bare(url: str) -> bool:
    """Say whether `url` is of the web, and holds neither name nor password nor parameters, in which a key could be."""
    try:
        parts = urlsplit(url)
        return parts.scheme in SCHEMES and bool(parts.hostname) and not ("@" in parts.netloc or set("?#") & set(url))
    except ValueError:
        return False
