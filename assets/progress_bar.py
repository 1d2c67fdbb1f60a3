"""A bar on the terminal of the person who started a run, if somebody did, and when it is time for a line in the log."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from mmat_dagster.terminal import open_terminal


class ProgressBar:
    """One bar per label, closed when the next one starts; `log_every_s` seconds pass between lines of the log.

    An event costs Dagster about 8 ms, so records are never logged one by one.
    """

    def __init__(self, unit: str, log_every_s: float) -> None:
        self.label = ""
        self._unit = unit
        self._log_every_s = log_every_s
        self._terminal = open_terminal()
        self._bar: tqdm[Any] | None = None
        self._logged_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()
        if self._terminal is not None:
            self._terminal.close()

    def show(self, label: str, done: int, total: int | None, postfix: Callable[[], Mapping[str, str]] = dict) -> None:
        """Show how far `label` has come; `postfix` is asked for what stands behind the bar where there is one."""
        if self._bar is None or label != self.label:
            self._close()
            self.label = label
            self._bar = tqdm(
                desc=label, total=total, unit=f" {self._unit}", file=self._terminal, disable=self._terminal is None
            )
        if not self._bar.disable:
            self._bar.set_postfix(postfix(), refresh=False)
        self._bar.update(done - self._bar.n)

    def is_time_to_log(self) -> bool:
        """Say whether a line of the log is due; it counts as written then."""
        now = time.monotonic()
        if now - self._logged_at < self._log_every_s:
            return False
        self._logged_at = now
        return True

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
