"""Students are examined once: what is in the store costs nothing, and what decides a result examines anew."""

import base64
import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mmat_dagster.cli import run
from mmat_dagster.evaluation.answering import Manner
from mmat_dagster.evaluation.board import Board, NothingToExamine, Plan, Scored
from mmat_dagster.evaluation.comparing import compare_all
from mmat_dagster.evaluation.examining import Examination
from mmat_dagster.evaluation.hosts import ServedStudent
from mmat_dagster.evaluation.questions import Question
from mmat_dagster.evaluation.results import read_answers, read_scoreboard
from mmat_dagster.evaluation.tables import comparison_table, results_table, significance_table
from mmat_dagster.evaluation.transcripts import to_markdown
from mmat_dagster.interfaces import ChatTurn
from mmat_dagster.scoring import BENCHMARKS
from mmat_dagster.scoring.benchmark import ScoringError
from mmat_dagster.training.checkpoints import obtain_checkpoint
from mmat_dagster.training.executor import TrainingJob
from mmat_dagster.training.mixtures import CheckpointName, Order
from mmat_dagster.training.spec import BadRun, HyperParameters, Outcome, Student, dump_run
from mmat_dagster.training.students import STUDENTS
from resources.store import LocalStore
from tests.examined import ToldHost, make_question, make_tools
from tests.fakes import ScriptedChatModel
from tests.test_pipeline import EndlessOcr
from tests.training_runs import training_run

COLOURS = ("red", "green", "blue", "white")
END = "<THOUGHT>I look.</THOUGHT><SIGNAL>end</SIGNAL>"


def write_benchmark(folder: Path, answers: Sequence[str] = COLOURS) -> None:
    """Write a sample_vqa whose pictures have the colours that are asked for; the last one cannot be read."""
    (folder / "sample_vqa").mkdir(parents=True, exist_ok=True)
    with (folder / "sample_vqa" / "sample_vqa.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["index", "image", "question", "answer", "category"])
        for index, colour in enumerate(answers):
            buffer = io.BytesIO()
            Image.new("RGB", (16 + index, 16), colour).save(buffer, "PNG")
            image = base64.b64encode(buffer.getvalue()).decode()
            table.writerow([index, image, f"Which colour has picture {index}?", colour, f"part {index % 2}"])
        table.writerow([len(answers), base64.b64encode(b"no image" * 20).decode(), "What is this?", "x", "part 0"])


def knows(*right: str) -> ToldHost:
    """Return a host whose tuned students know some colours; nobody else knows any."""

    def say(student: ServedStudent, messages: Sequence[ChatTurn]) -> str:
        asked, question = messages[-1].text, messages[-1].text + messages[1 % len(messages)].text
        number = int(question.partition("picture ")[2].partition("?")[0])
        answer = COLOURS[number] if student.checkpoint and COLOURS[number] in right else "grey"
        if messages[0].role == "user":
            return answer
        if "Use the following API outputs" in asked or "start your reasoning" not in messages[1].text:
            return f"<THOUGHT>Seen.</THOUGHT><ANSWER>The answer is: {answer}</ANSWER>"
        return answer if "summarize" in asked else END

    return ToldHost(say)


def train(store: LocalStore, name: CheckpointName, student: Student = STUDENTS["tiny"], seed: int = 1) -> None:
    """Leave a checkpoint in the store."""

    def leave(job: TrainingJob) -> Outcome:
        result = Path(job.folder) / "result"
        result.mkdir(parents=True)
        (result / "adapter_model.safetensors").write_bytes(f"{name} {seed}".encode())
        return Outcome(state="done", step=1, max_steps=1)

    run = replace(training_run(), student=student, hyper=HyperParameters(seed=seed), format=name[:-11])  # type: ignore[arg-type]
    order = Order(checkpoint=name, mixture="tabmwp", student=student, hyper=run.hyper)
    obtain_checkpoint(store, order, run, leave)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    write_benchmark(tmp_path / "benchmarks")
    return LocalStore(root=str(tmp_path / "store"))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        mixture="tabmwp",
        student=STUDENTS["tiny"],
        folder=tmp_path / "benchmarks",
        variants=("base", "orr", "rr"),
    )


def examined(store: LocalStore, host: ToldHost, plan: Plan) -> list[Scored]:
    board = Board(store=store, host=host, tools=make_tools(EndlessOcr()))
    candidates, _ = board.candidates(plan)
    asked, _ = board.ask(plan)
    return list(board.examine(plan, candidates, asked, lambda examination, answered, score: None))


def test_base_orr_and_rr_are_examined_and_compared(store: LocalStore, plan: Plan) -> None:
    train(store, "orr_checkpoint")
    train(store, "rr_checkpoint")
    host = knows("red", "green", "blue")
    results = [each.result for each in examined(store, host, plan)]
    assert [(each.variant, each.n, each.overall.value) for each in results] == [
        ("base", 4, 0.0),
        ("orr", 4, 75.0),
        ("rr", 4, 75.0),
    ]
    assert [each.by_category for each in results][1] == {"part 0": 100.0, "part 1": 50.0}
    assert [student.name.split("-")[0] for student in host.served] == ["tiny"] * 3
    assert host.served[0].checkpoint is None
    assert host.served[2].checkpoint is not None
    assert (host.served[2].checkpoint / "adapter_model.safetensors").is_file()
    assert [list(each.unreadable) for each in results] == [["4"]] * 3
    board = read_scoreboard(store, "tabmwp")
    comparison = next(each for each in compare_all(store, board) if (each.first, each.second) == ("rr", "base"))
    assert (comparison.n, comparison.paired.only_first, comparison.paired.difference) == (4, 3, 0.75)
    assert "| rr |  | 75.0 (" in comparison_table(board)
    assert "| Sample VQA | rr against base | 4 | +75.0 |" in significance_table(compare_all(store, board))
    assert "1 not asked" in results_table(board.results)


def test_progress_tells_after_each_question_how_much_all_so_far_score(store: LocalStore, plan: Plan) -> None:
    train(store, "orr_checkpoint")
    board = Board(store=store, host=knows("red", "blue"), tools=make_tools(EndlessOcr()))
    plan = replace(plan, variants=("orr",), concurrency=1)
    told: list[tuple[str, int, float]] = []
    asked, _ = board.ask(plan)
    candidates, _ = board.candidates(plan)
    for _ in board.examine(plan, candidates, asked, lambda *each: told.append((each[0].variant, *each[1:]))):
        pass
    assert told == [("orr", 1, 1.0), ("orr", 2, 1.0), ("orr", 3, 2.0), ("orr", 4, 2.0)]


def test_a_result_key_reads_the_questions_once(tmp_path: Path) -> None:
    class CountedQuestions(list[Question]):
        """Counts how often it is gone through."""

        passes = 0

        def __iter__(self) -> Iterator[Question]:
            self.passes += 1
            return super().__iter__()

    questions = CountedQuestions([make_question(tmp_path)])
    examination = Examination(
        mixture="tabmwp",
        variant="base",
        student="tiny",
        checkpoint=None,
        benchmark=BENCHMARKS["sample_vqa"],
        rule="exact",
        manner=Manner(form="direct"),
        tools=make_tools(),
        questions=questions,
    )
    assert examination.folder.endswith(examination.key)
    assert questions.passes == 1


def test_every_answer_is_kept_with_its_transcript(store: LocalStore, plan: Plan) -> None:
    train(store, "rr_checkpoint")
    (scored,) = examined(store, knows("red"), replace(plan, variants=("rr",)))
    answers = read_answers(store, scored.result)
    assert [(each.item, each.parsed, each.score, each.gold) for each in answers[:2]] == [
        ("0", "red", 1.0, ("red",)),
        ("1", "grey", 0.0, ("green",)),
    ]
    assert [message.role for message in answers[0].messages] == ["system", "user", "assistant", "user", "assistant"]
    assert answers[0].images[0].startswith("images/")


def test_what_was_examined_serves_nobody_again(store: LocalStore, plan: Plan) -> None:
    train(store, "rr_checkpoint")
    wanted = replace(plan, variants=("base", "rr"))
    first = examined(store, knows("red"), wanted)
    host = knows("red")
    again = examined(store, host, wanted)
    assert [each.is_reused for each in (*first, *again)] == [False, False, True, True]
    assert [each.result for each in again] == [each.result for each in first]
    assert not host.served


@pytest.mark.parametrize("change", ["checkpoint", "question", "turns", "variant"])
def test_what_decides_a_result_examines_anew(store: LocalStore, plan: Plan, tmp_path: Path, change: str) -> None:
    train(store, "rr_checkpoint")
    wanted = replace(plan, variants=("rr",))
    (first,) = examined(store, knows("red"), wanted)
    if change == "checkpoint":
        train(store, "rr_checkpoint", seed=2)
    if change == "question":
        write_benchmark(tmp_path / "benchmarks", ("red", "green", "white", "blue"))
    if change == "turns":
        wanted = replace(wanted, max_turns=3)
    if change == "variant":
        wanted = replace(wanted, variants=("rr without rag",))
    (again,) = examined(store, knows("red"), wanted)
    assert not again.is_reused
    assert again.result.key != first.result.key


def test_one_server_serves_all_variants_of_the_same_weights(store: LocalStore, plan: Plan) -> None:
    train(store, "rr_checkpoint")
    host = knows("red")
    ablations = ("rr", "rr without operators", "rr without rag", "rr without reflection", "rr untuned")
    results = [each.result for each in examined(store, host, replace(plan, variants=ablations))]
    assert [student.checkpoint is None for student in host.served] == [False, True]
    assert [each.variant for each in results] == list(ablations)
    assert [each.variant for each in read_scoreboard(store, "tabmwp").results] == list(ablations)


def test_a_variant_without_its_checkpoint_is_told_with_the_command_that_trains_it(
    store: LocalStore, plan: Plan
) -> None:
    board = Board(store=store, host=knows(), tools=make_tools(EndlessOcr()))
    candidates, missing = board.candidates(plan)
    assert [each.variant.name for each in candidates] == ["base"]
    assert "dagster asset materialize --select rr_checkpoint --partition tabmwp" in missing["rr"]


def test_checkpoints_of_different_students_are_not_compared(store: LocalStore, plan: Plan) -> None:
    train(store, "orr_checkpoint")
    train(store, "rr_checkpoint", STUDENTS["smollm2"])
    board = Board(store=store, host=knows(), tools=make_tools(EndlessOcr()))
    with pytest.raises(BadRun, match="different students"):
        board.candidates(plan)


def test_a_checkpoint_in_a_folder_of_its_own_is_examined_in_the_form_that_it_learned(
    store: LocalStore, plan: Plan, tmp_path: Path
) -> None:
    folder = tmp_path / "control" / "result"
    folder.mkdir(parents=True)
    (folder.parent / "run.json").write_bytes(dump_run(replace(training_run(), format="answer")))
    wanted = replace(plan, variants=(), others={"answer only": folder})
    (scored,) = examined(store, knows("red"), wanted)
    answers = read_answers(store, scored.result)
    assert scored.result.variant == "answer only"
    assert [message.role for message in answers[0].messages] == ["user", "assistant"]
    with pytest.raises(BadRun):
        examined(store, knows(), replace(plan, variants=(), others={"none": tmp_path}))


def test_without_any_benchmark_a_person_hears_where_to_get_them(store: LocalStore, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(NothingToExamine, match="sample_vqa: "):
        examined(store, knows(), replace(plan, folder=tmp_path / "nowhere"))
    with pytest.raises(NothingToExamine, match="x is no benchmark"):
        examined(store, knows(), replace(plan, benchmarks=("x",)))


def test_an_unknown_variant_is_refused(store: LocalStore, plan: Plan) -> None:
    with pytest.raises(BadRun, match="'best' is no variant: it may be base, orr, rr"):
        examined(store, knows(), replace(plan, variants=("best",)))


def test_a_limit_asks_the_first_questions_only(store: LocalStore, plan: Plan) -> None:
    (scored,) = examined(store, knows(), replace(plan, variants=("base",), limit=2))
    assert scored.result.n == 2


def test_scores_and_answers_are_printed_for_people(
    store: LocalStore, plan: Plan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(store, "rr_checkpoint")
    examined(store, knows("red"), replace(plan, variants=("base", "rr")))
    monkeypatch.setenv("MMAT_STORE", store.root)
    assert run(["scores", "--mixture", "tabmwp"]) == 0
    assert "rr against base" in capsys.readouterr().out
    assert run(["answers", "--mixture", "tabmwp", "--variant", "rr", "--wrong", "-n", "1"]) == 0
    told = capsys.readouterr().out
    assert "Which colour has picture 1?" in told
    assert "score 0, read as 'grey', gold 'green'" in told
    assert run(["answers", "--mixture", "tabmwp", "--json", "-n", "9"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 8


def test_a_chat_model_may_take_the_answers_out(store: LocalStore, plan: Plan) -> None:
    talks = ToldHost(lambda student, messages: "I would call this red, all in all.")
    model = ScriptedChatModel('{"answer": "red"}', '{"answer": null}')
    rules = replace(plan, variants=("base",), limit=2)
    (by_rule,) = examined(store, talks, rules)
    (by_model,) = examined(store, talks, replace(rules, extractor=model, concurrency=1))
    assert (by_rule.result.overall.value, by_model.result.overall.value) == (0.0, 50.0)
    assert "I would call this red" in model.received[0][0].text
    assert read_answers(store, by_model.result)[0].parsed == "red"
    assert by_rule.result.key != by_model.result.key


def test_a_transcript_is_shown_on_a_page_as_it_was_written(store: LocalStore, plan: Plan) -> None:
    train(store, "rr_checkpoint")
    talks = ToldHost(lambda student, messages: f"</OPERATOR>```{' very' * 60} long")
    (scored,) = examined(store, talks, replace(plan, variants=("rr",), limit=1))
    (answer,) = read_answers(store, scored.result)
    page = to_markdown(scored.result, answer)
    assert r"\</OPERATOR\>" in page.partition("\n")[0]
    assert page.count("```") == 2 * len(answer.messages)
    assert max(map(len, page.splitlines()[1:])) <= 110


def test_a_folder_of_one_benchmark_is_not_taken_for_another(store: LocalStore, plan: Plan, tmp_path: Path) -> None:
    other = tmp_path / "benchmarks" / "somebody_elses" / "data"
    other.mkdir(parents=True)
    (other / "test.jsonl").write_text('{"id": "1", "question": "?", "answer": "60"}\n')
    board = Board(store=store, host=knows(), tools=make_tools(EndlessOcr()))
    asked, passed_over = board.ask(plan)
    assert ([each.benchmark.name for each in asked], passed_over) == (["sample_vqa"], {})


def test_a_table_of_vlmevalkit_in_the_folder_of_all_benchmarks_is_asked(
    store: LocalStore, plan: Plan, tmp_path: Path
) -> None:
    rows = (tmp_path / "benchmarks" / "sample_vqa" / "sample_vqa.tsv").read_text().splitlines()
    picture = rows[1].split("\t")[1]
    (tmp_path / "benchmarks" / "MMStar.tsv").write_text(
        "index\timage\tquestion\tA\tB\tanswer\tcategory\tl2_category\n"
        f"0\t{picture}\tWhich colour?\tred\tblue\tA\tperception\tcolour\n"
    )
    board = Board(store=store, host=knows(), tools=make_tools(EndlessOcr()))
    asked, _ = board.ask(plan)
    assert [each.benchmark.name for each in asked] == ["mmstar", "sample_vqa"]
    assert [len(each.questions[0].images) for each in asked] == [1, 1]
    assert all(not question.item.images for each in asked for question in each.questions)


def test_a_benchmark_without_its_images_is_passed_over_unless_it_is_named(
    store: LocalStore, plan: Plan, tmp_path: Path
) -> None:
    folder = tmp_path / "benchmarks" / "mathvision"
    folder.mkdir()
    record = {"id": "1", "question": "?", "options": [], "answer": "60", "image": "images/1.jpg"}
    (folder / "test.jsonl").write_text(json.dumps({**record, "level": 2, "subject": "arithmetic"}) + "\n")
    board = Board(store=store, host=knows(), tools=make_tools(EndlessOcr()))
    asked, passed_over = board.ask(plan)
    assert [each.benchmark.name for each in asked] == ["sample_vqa"]
    assert "images/1.jpg" in passed_over["mathvision"]
    with pytest.raises(ScoringError, match="no question that can be asked"):
        board.ask(replace(plan, benchmarks=("mathvision",)))
