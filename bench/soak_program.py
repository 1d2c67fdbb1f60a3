"""The program under test, in a process of its own: the command line, and what only its own process knows.

    python -m bench.soak_program STATUS ARGUMENT ...      `python -m mmat_dagster ARGUMENT ...`

Once a second the number of pending tasks of all its event loops is written to the file STATUS.
"""

import asyncio
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from mmat_dagster.cli import run

EVERY_S = 1.0


class Watched(asyncio.DefaultEventLoopPolicy):
    """Remembers the event loops that it made."""

    def __init__(self) -> None:
        super().__init__()
        self.loops: list[asyncio.AbstractEventLoop] = []

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Make a loop; forget those that are closed."""
        loop = super().new_event_loop()
        self.loops = [each for each in self.loops if not each.is_closed()] + [loop]
        return loop

    @property
    def tasks(self) -> int:
        """The tasks that have not ended."""
        return sum(len(asyncio.all_tasks(loop)) for loop in self.loops if not loop.is_closed())


def tell(policy: Watched, status: Path) -> None:
    """Write the number of tasks again and again, each time as a whole file."""
    beside = status.with_suffix(".new")
    while True:
        beside.write_text(str(policy.tasks))
        beside.replace(status)
        threading.Event().wait(EVERY_S)


def main(status: Path, arguments: Sequence[str]) -> int:
    """Run the command line, watched."""
    policy = Watched()
    asyncio.set_event_loop_policy(policy)
    threading.Thread(target=tell, args=(policy, status), name="watching", daemon=True).start()
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
