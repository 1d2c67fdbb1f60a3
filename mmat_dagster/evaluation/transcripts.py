"""One answer as a person reads it: the question, every turn, what was read in the answer, and the verdict."""

import textwrap

from mmat_dagster import markdown
from mmat_dagster.evaluation.results import Answer, Result

# A verdict tells so much of what was read in an answer.
VERDICT_CHARS = 80
PAGE_CHARS = 110
CODE, INDENT = "```", "    "


def to_markdown(result: Result, answer: Answer) -> str:
    """Return an answer for a page."""
    turns = [f"**{each.role}**\n\n{CODE}\n{_folded(each.content)}\n{CODE}" for each in answer.messages]
    head = f"{answer.item} of {result.title}, {result.variant}: {_verdict(answer)}"
    return "\n\n".join([markdown.literal(head), *turns])


def to_text(result: Result, answer: Answer, width: int) -> str:
    """Return an answer for a terminal, its system prompt left out."""
    lines = [f"{answer.item}  {result.title}, {result.variant}", *(f"  image: {image}" for image in answer.images)]
    for message in answer.messages:
        if message.role != "system":
            lines += ["", f"  {message.role}", *_wrapped(message.content, width)]
    return "\n".join([*lines, "", f"  {_verdict(answer)}", ""])


def _verdict(answer: Answer) -> str:
    gold = " or ".join(answer.gold) or "hidden"
    read = "nothing was read in the answer" if answer.parsed is None else f"read as {_shortened(answer.parsed)!r}"
    failure = f"; {answer.failure}{f' ({answer.detail})' if answer.detail else ''}" if answer.failure else ""
    return f"score {answer.score:g}, {read}, gold {gold!r}{failure}"


def _folded(text: str) -> str:
    """Return `text` in lines that a page does not cut; a fence in it would end the code that it stands in."""
    return "\n".join(line.removeprefix(INDENT) for line in _wrapped(text, PAGE_CHARS)).replace(CODE, "~~~")


def _shortened(text: str) -> str:
    return textwrap.shorten(text, VERDICT_CHARS, placeholder=" ...")


def _wrapped(text: str, width: int) -> list[str]:
    wrapped = (textwrap.wrap(line, width - 4) or [""] for line in text.splitlines())
    return [f"{INDENT}{piece}" for pieces in wrapped for piece in pieces]
