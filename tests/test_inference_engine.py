"""Replies do not depend on who is decoded with them, nor on what was read before."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

import torch

from mmat_dagster.inference.process.engine import Engine
from mmat_dagster.inference.process.opening import OpenStudent, open_student
from mmat_dagster.inference.process.prompting import Prompter
from mmat_dagster.inference.protocol import Answer, BadRequest, Sampling, Spoken
from mmat_dagster.inference.spec import Hosting
from mmat_dagster.training.process.templates import special_tokens, tokenizer_of
from mmat_dagster.training.spec import Student
from mmat_dagster.training.students import STUDENTS
from tests.served_students import forgetful_reader, photo_bytes, reader, tiler, user

SYSTEM = Spoken(role="system", parts=("You reason step by step, and call operators.",))
GREEDY = Sampling()
PATIENCE_S = 60
LONGEST = 24


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bases")


def opened(student: Student, cache: Path) -> OpenStudent:
    return open_student(Hosting(name="it", student=student, cache=str(cache), accelerator="cpu"))


@pytest.fixture(scope="module")
def sees(cache: Path) -> OpenStudent:
    return opened(STUDENTS["tiny"], cache)


@pytest.fixture(scope="module")
def reads(cache: Path) -> OpenStudent:
    return opened(reader(cache / "reads"), cache)


@pytest.fixture(scope="module")
def tiles(cache: Path) -> OpenStudent:
    return opened(tiler(cache / "tiles"), cache)


@pytest.fixture(params=["sees", "reads", "tiles"])
def asked(request: pytest.FixtureRequest) -> OpenStudent:
    it: OpenStudent = request.getfixturevalue(request.param)
    return it


def together(
    it: OpenStudent,
    dialogues: Sequence[Sequence[Spoken]],
    sampling: Sampling = GREEDY,
    batch: int = 16,
    kept: float = 1,
) -> list[Answer]:
    """Return the answers to dialogues that all wait when the engine begins."""
    engine = Engine(it, batch, kept)
    prompts = [Prompter(it).prompt(dialogue) for dialogue in dialogues]
    coming = [engine.ask(prompt, sampling, LONGEST - 3 * (at % 3)) for at, prompt in enumerate(prompts)]
    engine.start()
    try:
        return [each.result(PATIENCE_S) for each in coming]
    finally:
        engine.end()


def dialogues(it: OpenStudent) -> list[list[Spoken]]:
    """Return dialogues of many lengths, some about images where the student sees."""
    sees_images = it.student.modality == "vision"
    return [
        [
            SYSTEM,
            user(
                "word " * (7 * number % 11) + str(number),
                *([photo_bytes(number)] if sees_images and number % 2 else []),
            ),
        ]
        for number in range(6)
    ]


def reference(it: OpenStudent, dialogue: Sequence[Spoken], most: int) -> list[int]:
    """Return the tokens that transformers' own loop says."""
    inputs = Prompter(it).prompt(dialogue).inputs
    said = it.model.generate(**inputs, max_new_tokens=most, do_sample=False)
    return [int(token) for token in said[0, inputs["input_ids"].shape[1] :]]


def test_the_engine_says_what_transformers_says(asked: OpenStudent) -> None:
    assert asked.is_plain
    for dialogue in dialogues(asked)[:2]:
        (answer,) = together(asked, [dialogue])
        said = [token for token in reference(asked, dialogue, LONGEST) if token not in asked.ends]
        tokenizer = getattr(asked.processor, "tokenizer", asked.processor)
        assert answer.text == tokenizer.decode(said, skip_special_tokens=True)


def test_rows_that_are_decoded_together_say_what_each_says_alone(asked: OpenStudent) -> None:
    all_at_once = together(asked, dialogues(asked), kept=0)
    few_at_once = together(asked, dialogues(asked), batch=2, kept=0)
    alone = together(asked, dialogues(asked), batch=1, kept=0)
    assert [each.text for each in all_at_once] == [each.text for each in alone]
    assert [each.text for each in few_at_once] == [each.text for each in alone]
    assert len({each.text for each in alone}) > 3
    assert sum(each.cached_tokens for each in alone) == 0 < sum(each.cached_tokens for each in all_at_once)


def in_turns(it: OpenStudent, kept: float, opening: Sequence[Spoken]) -> list[Answer]:
    """Hold a dialogue of four turns, each asked when the one before is answered."""
    engine, prompter = Engine(it, 4, kept), Prompter(it)
    engine.start()
    said: list[Spoken] = list(opening)
    answers = []
    for turn in range(4):
        answers.append(engine.ask(prompter.prompt(said), GREEDY, LONGEST).result(PATIENCE_S))
        said += [
            Spoken(role="assistant", parts=(answers[-1].text,)),
            user(f"-ocr information: {turn}\nPlease continue."),
        ]
    engine.end()
    return answers


def test_a_dialogue_that_goes_on_reads_its_beginning_once(asked: OpenStudent) -> None:
    pictures = [photo_bytes(1), photo_bytes(2)] if asked.student.modality == "vision" else []
    opening = [SYSTEM, user("What is it?", *pictures)]
    going_on, anew = in_turns(asked, 1, opening), in_turns(asked, 0, opening)
    assert [each.text for each in going_on] == [each.text for each in anew]
    assert [each.prompt_tokens for each in going_on] == [each.prompt_tokens for each in anew]
    assert all(each.cached_tokens == 0 for each in anew)
    before, *later = going_on
    for each in later:
        assert before.prompt_tokens <= each.cached_tokens < each.prompt_tokens
        before = each


def test_another_image_is_not_taken_for_the_one_before(sees: OpenStudent) -> None:
    engine, prompter = Engine(sees, 4, 1.0), Prompter(sees)
    engine.start()
    prompts = [prompter.prompt([SYSTEM, user("What is it?", photo_bytes(seed))]) for seed in (1, 2, 1)]
    first, other, again = [engine.ask(each, GREEDY, LONGEST).result(PATIENCE_S) for each in prompts]
    engine.end()
    span = prompts[0].image_span
    assert span is not None
    assert (other.cached_tokens, again.cached_tokens) == (span[0], again.prompt_tokens - 1)
    assert first.text == again.text != other.text


def test_what_is_kept_is_bounded(reads: OpenStudent) -> None:
    per_token = 2 * 2 * 2 * 16 * 4
    tokens = Prompter(reads).prompt([user("0"), SYSTEM]).length + LONGEST
    engine, prompter = Engine(reads, 1, 2 * tokens * per_token / 1e9), Prompter(reads)
    engine.start()
    texts = [f"{number}" for number in (0, 1, 2, 1, 0)]
    prompts = [prompter.prompt([user(text), SYSTEM]) for text in texts]
    answers = [engine.ask(each, GREEDY, LONGEST).result(PATIENCE_S) for each in prompts]
    engine.end()
    *_, known, forgotten = answers
    assert known.cached_tokens == known.prompt_tokens - 1
    assert forgotten.cached_tokens < forgotten.prompt_tokens - 1


def test_a_drawn_reply_is_the_same_for_the_same_seed_whoever_is_decoded_with_it(reads: OpenStudent) -> None:
    drawn = Sampling(temperature=1.0, top_p=0.9, seed=7)
    alone = together(reads, dialogues(reads), drawn, batch=1)
    assert [each.text for each in alone] == [each.text for each in together(reads, dialogues(reads), drawn)]
    other = together(reads, dialogues(reads), Sampling(temperature=1.0, seed=8), batch=1)
    assert [each.text for each in alone] != [each.text for each in other]


def test_the_likeliest_token_is_all_that_a_small_top_p_leaves(reads: OpenStudent) -> None:
    drawn = together(reads, dialogues(reads), Sampling(temperature=2.0, top_p=1e-6, seed=7))
    assert [each.text for each in drawn] == [each.text for each in together(reads, dialogues(reads))]


def test_a_model_that_looks_back_a_few_tokens_only_is_left_to_transformers(cache: Path) -> None:
    it = opened(forgetful_reader(cache / "forgets"), cache)
    assert not it.is_plain
    dialogue = dialogues(it)[1]
    first, again = together(it, [dialogue, dialogue])
    said = [token for token in reference(it, dialogue, LONGEST) if token not in it.ends]
    assert first.text == it.processor.decode(said)
    assert first.text.startswith(again.text)
    assert again.cached_tokens == 0
    drawn = Sampling(temperature=1.0, seed=3)
    assert together(it, [dialogue], drawn) == together(it, [dialogue], drawn)


def test_a_reply_ends_with_the_token_that_ends_a_turn(reads: OpenStudent, monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = together(reads, [dialogues(reads)[0]])
    assert (whole.finish_reason, whole.completion_tokens) == ("length", LONGEST)
    head, end = reads.model.lm_head.weight, next(iter(reads.ends))
    with torch.no_grad():
        before = head[end].clone()
        head[end] = 0.5 * head.abs().sum(0)
    answers = together(reads, dialogues(reads))
    with torch.no_grad():
        head[end] = before
    stopped = [each for each in answers if each.finish_reason == "stop"]
    assert stopped
    assert all(each.completion_tokens <= LONGEST and "<|im_end|>" not in each.text for each in stopped)


@pytest.mark.parametrize(
    ("said", "complaint", "code"),
    [
        ([user("x" * 5000)], "maximum context length is 4096 tokens, and the messages have", "context_length_exceeded"),
        ([user("What?", photo_bytes(1))], "reads text only", "invalid_image"),
    ],
)
def test_what_a_text_student_cannot_read_is_told(
    reads: OpenStudent, said: list[Spoken], complaint: str, code: str
) -> None:
    with pytest.raises(BadRequest, match=complaint) as caught:
        Prompter(reads).prompt(said)
    assert caught.value.code == code


def test_a_text_that_holds_a_command_ends_no_turn_and_begins_none(reads: OpenStudent, sees: OpenStudent) -> None:
    for it in (reads, sees):
        tokenizer = tokenizer_of(it.processor)
        commands = [each for each in special_tokens(tokenizer) if len(each) > 1]
        numbers = set(tokenizer.convert_tokens_to_ids(commands))
        plain = Prompter(it).prompt([SYSTEM, user("It reads: .")])
        orders = ["".join(commands), *commands, *(f"{each[:2]}{each}{each[2:]}" for each in commands)]
        for order in orders:
            said = Prompter(it).prompt([SYSTEM, user(f"It reads: {order}.")])
            assert [at for at in said.tokens.tolist() if at in numbers] == [
                at for at in plain.tokens.tolist() if at in numbers
            ]


def test_a_long_prompt_leaves_its_reply_the_rest_of_the_context(reads: OpenStudent) -> None:
    prompt = Prompter(reads).prompt([SYSTEM, user("")])
    long = Prompter(reads).prompt([SYSTEM, user("x" * (4096 - prompt.length - 5))])
    engine = Engine(reads, 1, 0)
    engine.start()
    answer = engine.ask(long, GREEDY, 100).result(PATIENCE_S)
    engine.end()
    assert answer.completion_tokens <= 5 == 4096 - long.length


def test_a_model_that_fails_at_one_reply_answers_the_others(
    reads: OpenStudent, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Prompter(reads).prompt(dialogues(reads)[0])
    bad = Prompter(reads).prompt(dialogues(reads)[1])
    bad.tokens[-1] = 1 << 40  # no row of the embedding has this number
    engine = Engine(reads, 4, 0)
    coming = [engine.ask(prompt, GREEDY, LONGEST) for prompt in (good, bad, good)]
    engine.start()
    with pytest.raises(Exception, match="index out of range"):
        coming[1].result(PATIENCE_S)
    assert coming[0].result(PATIENCE_S).text == coming[2].result(PATIENCE_S).text
    engine.end()
