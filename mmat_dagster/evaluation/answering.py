"""How a student answers a question, in one of three forms.

    direct   user: question [operator results]                    assistant: the bare answer
    orr      system, user: question + operator results            assistant: thoughts and answer in one turn
    rr       system, user: question, then step and results in turn until a step ends; then: the bare answer

The last is the loop that wrote the data (reasoning.py) with the student as its policy. A turn that is not in the form
is told what is wrong with it, once; then, as where the turns run out, the bare answer is asked for all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from mmat_dagster import prompts, wire
from mmat_dagster.evaluation.questions import Question
from mmat_dagster.interfaces import ChatModel, ChatReply, ChatTurn, Reply, RowError
from mmat_dagster.reasoning import Reasoning, Toolbox, not_offered, reason
from mmat_dagster.schema import Message, Step, Turn
from mmat_dagster.tools import Operator
from mmat_dagster.wire import WireError

Form = Literal["direct", "orr", "rr"]
Failure = Literal[
    "malformed turn",
    "turn limit reached",
    "malformed reply",
    "reply cut",
    "question not in the wire form",
    "request not accepted",
]


# A reminder says so much of what is wrong.
FAULT_CHARS = 80


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """What a student may do while it reasons; a call that it may not make is taken out of its step."""

    operators: bool = True
    rag: bool = True
    reflection: bool = True


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How questions are put: the form, and for `direct` and `orr` the operators whose results stand in the prompt."""

    form: Form
    shown: tuple[str, ...] = ()
    allowed: Allowed = field(default_factory=Allowed)
    max_turns: int = 6


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a student said: every message in order, its answer, and what went wrong on the way, if anything did.

    `calls` are the tools that were really run, `reminders` the malformed turns. Tokens are the server's count.
    """

    messages: tuple[Message, ...]
    response: str
    failure: Failure | None = None
    detail: str | None = None
    turns: int = 0
    calls: tuple[str, ...] = ()
    reminders: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


async def answer(question: Question, student: ChatModel, tools: Toolbox, manner: Manner) -> Said:
    """Put `question` to `student` and return what it says; raises what the model, operators and search raise."""
    talk = _Talk(question, student)
    try:
        if manner.form == "rr":
            return await _Agent(talk, tools, manner).answer()
        return await _answer_at_once(talk, tools, manner)
    except WireError as broken:
        return talk.said("", failure="question not in the wire form", detail=str(broken))


class _NotAccepted(Exception):
    """The server does not take a request (too long, image refused); the question goes without an answer."""

    def __init__(self, error: RowError) -> None:
        super().__init__(error.detail)


class _Talk:
    """One question's exchange with a student: what was said, and the tokens that it took."""

    def __init__(self, question: Question, student: ChatModel) -> None:
        self.question = question
        self._student = student
        self._messages: tuple[Message, ...] = ()
        self._prompt_tokens = self._completion_tokens = 0

    async def ask(self, messages: Sequence[Message]) -> ChatReply:
        """Return the reply to `messages`; raise _NotAccepted."""
        self._messages = tuple(messages)
        reply = await self._student.complete([self._turn(message) for message in messages])
        if isinstance(reply, RowError):
            raise _NotAccepted(reply)
        self._messages = (*messages, Message(role="assistant", content=reply.text))
        self._prompt_tokens += reply.prompt_tokens
        self._completion_tokens += reply.completion_tokens
        return reply

    def said(self, response: str, failure: Failure | None = None, detail: str | None = None) -> Said:
        """Return what was said, with `response` as the answer."""
        return Said(
            messages=self._messages,
            response=response,
            failure=failure,
            detail=detail,
            turns=sum(message.role == "assistant" for message in self._messages),
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
        )

    def _turn(self, message: Message) -> ChatTurn:
        """Return a message as a chat model takes it: images apart, without their marks."""
        text = message.content
        while message.role == "user" and text.startswith(wire.IMAGE):
            text = text.removeprefix(wire.IMAGE)
        has_images = message.role == "user" and message.content.startswith(wire.IMAGE)
        return ChatTurn(role=message.role, text=text, images=self.question.images if has_images else ())


async def _answer_at_once(talk: _Talk, tools: Toolbox, manner: Manner) -> Said:
    question = talk.question
    offered = {operator.name for operator in tools.offered(question.scene)}
    names = tuple(name for name in manner.shown if name in offered and manner.allowed.operators)
    calls = await tools.observe(question.scene, Step(thought="", operators=names, signal="continue"))
    user = Message(role="user", content=wire.render_orr_request(question.text, len(question.images), calls))
    system = Message(role="system", content=prompts.render("orr_system"))
    try:
        reply = await talk.ask((system, user) if manner.form == "orr" else (user,))
    except _NotAccepted as refused:
        said = talk.said("", failure="request not accepted", detail=str(refused))
    else:
        said = _read_orr(talk, reply) if manner.form == "orr" else _read_direct(talk, reply)
    return replace(said, calls=names)


def _read_direct(talk: _Talk, reply: ChatReply) -> Said:
    return talk.said(reply.text.strip(), failure="reply cut" if reply.is_cut else None)


def _read_orr(talk: _Talk, reply: ChatReply) -> Said:
    try:
        return talk.said(wire.parse_orr_reply(reply.text.strip())[1])
    except WireError as broken:
        # What stands where the answer should is judged; where none stands, all of it is.
        stated = reply.text.rpartition(wire.ANSWER_IS)[2].partition("</ANSWER>")[0].strip()
        return talk.said(stated, failure="reply cut" if reply.is_cut else "malformed reply", detail=str(broken))


@dataclass(frozen=True, kw_only=True)
class _Malformed:
    """A turn that is not in the form, and stayed so: the messages that it and the reminder were."""

    fault: str
    messages: tuple[Message, ...]


class _Agent:
    """A student that reasons with tools."""

    def __init__(self, talk: _Talk, tools: Toolbox, manner: Manner) -> None:
        self._talk, self._tools, self._allowed = talk, tools, manner.allowed
        self._scene = talk.question.scene
        # As in the dialogues that it learned from: all that there are, whether or not they see anything here.
        self._offered = tuple(tools.operators.values()) if manner.allowed.operators else ()
        self._max_turns = manner.max_turns
        purposes = "\n".join(f"{operator.name}: {operator.purpose}" for operator in self._offered)
        self._system = prompts.render("rr_system", operators=purposes)
        self._reminders = 0

    async def answer(self) -> Said:
        """Reason, then give the bare answer."""
        reasoning: Reasoning[_Malformed] = Reasoning(turns=())
        try:
            reasoning = await reason(self._scene, self._next_step, self._tools, self._max_turns)
            reply = await self._talk.ask(self._summary_request(reasoning))
        except _NotAccepted as refused:
            said = self._talk.said("", failure="request not accepted", detail=str(refused))
        else:
            said = self._talk.said(reply.text.strip(), *self._failure(reasoning, reply))
        calls = [item.tool for turn in reasoning.turns for item in turn.observations]
        return replace(said, calls=tuple(dict.fromkeys(calls)), reminders=self._reminders)

    async def _next_step(self, turns: Sequence[Turn]) -> Reply | _Malformed:
        question = self._talk.question
        messages = wire.render_reasoning(question.text, len(question.images), turns, self._system)
        reply = await self._talk.ask(messages)
        step = read_step(reply, self._offered, self._allowed)
        if isinstance(step, Step):
            return Reply(step=step, raw_reply=reply.text)
        self._reminders += 1
        exchange = (_said(reply), Message(role="user", content=prompts.render("student_reminder", fault=step)))
        again = await self._talk.ask((*messages, *exchange))
        step = read_step(again, self._offered, self._allowed)
        if isinstance(step, Step):
            return Reply(step=step, raw_reply=again.text)
        self._reminders += 1
        return _Malformed(fault=step, messages=(*exchange, _said(again)))

    def _summary_request(self, reasoning: Reasoning[_Malformed]) -> tuple[Message, ...]:
        """Return the messages that ask for the bare answer, however the reasoning ended."""
        question = self._talk.question
        messages = wire.render_reasoning(question.text, len(question.images), reasoning.turns, self._system)
        if reasoning.is_finished:
            return messages
        request = wire.render_summary_request(question.text)
        if reasoning.stopped is not None:
            return (*messages, *reasoning.stopped.messages, Message(role="user", content=request))
        results = messages[-1].content.removesuffix(wire.CONTINUE).removesuffix(wire.REFLECT)
        return (*messages[:-1], Message(role="user", content=results + request))

    def _failure(self, reasoning: Reasoning[_Malformed], reply: ChatReply) -> tuple[Failure | None, str | None]:
        if reasoning.stopped is not None:
            return "malformed turn", f"step {len(reasoning.turns) + 1}: {reasoning.stopped.fault}"
        if not reasoning.is_finished:
            return "turn limit reached", f"no final step in {self._max_turns} turns"
        return ("reply cut", None) if reply.is_cut else (None, None)


def read_step(reply: ChatReply, offered: Sequence[Operator], allowed: Allowed) -> Step | str:
    """Return the step that a student wrote, without what it may not do, or what is wrong with it."""
    if reply.is_cut:
        return f"it was cut at {reply.completion_tokens} tokens"
    try:
        step = _within(wire.parse_step(reply.text.strip()), allowed)
    except WireError as broken:
        return str(broken)[:FAULT_CHARS]
    called = [*step.operators, *([wire.RAG] if step.rag_query is not None else [])]
    if len(set(called)) < len(called):
        return "it calls an operator twice"
    if called and step.signal != "continue":
        return f"it calls {', '.join(called)} with the signal {step.signal}"
    unknown = not_offered(step, offered)
    return f"it calls {', '.join(unknown)}, which is not offered" if unknown else step


def _within(step: Step, allowed: Allowed) -> Step:
    return replace(
        step,
        operators=step.operators if allowed.operators else (),
        rag_query=step.rag_query if allowed.rag else None,
        signal="continue" if step.signal == "reflection" and not allowed.reflection else step.signal,
    )


def _said(reply: ChatReply) -> Message:
    return Message(role="assistant", content=reply.text)
