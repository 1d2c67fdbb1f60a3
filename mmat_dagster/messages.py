"""Messages to the people who run this: who takes them, and what is never in one."""

import re
from abc import ABC, abstractmethod

HIDDEN = "***"
# Keys by their publishers' prefixes, what is sent as a bearer, and the password of a URL.
_SECRETS = re.compile(
    r"\b(?:sk-|xox[a-z]-|xapp-|hf_|gh[a-z]_|AIza|AKIA)[\w./-]{6,}"
    r"|(?<=Bearer )\S+"
    r"|(?<=://)[^\s/@]*:[^\s/@]*(?=@)"
    r"|(?i:(?<=key=)|(?<=token=)|(?<=password=)|(?<=secret=))[^\s&'\"]+"
)


class MessageNotSent(Exception):
    """Nobody has got the message."""


class Messenger(ABC):
    """Takes messages to people."""

    @property
    @abstractmethod
    def webserver_url(self) -> str | None:
        """The address of Dagster's webserver, for links; None where it is not known."""

    @abstractmethod
    def send(self, text: str) -> None:
        """Tell `text`; raise MessageNotSent."""


def without_secrets(text: str) -> str:
    """Return `text` without what looks like a key, a token or a password."""
    return _SECRETS.sub(HIDDEN, text)
