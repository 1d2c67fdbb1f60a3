"""No reply of a chat model is believed that is not in the form it was asked for."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster import wire
from mmat_dagster.chat import asking
from mmat_dagster.interfaces import ChatReply, Finding, Reply, ReplySchema, RowError
from mmat_dagster.schema import Step
from mmat_dagster.teachers import replies, requests
from tests.dialogues import LOOK, SAID, final_reply, step_reply

thoughts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda text: bool(text.strip()) and text == text.strip() and not any(mark in text for mark in wire.MARKS)
)
queries = thoughts.map(lambda text: " ".join(text.split())).filter(bool)
calling = st.builds(
    Step,
    thought=thoughts,
    operators=st.lists(st.sampled_from(["ocr", "image_caption", "face_detection"]), unique=True).map(tuple),
    rag_query=st.none() | queries,
    signal=st.just("continue"),
)
ending = st.builds(Step, thought=thoughts, signal=st.just("end"))


@given(calling | ending)
def test_a_step_survives_the_round_trip_through_json(step: Step) -> None:
    assert replies.parse_step(requests.render_step(step), ("ocr", "image_caption", "face_detection")) == step


@given(
    st.text(max_size=200) | st.dictionaries(st.text(max_size=9), st.integers() | st.text(max_size=9)).map(json.dumps)
)
def test_no_reply_breaks_the_parsers(text: str) -> None:
    assert isinstance(replies.parse_step(text, ("ocr",)), Step | RowError)
    assert isinstance(replies.parse_rewrite(text), str | RowError)
    assert isinstance(replies.parse_skipped_calculation(text), Finding | RowError | None)
    assert isinstance(replies.parse_pretence(text), str | RowError | None)


@pytest.mark.parametrize("fenced", [f"```json\n{SAID}\n```", f"```\n{SAID}\n```", f"\n\n  {SAID}\n\n"])
def test_a_fence_and_white_space_around_the_object_are_tolerated(fenced: str) -> None:
    assert replies.parse_step(fenced, ("ocr",)) == LOOK


def test_operators_named_twice_are_called_once_in_their_order() -> None:
    step = replies.parse_step(step_reply(operators=["ocr", "image_caption", "ocr"]), ("image_caption", "ocr"))
    assert isinstance(step, Step)
    assert step.operators == ("ocr", "image_caption")


def test_a_search_query_is_folded_to_one_line() -> None:
    step = replies.parse_step(step_reply(operators=[], rag={"needed": True, "query": " tower\n height "}), ())
    assert isinstance(step, Step)
    assert step.rag_query == "tower height"


def test_a_query_that_is_not_needed_is_not_searched() -> None:
    step = replies.parse_step(step_reply(rag={"needed": False, "query": "tower height"}), ("ocr",))
    assert isinstance(step, Step)
    assert step.rag_query is None


def test_a_step_may_go_on_without_a_call() -> None:
    step = replies.parse_step(step_reply(operators=[]), ())
    assert step == Step(thought="I need the print.", signal="continue")


def test_a_key_that_was_not_asked_for_is_ignored() -> None:
    assert replies.parse_step(step_reply(confidence=0.9), ("ocr",)) == LOOK


def without(key: str) -> str:
    return json.dumps({name: value for name, value in json.loads(step_reply()).items() if name != key})


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        ("I think it is 2.", "Invalid JSON"),
        ("", "Invalid JSON"),
        (f"Here you are: {SAID}", "Invalid JSON"),
        (f"{SAID} {SAID}", "Invalid JSON"),
        (SAID[:40], "Invalid JSON"),
        (f"[{SAID}]", "Input should be an object"),
        (without("thought"), "thought: Field required"),
        (without("operators"), "operators: Field required"),
        (without("rag"), "rag: Field required"),
        (without("next_action"), "next_action: Field required"),
        (step_reply(thought=7), "thought: Input should be a valid string"),
        (step_reply(operators="ocr"), "operators: Input should be a valid array"),
        (step_reply(operators=[1]), "operators.0: Input should be a valid string"),
        (step_reply(rag={"needed": "yes", "query": None}), "rag.needed: Input should be a valid boolean"),
        (step_reply(rag={"needed": False}), "rag.query: Field required"),
        (step_reply(next_action="stop"), "next_action: Input should be 'continue' or 'final_answer'"),
        (step_reply(thought="  \n"), "empty thought"),
        (step_reply(rag={"needed": True, "query": None}), "a search without a query"),
        (step_reply(rag={"needed": True, "query": "  "}), "a search without a query"),
        (final_reply(operators=["ocr"]), "a final step that calls a tool"),
        (final_reply(rag={"needed": True, "query": "tower"}), "a final step that calls a tool"),
    ],
)
def test_a_malformed_step_is_refused_with_its_fault_and_its_words(reply: str, complaint: str) -> None:
    error = replies.parse_step(reply, ("ocr",))
    assert isinstance(error, RowError)
    assert error.reason == "malformed teacher reply"
    assert complaint in error.detail
    assert error.detail.endswith(reply[:300])


def test_a_malformed_reply_is_told_by_its_first_300_characters() -> None:
    error = replies.parse_step("ü" * 301, ())
    assert isinstance(error, RowError)
    assert error.detail.count("ü") == 300


def test_an_operator_that_was_not_offered_is_named() -> None:
    error = replies.parse_step(step_reply(operators=["ocr", "web_browser"]), ("ocr",))
    assert error == RowError(reason="operator not offered", detail="the step calls web_browser")


def test_a_thought_that_holds_a_mark_of_the_wire_form_is_refused() -> None:
    error = replies.parse_step(step_reply(thought="I write <ANSWER>2</ANSWER>."), ("ocr",))
    assert isinstance(error, RowError)
    assert error.reason == "wire form broken"


def test_a_step_keeps_the_raw_words_next_to_it() -> None:
    assert replies.parse_reply(SAID, ("ocr",)) == Reply(step=LOOK, raw_reply=SAID)


@pytest.mark.parametrize("verdict", ["{}", '{"reason": ""}', '{"reason": " "}', '{"reason": null}'])
def test_a_judgement_without_a_reason_finds_no_pretence(verdict: str) -> None:
    assert replies.parse_pretence(verdict) is None


def make_reply(text: str, *, is_cut: bool = False) -> ChatReply:
    return ChatReply(text=text, prompt_tokens=9, completion_tokens=1024, is_cut=is_cut)


def test_a_cut_reply_is_malformed_even_where_it_reads_well() -> None:
    error = asking.parse_with(make_reply('{"reason": "why"}', is_cut=True), replies.parse_pretence)
    assert error == RowError(
        reason="malformed teacher reply", detail='cut at 1024 tokens; the reply begins: {"reason": "why"}'
    )


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_reply_is_called_so(text: str) -> None:
    error = asking.parse_with(make_reply(text), replies.parse_rewrite)
    assert error == RowError(reason="malformed teacher reply", detail="an empty reply")


SCHEMAS = (replies.STEP, replies.PRETENCE, replies.REWRITE, replies.CALCULATION)


def objects(schema: Any) -> list[dict[str, Any]]:
    """Return every part of a schema that describes an object, however deep."""
    if isinstance(schema, list):
        return [found for each in schema for found in objects(each)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if schema.get("type") == "object" else []
    return own + [found for each in schema.values() for found in objects(each)]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_a_schema_is_strict_all_the_way_down(schema: ReplySchema) -> None:
    found = objects(orjson.loads(schema.json_schema))
    assert len(found) == (2 if schema is replies.STEP else 1)
    for each in found:
        assert each["additionalProperties"] is False
        assert each["required"] == list(each["properties"])
    # OpenAI's strict mode takes neither defaults nor titles of our own.
    assert not any(word in schema.json_schema for word in ('"default"', '"title"', "Reply.", "judgement"))


def test_the_schemas_ask_for_the_keys_that_the_prompts_name() -> None:
    keys = {schema.name: list(orjson.loads(schema.json_schema)["properties"]) for schema in SCHEMAS}
    assert keys == {
        "step": ["thought", "operators", "rag", "next_action"],
        "pretence": ["reason"],
        "rewrite": ["thought"],
        "calculation": ["reason", "thought"],
    }


def test_the_schema_of_a_step_says_what_each_key_may_hold() -> None:
    schema = orjson.loads(replies.STEP.json_schema)
    properties, (rag,) = schema["properties"], schema["$defs"].values()
    assert properties["thought"] == {"type": "string"}
    assert properties["operators"] == {"type": "array", "items": {"type": "string"}}
    assert properties["next_action"] == {"type": "string", "enum": ["continue", "final_answer"]}
    assert properties["rag"] == {"$ref": "#/$defs/RagReply"}
    assert rag["properties"] == {
        "needed": {"type": "boolean"},
        "query": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    }


@pytest.mark.parametrize("schema", [replies.PRETENCE, replies.CALCULATION], ids=lambda schema: schema.name)
def test_what_may_be_left_out_may_be_null_under_a_strict_schema(schema: ReplySchema) -> None:
    optional = {"pretence": "reason", "calculation": "thought"}[schema.name]
    assert {"type": "null"} in orjson.loads(schema.json_schema)["properties"][optional]["anyOf"]
