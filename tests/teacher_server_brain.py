"""A stand-in teacher that answers this project's prompts properly: every reply is a pure function of the request.

next step     ocr where it is offered, at times one more look, then the conclusion with the reference answer
pretence      one dialogue in five pretends          calculation   one in five skips one          rewrite   always
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import orjson

from tests.chat_server import Body, ServerReply, error_reply

Task: TypeAlias = Literal["step", "pretence", "rewrite", "calculation"]

# By what each task is known where no schema names it; a prompt tells its task in its first or its last line.
MARKS: dict[str, Task] = {
    "You write reasoning": "step",
    "Your task: AUDIT": "pretence",
    "Your task: REWRITE": "rewrite",
    "Your task: CALCULATION": "calculation",
    "You audit reasoning": "pretence",
    "You repair reasoning": "rewrite",
    "You check calculations": "calculation",
}
TASKS = frozenset(MARKS.values())
LOOKS = (
    "I start at the top of the picture and go through its parts one by one, since the question asks for a detail.",
    "The question turns on what is written in the picture, so I want its text before I compare anything.",
    "Several things could be meant here. I first look for the one that the question names, and then at what is near.",
    "The print is small. I would rather have it read out than guess at it, and then go on from there.",
)
CHECKS = (
    "What was found agrees with the picture where I can tell. I go over the remaining parts before I conclude.",
    "Two places could answer this. I compare them and keep the one that fits every word of the question.",
)
CONCLUSIONS = (
    "Everything that I have seen points the same way, and nothing in the picture speaks against it.",
    "With the details side by side only one reading is left, and it fits the whole question.",
    "I checked the parts one after the other; the decisive one is in plain view.",
)
GAPS = (
    "The conclusion stands there without a detail that leads to it.",
    "The last thought claims support from a result that says nothing about it.",
)

_MARK = re.compile("|".join(MARKS))
_TOOLS = re.compile(r"OPERATORS FOR THIS QUESTION[^\n]*\n(?P<lines>(?:.+\n?)*)")
_STEPS_LEFT = re.compile(r"Steps left: (\d+)")
_RESULTS = "<tool_results>"


def brain(body: Body) -> str | ServerReply:
    """Answer the request as a good teacher would, in JSON; status 418, which no client retries, for another task."""
    task = find_task(body)
    if task is None:
        return error_reply(418, "the request is for none of the teacher's tasks")
    reply = _step(body) if task == "step" else _judgement(task, body)
    return orjson.dumps(reply).decode()


def find_task(body: Body) -> Task | None:
    """Tell which of the four tasks the request is; None where it is another one."""
    schema = (body.get("response_format") or {}).get("json_schema") or {}
    if schema.get("name") in TASKS:
        named: Task = schema["name"]
        return named
    for text in _texts(body, "system", "developer", "user"):
        found = _MARK.search(text)
        if found:
            return MARKS[found[0]]
    return None


def text_of(message: Body) -> str:
    """Return the text of a message, all its parts joined."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def root_of(body: Body) -> str:
    """Return the text that a conversation begins with: that of its first user message."""
    return next(_texts(body, "user"), "")


def _step(body: Body) -> Body:
    root = root_of(body)
    asked = list(_texts(body, "user"))
    done = sum(text.startswith(_RESULTS) for text in asked)  # a repair round is no step
    left = [int(match[1]) for text in asked for match in _STEPS_LEFT.finditer(text)]
    if done > _hash("steps", root) % 2 or (left and left[-1] <= 1):
        thought = f"{_pick(CONCLUSIONS, root)} So the answer is: {_section(body, 'reference_answer') or 'unknown'}"
        return _step_reply(thought, [], "final_answer")
    if done == 0:
        return _step_reply(_pick(LOOKS, root), ["ocr"] if _offers_ocr(body) else [], "continue")
    return _step_reply(_pick(CHECKS, root), [], "continue")


def _step_reply(thought: str, operators: list[str], next_action: str) -> Body:
    return {
        "thought": thought,
        "operators": operators,
        "rag": {"needed": False, "query": None},
        "next_action": next_action,
    }


def _offers_ocr(body: Body) -> bool:
    lists = (found["lines"] for text in _texts(body, "system", "developer") for found in _TOOLS.finditer(text))
    return any(line.startswith("- ocr:") for lines in lists for line in lines.splitlines())


def _judgement(task: Task, body: Body) -> Body:
    dialogue = _section(body, "dialogue") or root_of(body)
    is_faulty = _hash(task, dialogue) % 5 == 0
    last_thought = dialogue.rsplit("\nStep ", 1)[-1].partition(": ")[2].partition("\n")[0] or "It is as I said."
    if task == "rewrite":
        return {"thought": f"So far I left open how this follows. I look again at what is in view. {last_thought}"}
    if task == "calculation":
        return _calculation(is_faulty, last_thought)
    if is_faulty:
        return {"reason": _pick(GAPS, dialogue)}
    return {"reason": None} if "reason" in _required(body) else {}


def _calculation(is_faulty: bool, last_thought: str) -> Body:
    if not is_faulty:
        return {"reason": "Every computed number can be checked from what is written.", "thought": None}
    thought = f"I passed over a calculation. Written out: 1 × 1 = 1, which leaves the result as it was. {last_thought}"
    return {"reason": "The last number stands there without its operands.", "thought": thought}


def _required(body: Body) -> list[Any]:
    """A strict schema leaves no key out."""
    schema = (body.get("response_format") or {}).get("json_schema") or {}
    required: list[Any] = (schema.get("schema") or {}).get("required", [])
    return required


def _section(body: Body, tag: str) -> str | None:
    pattern = re.compile(rf"<{tag}>\n(.*?)\n</{tag}>", re.DOTALL)
    return next((found[1] for text in _texts(body, "user") if (found := pattern.search(text))), None)


def _texts(body: Body, *roles: str) -> Iterator[str]:
    return (text_of(message) for message in body["messages"] if message["role"] in roles)


def _pick(choices: tuple[str, ...], key: str) -> str:
    return choices[_hash(choices[0], key) % len(choices)]


def _hash(*key: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(key).encode()).digest()[:8])
