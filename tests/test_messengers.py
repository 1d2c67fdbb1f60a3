"""Slack is told by its own client over HTTP; what it does not take is said in its own word, never with the token."""

import logging
import os
from importlib.util import find_spec

import dagster as dg
import pytest

from mmat_dagster.environment import BadEnvironment, read_environment
from mmat_dagster.messages import MessageNotSent, without_secrets
from resources.deployments import DEPLOYMENTS
from resources.messengers import INSTALL, SLACK, LogMessenger, SlackMessenger
from tests import slack_server
from tests.slack_server import TOKEN, SlackServer

HAS_SLACK = find_spec("dagster_slack") is not None
needs_slack = pytest.mark.skipif(
    not HAS_SLACK and not os.environ.get("MMAT_REQUIRE_SLACK"), reason="dagster-slack is not installed"
)


slack = slack_server.slack


@needs_slack
def test_a_message_reaches_its_channel_with_its_marks_escaped(slack: SlackServer) -> None:
    SlackMessenger(token=TOKEN, channel="#runs", api=slack.url).send("rr_dialogues of tabmwp: 3 < 4 & <RAG> fails")
    (message,) = slack.messages
    assert message["channel"] == "#runs"
    assert message["text"] == "rr_dialogues of tabmwp: 3 &lt; 4 &amp; &lt;RAG&gt; fails"
    assert message["unfurl_links"] in (False, "0")


@needs_slack
@pytest.mark.parametrize("faults", [[429], [503, 500]])
def test_a_limit_and_a_fault_are_tried_again(slack: SlackServer, faults: list[int]) -> None:
    slack.faults = [*faults]
    SlackMessenger(token=TOKEN, channel="#runs", api=slack.url).send("a run failed")
    assert (len(slack.messages), slack.requests) == (1, 1 + len(faults))


@needs_slack
@pytest.mark.parametrize(
    ("token", "channel", "complaint"),
    [
        ("xoxb-another-token", "#runs", "Slack has not taken the message: invalid_auth. Check the token"),
        (TOKEN, "#nowhere", "Slack has not taken the message: channel_not_found. Check the token and the channel"),
    ],
)
def test_what_slack_refuses_is_told_in_its_word(slack: SlackServer, token: str, channel: str, complaint: str) -> None:
    with pytest.raises(MessageNotSent, match=complaint) as refused:
        SlackMessenger(token=token, channel=channel, api=slack.url).send("a run failed")
    assert token not in str(refused.value)


@needs_slack
def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(MessageNotSent, match="Slack could not be reached"):
        SlackMessenger(token=TOKEN, channel="#runs", api="http://127.0.0.1:9/api/").send("a run failed")


@pytest.mark.skipif(HAS_SLACK, reason="dagster-slack is installed")
def test_a_missing_client_is_told_with_its_command() -> None:
    with pytest.raises(MessageNotSent) as missing:
        SlackMessenger(token=TOKEN, channel="#runs").send("a run failed")
    assert str(missing.value) == INSTALL


def test_the_log_is_told_where_nobody_else_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        LogMessenger().send("a run failed")
    assert caplog.messages == ["a run failed"]


def test_slack_is_told_where_token_and_channel_are_set_and_the_token_is_never_shown() -> None:
    assert isinstance(DEPLOYMENTS["local"](read_environment({}))["messenger"], LogMessenger)
    told = {"MMAT_SLACK_TOKEN": TOKEN, "MMAT_SLACK_CHANNEL": "#runs", "MMAT_WEBSERVER": "http://host:3000/"}
    messenger = DEPLOYMENTS["local"](read_environment(told))["messenger"]
    assert isinstance(messenger, SlackMessenger)
    assert (messenger.channel, messenger.webserver_url) == ("#runs", "http://host:3000")
    shown = repr(messenger) + str(messenger._config_schema.default_value) + repr(read_environment(told))
    assert TOKEN not in shown
    assert messenger.api == SLACK
    assert "MMAT_SLACK_TOKEN" in str(messenger._config_schema.default_value)


@needs_slack
def test_another_server_than_slacks_own_is_told_where_one_is_named(
    slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"MMAT_SLACK_TOKEN": TOKEN, "MMAT_SLACK_CHANNEL": "#runs", "MMAT_SLACK_URL": slack.url.rstrip("/")}
    monkeypatch.setenv("MMAT_SLACK_TOKEN", TOKEN)
    with dg.build_resources({"messenger": DEPLOYMENTS["local"](read_environment(told))["messenger"]}) as resources:
        resources.messenger.send("a run failed")
    assert [message["text"] for message in slack.messages] == ["a run failed"]


@pytest.mark.parametrize("half", [{"MMAT_SLACK_TOKEN": TOKEN}, {"MMAT_SLACK_CHANNEL": "#runs"}])
def test_half_of_what_slack_needs_is_an_error(half: dict[str, str]) -> None:
    with pytest.raises(BadEnvironment, match="MMAT_SLACK_TOKEN and MMAT_SLACK_CHANNEL go together") as told:
        read_environment(half)
    assert TOKEN not in str(told.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://teacher:secret@host/ledger", "postgresql://***@host/ledger"),
        ("Incorrect API key provided: sk-proj-abcdefgh12345678.", "Incorrect API key provided: ***"),
        ("https://host/search?key=AIzaSyA-123456789&q=a", "https://host/search?key=***&q=a"),
        ("token xoxb-12345-abcdef was refused", "token *** was refused"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("hf_abcdefghij and password=pass", "*** and password=***"),
        ("http://127.0.0.1:3000/runs/12 at 10:30, sk-ip", "http://127.0.0.1:3000/runs/12 at 10:30, sk-ip"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
