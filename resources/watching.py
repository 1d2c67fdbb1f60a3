"""A look at something, again and again, while something else goes on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def watching(look: Callable[[], None], every_s: float) -> Iterator[None]:
    """Call `look` from another thread while the context is open; `every_s` seconds pass before each call."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(every_s):
            look()

    thread = threading.Thread(target=watch, name="watching", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
