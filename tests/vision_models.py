"""Models for tests of the worker processes: they do as the question says, and tell where they were asked."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from mmat_dagster.processes import SECRETS
from mmat_dagster.tools import Sight
from resources.vision_worker import THREADS, Glance, VisionModel


class Obedient(VisionModel):
    """Does as the question says; else tells size, phrases, process and how many came at once."""

    def __init__(self, name: str = "obedient") -> None:
        self.name = name

    def look(self, glances: Sequence[Glance]) -> list[Sight]:
        for glance in glances:
            obey(glance.question)
        threads = {os.environ[name] for name in THREADS}
        told: dict[str, JsonValue] = {"model": self.name, "process": os.getpid(), "at_once": len(glances)}
        secrets = [name for name in SECRETS if name in os.environ]
        details: JsonValue = {**told, "threads": [*sorted(threads)], "secrets": [*secrets]}
        return [Sight(text=f"{glance.image.size} {', '.join(glance.phrases)}", details=details) for glance in glances]


class Forgetful(VisionModel):
    """Sees less than it is shown."""

    def look(self, glances: Sequence[Glance]) -> list[Sight]:
        return []


class Unloadable(VisionModel):
    """Cannot be loaded."""

    def __init__(self) -> None:
        raise FileNotFoundError("no weights at hand")

    def look(self, glances: Sequence[Glance]) -> list[Sight]:
        raise AssertionError("never loaded")


class Deadly(Unloadable):
    """Ends its process while it loads."""

    def __init__(self) -> None:
        os._exit(7)


def obey(question: str) -> None:
    """Carry out `sleep 3`, `await FILE`, `die`, `die once at FILE` or `raise`."""
    order, _, argument = question.partition(" ")
    if order == "sleep":
        time.sleep(float(argument))
    if order == "await":
        while not Path(argument).exists():
            time.sleep(0.01)
    if order == "raise":
        raise RuntimeError("as you wish")
    if order == "die":
        marker = Path(argument.removeprefix("once at ")) if argument else None
        if marker is None or not marker.exists():
            if marker is not None:
                marker.touch()
            os._exit(9)
