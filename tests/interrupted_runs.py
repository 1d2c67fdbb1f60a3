"""Tests for a session of their own: it is told to end during a run of the first one, and never comes to the second."""

import os
import signal

import dagster as dg


@dg.asset
def ended_from_outside() -> None:
    """Have the process told to end, as `timeout` and a CI that is tired of waiting do."""
    os.kill(os.getpid(), signal.SIGTERM)


def test_it_is_told_to_end() -> None:
    assert not dg.materialize([ended_from_outside], raise_on_error=False).success


def test_it_goes_on() -> None:
    """Nothing is wrong with it."""
