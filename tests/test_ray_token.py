"""The token that a Ray cluster asks for: found where Ray looks for it, and told where it is missing."""

from pathlib import Path

import pytest

from resources.ray_token import TokenRefused, refusal, settle


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a home without a token."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_cluster_that_ray_finds_is_shown_the_token_that_there_is_unless_the_mode_says_otherwise() -> None:
    variables = {"RAY_AUTH_TOKEN": "c4nary"}
    settle(variables, "auto")
    assert variables == {"RAY_AUTH_TOKEN": "c4nary", "RAY_AUTH_MODE": "token"}
    disabled = {"RAY_AUTH_TOKEN": "c4nary", "RAY_AUTH_MODE": "disabled"}
    settle(disabled, "auto")
    assert disabled["RAY_AUTH_MODE"] == "disabled"


@pytest.mark.parametrize(
    ("named", "address"), [({}, "10.0.0.1:6379"), ({"RAY_ADDRESS": "10.0.0.1:6379"}, "auto")], ids=["by us", "to a job"]
)
def test_a_cluster_that_is_named_is_shown_none_unless_the_mode_says_so(named: dict[str, str], address: str) -> None:
    """A user's own token is in the home of whoever runs a job, and nothing that its cluster asks for."""
    variables = {"RAY_AUTH_TOKEN": "c4nary", **named}
    settle(variables, address)
    assert "RAY_AUTH_MODE" not in variables


def test_a_token_may_be_in_a_file_that_is_named_or_in_that_of_this_user(home: Path) -> None:
    (home / "token").write_text("c4nary\n")
    settle({"RAY_AUTH_TOKEN_PATH": str(home / "token"), "RAY_AUTH_MODE": "token"}, "10.0.0.1:6379")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("c4nary")
    settle({"RAY_AUTH_MODE": "token"}, "10.0.0.1:6379")


@pytest.mark.parametrize("elsewhere", [{}, {"RAY_AUTH_TOKEN": " "}, {"RAY_AUTH_TOKEN_PATH": "/no/token"}])
def test_a_token_that_is_to_be_shown_and_is_not_there_is_asked_for(elsewhere: dict[str, str]) -> None:
    with pytest.raises(TokenRefused, match=r"^RAY_AUTH_MODE is token, and there is no token: set RAY_AUTH_TOKEN"):
        settle({"RAY_AUTH_MODE": "token", **elsewhere}, "10.0.0.1:6379")


def test_who_is_refused_is_told_what_to_set_and_no_secret() -> None:
    without = refusal("the Ray cluster a:6379", {})
    wrong = refusal("the Ray cluster a:6379", {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "c4nary"})
    assert without.startswith("the Ray cluster a:6379 asks for a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN")
    assert wrong.startswith("the Ray cluster a:6379 refuses the token that it is shown: set RAY_AUTH_TOKEN")
    assert "c4nary" not in wrong
