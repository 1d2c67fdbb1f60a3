"""The deterministic checks of dialogues: one file for each thing that is looked at, and which checks there are.

A check is a statement that holds of a sound dialogue. Those in SELF_EVIDENT need the RR dialogue alone and decide the
score of an audit without a model; the others also need the deployment's policy, the rest of the source, or the RR
dialogue that an ORR dialogue was made from.
"""

from collections.abc import Callable, Iterable, Mapping

from mmat_dagster.audit.calls import find_uncalled
from mmat_dagster.audit.check import Check, Subject
from mmat_dagster.audit.gold import (
    find_other_answer,
    find_other_integrated_answer,
    find_quoted_gold,
    find_quoted_integrated_gold,
)
from mmat_dagster.audit.integrated import Integrated, find_lost
from mmat_dagster.audit.length import find_too_long, find_too_long_integrated
from mmat_dagster.audit.reflections import find_idle_reflections
from mmat_dagster.audit.samples import FindInSample, Policy, duplicate_finder, leak_finder, licence_finder
from mmat_dagster.audit.wire_form import find_broken_orr, find_broken_rr
from mmat_dagster.duplicates import Seen
from mmat_dagster.schema import Dialogue

WIRE_FORM, ANSWERS = "wire_form_round_trips", "answers_are_gold"
QUOTES, CALLS, REFLECTIONS = "no_thought_quotes_the_gold", "operators_were_called", "reflections_change_the_reasoning"
LENGTH, LEAKS, LICENCES = "length_fits_the_student", "leaks_no_benchmark", "licences_allow_the_use"
DUPLICATES, KEEPS = "nothing_is_asked_twice", "keeps_every_thought_and_result"

DESCRIPTIONS = {
    WIRE_FORM: "Every dialogue parses and renders to itself.",
    ANSWERS: "Every dialogue ends with a gold answer, by the source's own rule.",
    QUOTES: "No thought speaks of the answer as one that was given.",
    CALLS: "Every operator that a step names has a result, every result a call, and the dialogue tells it.",
    REFLECTIONS: "What is thought after a reflection was not thought before.",
    LENGTH: "Every dialogue fits into the student's context, by an estimate that is rather too high.",
    LEAKS: "No dialogue is marked as one that gives an evaluation benchmark away.",
    LICENCES: "No dialogue is from a part that may not be used commercially, where such are left out.",
    DUPLICATES: "No id comes twice, and no question about the same images.",
    KEEPS: "Every ORR dialogue holds all thoughts of its RR dialogue, in order, and all operator results.",
}

# Any one failure takes a dialogue below what counts as high quality: 0.7. One that cannot be read is worth nothing, one
# with a wrong answer hardly anything; invented tools teach to invent, the others teach little.
SELF_EVIDENT: tuple[Check[Dialogue], ...] = (
    Check(name=WIRE_FORM, description=DESCRIPTIONS[WIRE_FORM], find=find_broken_rr, weight=1.0),
    Check(name=ANSWERS, description=DESCRIPTIONS[ANSWERS], find=find_other_answer, weight=0.8),
    Check(name=CALLS, description=DESCRIPTIONS[CALLS], find=find_uncalled, weight=0.5),
    Check(name=QUOTES, description=DESCRIPTIONS[QUOTES], find=find_quoted_gold, weight=0.4),
    Check(name=REFLECTIONS, description=DESCRIPTIONS[REFLECTIONS], find=find_idle_reflections, weight=0.4),
    Check(name=LENGTH, description=DESCRIPTIONS[LENGTH], find=find_too_long, weight=0.4),
)


# The names of all checks, in the order in which they are made.
OF_DIALOGUES = (*(check.name for check in SELF_EVIDENT), LEAKS, LICENCES, DUPLICATES)
OF_INTEGRATED = (WIRE_FORM, ANSWERS, KEEPS, QUOTES, LENGTH, LEAKS, LICENCES, DUPLICATES)


def dialogue_checks(policy: Policy, seen: Seen) -> tuple[Check[Dialogue], ...]:
    """Return all checks of RR dialogues; `seen` is to know what came before in the source."""
    of_samples = _of_samples(policy, seen)
    return (*SELF_EVIDENT, *(_check(name, _of_dialogue(find)) for name, find in of_samples.items()))


def integrated_checks(policy: Policy, seen: Seen) -> tuple[Check[Integrated], ...]:
    """Return all checks of ORR dialogues; `seen` is to know what came before in the source."""
    of_samples = _of_samples(policy, seen)
    return (
        _check(WIRE_FORM, find_broken_orr),
        _check(ANSWERS, find_other_integrated_answer),
        _check(KEEPS, find_lost),
        _check(QUOTES, find_quoted_integrated_gold),
        _check(LENGTH, find_too_long_integrated),
        *(_check(name, _of_integrated(find)) for name, find in of_samples.items()),
    )


def _check(name: str, find: Callable[[Subject], Iterable[str]]) -> Check[Subject]:
    return Check(name=name, description=DESCRIPTIONS[name], find=find)


def _of_samples(policy: Policy, seen: Seen) -> Mapping[str, FindInSample]:
    return {LEAKS: leak_finder(policy), LICENCES: licence_finder(policy), DUPLICATES: duplicate_finder(seen)}


def _of_dialogue(find: FindInSample) -> Callable[[Dialogue], Iterable[str]]:
    return lambda dialogue: find(dialogue.sample)


def _of_integrated(find: FindInSample) -> Callable[[Integrated], Iterable[str]]:
    return lambda integrated: find(integrated.record.sample)
