"""The RR and ORR text forms of a dialogue: render and parse, exact inverses.

    RR    system, user `<image>question Please start your reasoning.`, then assistant steps and user results in turn,
          user `Based on the above information, ...`, assistant: the bare answer
    ORR   system, user `<image>question` + operator results, assistant `<THOUGHT>..</THOUGHT><ANSWER>..</ANSWER>`

A text that holds one of the form's own marks could not be read back: rendering it raises WireError.
Format: MMAT-1M (arXiv 2507.21924), sections on RR and ORR; the layout of mixed results is this project's own.
"""

import re
from collections.abc import Sequence

from mmat_dagster.schema import IntegratedTranscript, Message, Observation, Role, Signal, Step, Transcript, Turn

RAG = "rag"
IMAGE = "<image>"
MARKS = (
    IMAGE,
    *(f"<{slash}{tag}>" for tag in ("THOUGHT", "OPERATOR", "RAG", "SIGNAL", "ANSWER") for slash in ("", "/")),
    *(f"<|{edge}_api_invoke|>" for edge in ("begin", "end")),
    *(f"<|{edge}_result_of_api|>" for edge in ("begin", "end")),
)

START = " Please start your reasoning."
CONTINUE = "Please continue your reasoning."
NO_CALL = "No additional operator or rag results were selected in the previous step. "
REFLECT = "Please make a reflection."
SUMMARISE = "Based on the above information, please summarize and give the answer to the initial question: "
API_OUTPUTS = "\nUse the following API outputs to help answer the question:\n"
ANSWER_IS = "The answer is: "

_SIGNALS: dict[str, Signal] = {"continue": "continue", "reflection": "reflection", "end": "end"}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_STEP = re.compile(
    r"<THOUGHT>(?P<thought>.*)</THOUGHT>"
    r"(?:<OPERATOR>(?P<operators>.*)</OPERATOR>)?"
    r"(?:<RAG>(?P<rag>.*)</RAG>)?"
    r"<SIGNAL>(?P<signal>.*)</SIGNAL>",
    re.DOTALL,
)
_RESULTS = re.compile(r"Here are (?P<tools>[a-z0-9_, ]+) results from the previous step:\n(?P<lines>.+)", re.DOTALL)
_RESULT = re.compile(r"-(?P<tool>[a-z0-9_]+) information: (?P<text>.*)", re.DOTALL)
_CALL = re.compile(
    r"<\|begin_api_invoke\|>(?P<tool>.*)<\|end_api_invoke\|>"
    r"<\|begin_result_of_api\|>(?P<text>.*)<\|end_result_of_api\|>",
    re.DOTALL,
)
_INTEGRATED = re.compile(r"<THOUGHT>(?P<thought>.*)</THOUGHT><ANSWER>(?P<answer>.*)</ANSWER>", re.DOTALL)


class WireError(ValueError):
    """A text is not in the wire form, or could not be read back from it."""


def render_rr(transcript: Transcript, system: str) -> tuple[Message, ...]:
    """Render the RR messages of `transcript` behind the system prompt `system`."""
    _check_turns(transcript.turns)
    messages = render_reasoning(transcript.question, transcript.image_count, transcript.turns, system)
    return (*messages, _message("assistant", _filled(transcript.answer, "answer")))


def render_reasoning(question: str, image_count: int, turns: Sequence[Turn], system: str) -> tuple[Message, ...]:
    """Render the RR messages of a reasoning as far as it has come: up to the user turn that the next reply answers."""
    asked = _clean(question, "question")
    messages = [_message("system", system), _message("user", f"{IMAGE * image_count}{asked}{START}")]
    for turn in turns:
        messages.append(_message("assistant", render_step(turn.step)))
        messages.append(_message("user", _render_reaction(turn, asked)))
    return tuple(messages)


def render_summary_request(question: str) -> str:
    """Render the user turn that asks for the bare answer."""
    return SUMMARISE + _clean(question, "question")


def parse_rr(messages: Sequence[Message]) -> Transcript:
    """Read a transcript back from RR messages; raise WireError where they are not in the RR form."""
    _check_roles(messages)
    if len(messages) < 5:
        raise WireError(f"an RR dialogue has at least 5 messages, this one {len(messages)}")
    image_count, opening = _take_images(messages[1].content)
    question = _clean(_before(opening, START, "the first user turn"), "question")
    pairs = zip(messages[2:-1:2], messages[3:-1:2], strict=True)
    turns = tuple(_parse_turn(step.content, reaction.content, question) for step, reaction in pairs)
    _check_turns(turns)
    answer = _filled(messages[-1].content, "answer")
    return Transcript(question=question, image_count=image_count, turns=turns, answer=answer)


def render_step(step: Step) -> str:
    """Render one assistant turn."""
    text = f"<THOUGHT>{_filled(step.thought, 'thought')}</THOUGHT>"
    if step.operators:
        text += f"<OPERATOR>{', '.join(map(_name, step.operators))}</OPERATOR>"
    if step.rag_query is not None:
        text += f"<RAG>{_filled(step.rag_query, 'search query')}</RAG>"
    return f"{text}<SIGNAL>{step.signal}</SIGNAL>"


def parse_step(text: str) -> Step:
    """Read one assistant turn; raise WireError where it is malformed."""
    match = _STEP.fullmatch(text)
    if match is None:
        raise WireError(f"not a step: {text[:200]!r}")
    if match["signal"] not in _SIGNALS:
        raise WireError(f"unknown signal: {match['signal']!r}")
    operators, query = match["operators"], match["rag"]
    return Step(
        thought=_filled(match["thought"], "thought"),
        operators=() if operators is None else tuple(_name(name) for name in operators.split(", ")),
        rag_query=None if query is None else _filled(query, "search query"),
        signal=_SIGNALS[match["signal"]],
    )


def render_results(observations: Sequence[Observation]) -> str:
    """Render the user turn that tells what the called operators and the search said."""
    tools = ", ".join(_tools(observations))
    lines = "".join(f"-{item.tool} information: {_line(item.text)}\n" for item in observations)
    return f"Here are {tools} results from the previous step:\n{lines}{CONTINUE}"


def render_orr(transcript: IntegratedTranscript, system: str) -> tuple[Message, ...]:
    """Render the ORR messages of `transcript` behind the system prompt `system`."""
    request = render_orr_request(transcript.question, transcript.image_count, transcript.calls)
    thought, answer = _filled(transcript.thought, "thought"), _filled(transcript.answer, "answer")
    reply = f"<THOUGHT>{thought}</THOUGHT><ANSWER>{ANSWER_IS}{answer}</ANSWER>"
    return (_message("system", system), _message("user", request), _message("assistant", reply))


def render_orr_request(question: str, image_count: int, calls: Sequence[Observation]) -> str:
    """Render the user turn of the ORR form: the question, and what operators have said of its images."""
    asked = _clean(question, "question")
    # One that ends with most of it would seem to announce what follows a line too early.
    if API_OUTPUTS in asked + API_OUTPUTS[:-1]:
        raise WireError("the question holds the line that announces API outputs")
    request = IMAGE * image_count + asked
    return request + API_OUTPUTS + "\n".join(map(_render_call, calls)) if calls else request


def parse_orr_reply(text: str) -> tuple[str, str]:
    """Read the thought and the answer of an ORR reply; raise WireError where it is malformed."""
    match = _INTEGRATED.fullmatch(text)
    if match is None or not match["answer"].startswith(ANSWER_IS):
        raise WireError(f"not an ORR reply: {text[:200]!r}")
    return _filled(match["thought"], "thought"), _filled(match["answer"].removeprefix(ANSWER_IS), "answer")


def parse_orr(messages: Sequence[Message]) -> IntegratedTranscript:
    """Read a transcript back from ORR messages; raise WireError where they are not in the ORR form."""
    _check_roles(messages)
    if len(messages) != 3:
        raise WireError(f"an ORR dialogue has 3 messages, this one {len(messages)}")
    image_count, request = _take_images(messages[1].content)
    question, announced, calls = request.partition(API_OUTPUTS)
    thought, answer = parse_orr_reply(messages[2].content)
    return IntegratedTranscript(
        question=_clean(question, "question"),
        image_count=image_count,
        calls=tuple(map(_parse_call, calls.split("\n"))) if announced else (),
        thought=thought,
        answer=answer,
    )


def _message(role: Role, content: str) -> Message:
    return Message(role=role, content=content)


def _render_reaction(turn: Turn, question: str) -> str:
    if turn.step.signal == "end":
        return SUMMARISE + question
    if turn.step.signal == "reflection":
        return NO_CALL + REFLECT
    return render_results(turn.observations) if turn.observations else NO_CALL + CONTINUE


def _parse_turn(text: str, reaction: str, question: str) -> Turn:
    turn = Turn(step=parse_step(text), observations=_parse_observations(reaction))
    if _render_reaction(turn, question) != reaction:
        raise WireError(f"a step with signal {turn.step.signal!r} is not followed by {reaction[:200]!r}")
    return turn


def _parse_observations(reaction: str) -> tuple[Observation, ...]:
    if not reaction.startswith("Here are "):
        return ()
    match = _RESULTS.fullmatch(reaction)
    if match is None:
        raise WireError(f"not a results turn: {reaction[:200]!r}")
    lines = _before(match["lines"], f"\n{CONTINUE}", "the results turn").split("\n")
    return tuple(map(_parse_observation, lines))


def _parse_observation(line: str) -> Observation:
    match = _RESULT.fullmatch(line)
    if match is None:
        raise WireError(f"not a result line: {line[:200]!r}")
    return Observation(tool=match["tool"], text=_line(match["text"]))


def _render_call(call: Observation) -> str:
    return (
        f"<|begin_api_invoke|>{_name(call.tool)}<|end_api_invoke|>"
        f"<|begin_result_of_api|>{_line(call.text)}<|end_result_of_api|>"
    )


def _parse_call(text: str) -> Observation:
    match = _CALL.fullmatch(text)
    if match is None:
        raise WireError(f"not an API output: {text[:200]!r}")
    return Observation(tool=_name(match["tool"]), text=_line(match["text"]))


def _take_images(text: str) -> tuple[int, str]:
    rest = text
    while rest.startswith(IMAGE):
        rest = rest.removeprefix(IMAGE)
    return (len(text) - len(rest)) // len(IMAGE), rest


def _check_roles(messages: Sequence[Message]) -> None:
    roles = [message.role for message in messages]
    expected = ["system", *(["user", "assistant"] * (len(messages) // 2))]
    if roles != expected:
        raise WireError(f"roles must be system, then user and assistant in turn, not {', '.join(roles)}")


def _check_turns(turns: Sequence[Turn]) -> None:
    if not turns or turns[-1].step.signal != "end" or any(turn.step.signal == "end" for turn in turns[:-1]):
        raise WireError("exactly the last step ends the reasoning")
    for turn in turns:
        _check_calls(turn)


def _check_calls(turn: Turn) -> None:
    step = turn.step
    called = [*step.operators, *([RAG] if step.rag_query is not None else [])]
    if called and step.signal != "continue":
        raise WireError(f"a step with signal {step.signal!r} calls {', '.join(called)}")
    if _tools(turn.observations) != called or len(set(called)) != len(called):
        raise WireError(f"called {called}, but the results are of {_tools(turn.observations)}")


def _tools(observations: Sequence[Observation]) -> list[str]:
    tools: list[str] = []
    for item in observations:
        if not tools or tools[-1] != item.tool:
            tools.append(_result_name(item.tool))
    return tools


def _name(name: str) -> str:
    if _NAME.fullmatch(name) is None or name == RAG:
        raise WireError(f"not an operator name: {name!r}")
    return name


def _result_name(name: str) -> str:
    return name if name == RAG else _name(name)


def _line(text: str) -> str:
    if "\n" in text:
        raise WireError(f"an observation is one line: {text[:200]!r}")
    return _clean(text, "observation")


def _filled(text: str, what: str) -> str:
    if not text.strip():
        raise WireError(f"empty {what}")
    return _clean(text, what)


def _clean(text: str, what: str) -> str:
    for mark in MARKS:
        if mark in text:
            raise WireError(f"the {what} holds the mark {mark}")
    return text


def _before(text: str, ending: str, where: str) -> str:
    if not text.endswith(ending):
        raise WireError(f"{where} does not end with {ending.strip()!r}")
    return text.removesuffix(ending)
