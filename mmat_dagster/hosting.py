"""Serves a student by hand: the command serve-student."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmat_dagster.environment import read_environment
from mmat_dagster.evaluation.hosts import HostingFailed, ServedStudent
from mmat_dagster.processes import terminable
from mmat_dagster.training.executor import ServingFailed
from mmat_dagster.training.spec import RUN, BadRun, read_run
from mmat_dagster.training.students import find_student
from resources.deployments import HOSTS
from resources.model_listing import listed_models
from resources.student_hosts import Address, StartedHost
from resources.training_executor import LocalTrainingExecutor

STUDENTS = "students"
LOOK_EVERY_S = 2.0


@dataclass(frozen=True, kw_only=True)
class HandServing:
    """What is served: a student as it was before training, or the checkpoint in a folder."""

    student: str | None
    checkpoint: Path | None
    engine: Literal["transformers", "vllm"]
    port: int


def serve_student(asked: HandServing) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    try:
        with terminable():
            _serve(asked)
    except (BadRun, HostingFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _serve(asked: HandServing) -> None:
    environment = read_environment(os.environ)
    host = HOSTS[asked.engine](environment, LocalTrainingExecutor())
    if not isinstance(host, StartedHost):
        raise TypeError(f"{asked.engine} starts no server")
    student = _student(asked, environment.store / STUDENTS)
    print(f"Loading {student.name} ...", flush=True)
    with host.model_copy(update={"port": asked.port}).address(student) as address:
        print(_told(address), flush=True)
        _watch(address)


def _student(asked: HandServing, cache: Path) -> ServedStudent:
    if asked.checkpoint is None:
        student = find_student(asked.student or "")
        return ServedStudent(name=student.name, student=student, checkpoint=None, cache=cache)
    # What was trained says so itself.
    student = read_run(asked.checkpoint / RUN).student
    name = asked.checkpoint.absolute().name
    return ServedStudent(name=name, student=student, checkpoint=asked.checkpoint, cache=cache)


def _told(address: Address) -> str:
    body = f'{{"model": "{address.model}", "messages": [{{"role": "user", "content": "What is 6 times 7?"}}]}}'
    return (
        f"Serving {address.model} at {address.url}, until Ctrl-C. Ask it:\n\n"
        f"  curl {address.url}/chat/completions -H 'Content-Type: application/json' -d '{body}'\n"
    )


def _watch(address: Address) -> None:
    """Stay until the server is gone, or somebody interrupts."""
    while True:
        time.sleep(LOOK_EVERY_S)
        try:
            listed_models(address.url)
        except ServingFailed as error:
            raise HostingFailed(str(error)) from error
