"""Operators by hand: the command `operator` has one look at image files, and prints what it sees."""

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from mmat_dagster.environment import read_environment
from mmat_dagster.fanout import map_in_order
from mmat_dagster.operators.looking import LookFunction, look_anew
from mmat_dagster.operators.observation import one_line
from mmat_dagster.tools import Failed, Look, Operator, OperatorUnavailable, Sight
from resources.open_operators import open_operators

# Enough for every worker to have its next image waiting.
LOOKS_AT_ONCE = 32
LABEL = "operators by hand"


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is asked on the command line; a `backend` of None is the deployment's."""

    name: str
    images: Sequence[Path]
    question: str
    phrases: tuple[str, ...]
    backend: str | None
    is_kept: bool
    is_json: bool


def inspect_images(asked: Inspection) -> int:
    """Print what the operator sees in each image, in their order; return 1 where it failed at one of them.

    Raises BadEnvironment for an unknown operator or backend, and OperatorUnavailable where none can be looked at.
    """
    environment = read_environment(os.environ)
    if asked.backend is not None:
        environment = replace(environment, operators={**environment.operators, asked.name: asked.backend})
    with open_operators(environment, [asked.name]) as opened:
        operator = opened.operators[asked.name]
        _check(operator, asked)
        return asyncio.run(_inspect(operator, opened.look if asked.is_kept else look_anew, asked))


def _check(operator: Operator, asked: Inspection) -> None:
    """Raise OperatorUnavailable where no image can be looked at, before any is."""
    nothing = Look(image=b"", sha256="", question=asked.question, phrases=asked.phrases)
    if operator.parameters(nothing) is None:
        raise OperatorUnavailable(
            f"this backend of {asked.name} tells what a source has annotated, and looks at no image: name another one "
            "with --backend"
        )
    if asked.name == "label_bbox" and operator.parameters(nothing) == "[]":
        raise OperatorUnavailable("label_bbox has nothing to look for: name things with --phrase, as often as needed")
    _ = operator.version  # tells what is not installed


async def _inspect(operator: Operator, look: LookFunction, asked: Inspection) -> int:
    failures = 0
    async with operator.session(LABEL), aclosing(_results(operator, look, asked)) as results:
        async for path, result in results:
            failures += isinstance(result, Failed)
            _print(operator, path, result, asked)
    return 1 if failures else 0


async def _results(
    operator: Operator, look: LookFunction, asked: Inspection
) -> AsyncGenerator[tuple[Path, Sight | Failed]]:
    async def look_at(path: Path) -> tuple[Path, Sight | Failed]:
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            return path, Failed(detail=error.strerror or str(error))
        sha256 = hashlib.sha256(content).hexdigest()
        one = Look(image=path, sha256=sha256, question=asked.question, phrases=asked.phrases)
        (result,) = await look(operator, [one])
        return path, result

    async with aclosing(map_in_order(look_at, asked.images, LOOKS_AT_ONCE)) as looked_at:
        async for each in looked_at:
            yield each


def _print(operator: Operator, path: Path, result: Sight | Failed, asked: Inspection) -> None:
    if asked.is_json:
        print(json.dumps(_record(operator, path, result), ensure_ascii=False), flush=True)
    elif isinstance(result, Failed):
        print(f"{path}: {operator.name} failed: {result.detail}", file=sys.stderr)
    else:
        where = f"{path}: " if len(asked.images) > 1 else ""
        print(f"{where}{one_line(result.text, operator.max_chars)}", flush=True)


def _record(operator: Operator, path: Path, result: Sight | Failed) -> dict[str, object]:
    told = {"image": str(path), "operator": operator.name, "version": operator.version}
    if isinstance(result, Failed):
        return {**told, "error": result.detail}
    return {**told, "observation": one_line(result.text, operator.max_chars), "details": result.details}
