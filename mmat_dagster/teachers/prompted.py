"""The teacher that is prompted: a chat model writes the steps, judges pretence and skipped calculations.

Every call is a pair of pure functions, `render_` for the messages and `parse_` for the reply:

    next step             system | images + question + answer | reply | results | reply | results ...
    pretence              system | images + dialogue + task; where it pretends, a second call rewrites the last thought
    skipped calculation   system | images + dialogue + its last two rounds + task

A reply that cannot be used is told what is wrong with it and asked for once more.
"""

from collections.abc import Mapping, Sequence

from mmat_dagster import prompts, wire
from mmat_dagster.chat.prompting import CHAT_CODE, Prompting
from mmat_dagster.fingerprints import code_fingerprint
from mmat_dagster.interfaces import ChatModel, Finding, Pictures, Reply, RowError, Teacher
from mmat_dagster.schema import DatasetName, Observation, Rejection, Sample, Step, Transcript, Turn
from mmat_dagster.spending import Forecast, Quote
from mmat_dagster.teachers.replies import (
    CALCULATION,
    PRETENCE,
    REWRITE,
    STEP,
    parse_pretence,
    parse_reply,
    parse_rewrite,
    parse_skipped_calculation,
)
from mmat_dagster.teachers.requests import (
    render_next_step,
    render_pretence,
    render_rewrite,
    render_skipped_calculation,
)
from mmat_dagster.tools import Operator

PROMPTS: Mapping[DatasetName, tuple[str, ...]] = {
    "rationales": ("rationale_system", "rationale_question", "rationale_results", "repair"),
    "rr_dialogues": (
        "reflection_system",
        "reflection_dialogue",
        "reflection_general",
        "reflection_rewrite",
        "reflection_math",
        "repair",
    ),
}

CODE = ("teachers/prompted.py", "teachers/replies.py", "teachers/requests.py", *CHAT_CODE)

# What a forecast supposes, before the data tells: how many steps a rationale has, how long thoughts and results are
# (some 100 tokens each), and how many rationales are found to pretend. Printed with every estimate.
USUAL_STEPS = 3
USUAL_PRETENCE = 0.15
USUAL_TURN = Turn(
    step=Step(thought="what the image shows and what is still needed " * 9, operators=("ocr",), signal="continue"),
    observations=(Observation(tool="ocr", text="a line of text that stands in the image " * 10),),
)
USUAL_END = Turn(step=Step(thought="what follows from all that was found so far " * 9, signal="end"))


class PromptedTeacher(Prompting, Teacher):
    """A teacher over a chat model; at most `max_turns` steps are asked for, and the prompts say so."""

    def __init__(self, *, model: ChatModel, pictures: Pictures, max_turns: int) -> None:
        super().__init__(model=model, pictures=pictures)
        self._max_turns = max_turns

    def version(self, dataset: DatasetName) -> str:
        """The model with its parameters, the turn limit, and the fingerprints of code and of the prompts for `dataset`.

        Changed code asks nothing anew: the replies are in the model's ledger, and are read again.
        """
        names, code = PROMPTS.get(dataset, ()), code_fingerprint(*CODE)
        return f"{self._model.version} max_turns={self._max_turns} prompts={prompts.fingerprint(*names)} code={code}"

    def forecast(
        self, sample: Sample, offered: Sequence[Operator], *, is_mathematical: bool
    ) -> Mapping[DatasetName, Forecast]:
        """Forecast the calls of a usual dialogue about `sample`; what is not known yet is of usual length."""
        steps = min(USUAL_STEPS, self._max_turns)
        turns = [*[USUAL_TURN] * (steps - 1), USUAL_END]
        rationale = Forecast()
        for made in range(steps):
            messages = render_next_step(sample, turns[:made], offered, self._pictures, self._max_turns)
            # The system prompt is kept from other samples, everything before the new turn from the last call.
            rationale = rationale.plus(self._model.forecast(messages, STEP, kept=max(1, len(messages) - 2)))
        transcript = Transcript(
            question=sample.question, image_count=len(sample.images), turns=tuple(turns), answer=sample.answers[0]
        )
        judge = self._model.forecast(render_pretence(sample, transcript, self._pictures), PRETENCE, kept=1)
        again = self._model.forecast(render_pretence(sample, transcript, self._pictures), CALCULATION, kept=2)
        reflection = judge.plus(again, USUAL_PRETENCE).plus(again, (1 - USUAL_PRETENCE) if is_mathematical else 0.0)
        return {"rationales": rationale, "rr_dialogues": reflection}

    def quote(self, forecast: Forecast) -> Quote:
        """Return the model's quote."""
        return self._model.quote(forecast)

    async def next_step(self, sample: Sample, turns: Sequence[Turn], offered: Sequence[Operator]) -> Reply | Rejection:
        """Ask for the step after `turns`."""
        try:
            messages = render_next_step(sample, turns, offered, self._pictures, self._max_turns)
        except wire.WireError as broken:
            return reject(sample, "rationales", RowError(reason="wire form broken", detail=str(broken)))
        names = [operator.name for operator in offered]
        reply = await self._ask(messages, STEP, lambda text: parse_reply(text, names))
        return reject(sample, "rationales", reply) if isinstance(reply, RowError) else reply

    async def find_pretence(self, sample: Sample, transcript: Transcript) -> Finding | Rejection | None:
        """Ask whether the dialogue pretends; where it does, ask for the thought that corrects it."""
        found = await self._find_pretence(sample, transcript)
        return reject(sample, "rr_dialogues", found) if isinstance(found, RowError) else found

    async def find_skipped_calculation(self, sample: Sample, transcript: Transcript) -> Finding | Rejection | None:
        """Ask whether a calculation is skipped, and for the thought that makes up for it."""
        messages = render_skipped_calculation(sample, transcript, self._pictures)
        found = await self._ask(messages, CALCULATION, parse_skipped_calculation)
        return reject(sample, "rr_dialogues", found) if isinstance(found, RowError) else found

    async def _find_pretence(self, sample: Sample, transcript: Transcript) -> Finding | RowError | None:
        reason = await self._ask(render_pretence(sample, transcript, self._pictures), PRETENCE, parse_pretence)
        if reason is None or isinstance(reason, RowError):
            return reason
        messages = render_rewrite(sample, transcript, reason, self._pictures)
        thought = await self._ask(messages, REWRITE, parse_rewrite)
        return thought if isinstance(thought, RowError) else Finding(reason=reason, thought=thought)


def reject(sample: Sample, stage: DatasetName, error: RowError) -> Rejection:
    """Return the rejection of `sample` in `stage` for `error`."""
    return Rejection(source=sample.source, record_id=sample.id, stage=stage, reason=error.reason, detail=error.detail)
