"""Who is told of runs that fail: the log, or Slack."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import dagster as dg
from pydantic import Field

from mmat_dagster.messages import MessageNotSent, Messenger

LOG = logging.getLogger("mmat_dagster.failures")
SLACK = "https://slack.com/api/"
TIMEOUT_S = 10
TRIES_AGAIN = 2
INSTALL = "Slack's client is not installed. Install it with: pip install -e '.[slack]'"


class LogMessenger(dg.ConfigurableResource[Messenger], Messenger):
    """Tells the log of the process: the code server's."""

    webserver: str | None = Field(default=None, description="The address of Dagster's webserver.")

    @property
    def webserver_url(self) -> str | None:
        """The address of Dagster's webserver."""
        return self.webserver

    def send(self, text: str) -> None:
        """Write one error."""
        LOG.error(text)


class SlackMessenger(dg.ConfigurableResource[Messenger], Messenger):
    """Tells a channel of Slack, as a bot that may write there (scope `chat:write`)."""

    token: str = Field(repr=False, description="The bot's token.")
    channel: str = Field(description="A channel that the bot is in, by id or as #name.")
    webserver: str | None = Field(default=None, description="The address of Dagster's webserver.")
    api: str = Field(default=SLACK, description="Another server with the contract of Slack's.")

    @property
    def webserver_url(self) -> str | None:
        """The address of Dagster's webserver."""
        return self.webserver

    def send(self, text: str) -> None:
        """Post one message; what a limit or a fault of the server refuses is tried again."""
        if not find_spec("dagster_slack"):
            raise MessageNotSent(INSTALL)
        from dagster_slack import SlackResource  # noqa: PLC0415
        from slack_sdk.http_retry import builtin_handlers  # noqa: PLC0415

        client = SlackResource(token=self.token).get_client()
        client.base_url, client.timeout = f"{self.api.rstrip('/')}/", TIMEOUT_S
        client.retry_handlers = [
            builtin_handlers.ConnectionErrorRetryHandler(TRIES_AGAIN),
            builtin_handlers.RateLimitErrorRetryHandler(TRIES_AGAIN),
            builtin_handlers.ServerErrorRetryHandler(TRIES_AGAIN),
        ]
        with _failing():
            client.chat_postMessage(channel=self.channel, text=_escape(text), unfurl_links=False, unfurl_media=False)


def _escape(text: str) -> str:
    """Return `text` as Slack wants it; it takes no more than these three for marks of its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@contextmanager
def _failing() -> Iterator[None]:
    """Tell in Slack's word what went wrong; never the token."""
    from slack_sdk.errors import SlackApiError, SlackClientError  # noqa: PLC0415

    try:
        yield
    except SlackApiError as error:
        told = error.response["error"]
        raise MessageNotSent(f"Slack has not taken the message: {told}. Check the token and the channel.") from error
    except (SlackClientError, OSError) as error:
        raise MessageNotSent(f"Slack could not be reached: {error}") from error
