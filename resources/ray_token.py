"""The token that a Ray cluster asks for: whether there is one to show, and what is said where it is not let in.

This file imports Ray only where it is imported already.
"""

import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path

MODE, TOKEN, PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
# What `auto` stands for, where it is set.
ADDRESS = "RAY_ADDRESS"
# Where Ray looks last, below the user's home.
DEFAULT_PATH = ".ray/auth_token"


class TokenRefused(Exception):
    """A cluster or its job server asks for a token and is shown none, or another one; the message says what to set."""


def settle(variables: MutableMapping[str, str], address: str) -> None:
    """Have Ray show the token that it is to show; raise TokenRefused where there is none.

    It reads these variables when it is imported, and ends the whole process where a token that it needs is not there.
    A cluster that it finds by itself it shows whatever token there is, one that is named only what the mode says. A
    job of a cluster is told its name.
    """
    is_found = address == "auto" and ADDRESS not in variables
    if is_found and MODE not in variables and _has_token(variables):
        variables[MODE] = "token"
    if shows_token(variables) and not _has_token(variables):
        where = f"{TOKEN}, or a file that {PATH} names" if PATH not in variables else f"{TOKEN} (nothing is in {PATH})"
        raise TokenRefused(
            f"{MODE} is token, and there is no token: set {where}, to that of the Ray cluster's machines"
        )


def shows_token(variables: Mapping[str, str]) -> bool:
    """Return whether Ray shows a token to whom it asks."""
    return variables.get(MODE, "").lower() == "token"


@contextmanager
def asking(whom: str) -> Iterator[None]:
    """Raise TokenRefused where `whom` does not let us in."""
    from ray.exceptions import AuthenticationError  # noqa: PLC0415

    try:
        yield
    except AuthenticationError:
        raise TokenRefused(refusal(whom, os.environ)) from None


def refusal(whom: str, variables: Mapping[str, str]) -> str:
    """Return in one sentence what to set so that `whom` lets us in."""
    if shows_token(variables):
        return f"{whom} refuses the token that it is shown: set {TOKEN} to that of the cluster's machines"
    return f"{whom} asks for a token: set {MODE}=token and {TOKEN} to that of the cluster's machines"


def _has_token(variables: Mapping[str, str]) -> bool:
    """Look where Ray looks, in its order."""
    if variables.get(TOKEN, "").strip():
        return True
    path = Path(variables[PATH]) if variables.get(PATH) else Path.home() / DEFAULT_PATH
    try:
        return bool(path.read_bytes().strip())
    except OSError:
        return False
