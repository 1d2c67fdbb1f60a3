"""Students are served by vLLM or asked where they already run; what they said once is not asked again."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mmat_dagster import cli
from mmat_dagster.environment import BadEnvironment, read_environment
from mmat_dagster.evaluation.hosts import HostingFailed, ServedStudent, StudentHost
from mmat_dagster.interfaces import ChatModel, ChatReply, ChatTurn, TeacherUnavailable
from mmat_dagster.training.executor import ServingFailed, ServingJob
from mmat_dagster.training.spec import RUN, Student, dump_run
from mmat_dagster.training.students import STUDENTS
from resources.deployments import DEPLOYMENTS
from resources.gpt4o import GPT4o
from resources.student_hosts import EndpointHost, TransformersHost, VllmHost, unmarked
from resources.training_executor import LocalTrainingExecutor
from tests import stand_in_vllm
from tests.chat_server import ChatServer, ServerReply, in_turn
from tests.fakes import ToldExecutor
from tests.processes import is_alive, wait_until
from tests.training_runs import training_run

ROOT = Path(__file__).resolve().parents[1]
MODEL = Student(name="seer", model="org/seer", revision="abc")
TURNS = (ChatTurn(role="user", text="How much is it?"),)
MARKED = "{%- generation -%}{{ x }}{%- endgeneration -%}{% generation %} y{% endgeneration %}"


def ask(model: ChatModel, *turns: ChatTurn) -> ChatReply:
    async def asked() -> Any:
        async with model.session("scores of tabmwp"):
            return await model.complete(turns or TURNS)

    reply = asyncio.run(asked())
    assert isinstance(reply, ChatReply), reply
    return reply


def trained(folder: Path, name: str = "rr-1f", **config: Any) -> ServedStudent:
    """Return a student with a checkpoint: an adapter where there is a `config` for it."""
    checkpoint = folder / name
    checkpoint.mkdir(exist_ok=True)
    (checkpoint / "chat_template.jinja").write_text(MARKED)
    (checkpoint / RUN).write_bytes(dump_run(training_run()))
    if config:
        (checkpoint / "adapter_config.json").write_text(json.dumps(config))
    return ServedStudent(name=name, student=MODEL, checkpoint=checkpoint, cache=folder / "students")


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a command vllm on the path, and return its folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "vllm"
    command.write_text(f"#!{sys.executable}\n" + Path(stand_in_vllm.__file__).read_text())
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def vllm_host(folder: Path, **fields: Any) -> VllmHost:
    kept: dict[str, Any] = {"ledger": f"sqlite:///{folder}/ledger.sqlite", "folder": str(folder / "work")}
    return VllmHost(executor=LocalTrainingExecutor(packages=[]), **kept, **fields)


def test_vllm_serves_an_adapter_under_its_name(tmp_path: Path, vllm: Path) -> None:
    student = trained(tmp_path, r=12, rank_pattern={"q_proj": 20})
    with vllm_host(tmp_path).serve(student) as model:
        assert isinstance(model, GPT4o)
        assert model.model_name == "rr-1f@vllm-bf16"
        assert ask(model).text == stand_in_vllm.SAID
        pid = int((vllm / "pid").read_text())
        assert is_alive(pid)
        told = (vllm / "command").read_text().split("\n")
        template = Path(told[told.index("--chat-template") + 1]).read_text()
    assert not is_alive(pid)
    assert list((tmp_path / "work").iterdir()) == []
    assert template == "{%- if true -%}{{ x }}{%- endif -%}{% if true %} y{% endif %}" == unmarked(MARKED)
    port, template_file = told[told.index("--port") + 1], told[told.index("--chat-template") + 1]
    assert told == [
        *("serve", "org/seer", "--served-model-name", "rr-1f@vllm-bf16-base", "--revision", "abc"),
        *("--host", "127.0.0.1", "--port", port, "--dtype", "bfloat16", "--generation-config", "vllm"),
        *("--tensor-parallel-size", "1", "--chat-template", template_file),
        *("--chat-template-content-format", "openai", "--enable-lora"),
        *("--lora-modules", f"rr-1f@vllm-bf16={tmp_path / 'rr-1f'}", "--max-lora-rank", "32"),
    ]


def test_vllm_serves_full_weights_and_those_before_training(tmp_path: Path) -> None:
    host = vllm_host(tmp_path, precision="fp16", max_length=4096, options=["--enforce-eager"])
    command = host.command(trained(tmp_path), tmp_path, 8000)
    assert command[:5] == ("vllm", "serve", str(tmp_path / "rr-1f"), "--served-model-name", "rr-1f@vllm-fp16")
    assert "--revision" not in command
    assert "--enable-lora" not in command
    assert (command[command.index("--max-model-len") + 1], command[-1]) == ("4096", "--enforce-eager")
    untrained = ServedStudent(name="base", student=MODEL, checkpoint=None, cache=tmp_path)
    command = host.command(untrained, tmp_path, 8000)
    assert command[:5] == ("vllm", "serve", "org/seer", "--served-model-name", "base@vllm-fp16")
    assert "--chat-template" not in command
    tiny = ServedStudent(name="tiny", student=STUDENTS["tiny"], checkpoint=None, cache=tmp_path)
    with pytest.raises(HostingFailed, match="tiny is made here, and served with MMAT_INFERENCE=transformers only"):
        host.command(tiny, tmp_path, 8000)


def test_without_vllm_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostingFailed, match="pip install vllm on a machine with a GPU"):
        vllm_host(tmp_path).address(trained(tmp_path)).__enter__()


def test_a_server_that_does_not_come_up_says_its_last_lines(tmp_path: Path, vllm: Path) -> None:
    (vllm / "behaviour").write_text("fail")
    with pytest.raises(HostingFailed, match=r"rr-1f cannot be served.*exit code 1(.|\n)*No available memory") as failed:
        vllm_host(tmp_path).address(trained(tmp_path)).__enter__()
    assert "serving.log" in str(failed.value)


def test_a_server_that_is_lost_while_it_is_asked_says_its_last_lines(tmp_path: Path, vllm: Path) -> None:
    (vllm / "behaviour").write_text("vanish")
    serving = vllm_host(tmp_path).serve(trained(tmp_path))

    def ask_once() -> None:
        with serving as model:
            assert isinstance(model, GPT4o)
            ask(model.model_copy(update={"max_retries": 0}))

    with pytest.raises(HostingFailed, match=r"ended while it was asked(.|\n)*illegal memory access"):
        ask_once()


def test_what_fails_beside_a_living_server_stays_what_it_is(tmp_path: Path, vllm: Path) -> None:
    with pytest.raises(ZeroDivisionError), vllm_host(tmp_path).serve(trained(tmp_path)):
        raise ZeroDivisionError
    assert not is_alive(int((vllm / "pid").read_text()))


def test_a_server_that_never_listens_is_given_up(tmp_path: Path) -> None:
    executor = LocalTrainingExecutor(start_timeout_s=0.3)
    job = ServingJob(name="rr-1f", folder=str(tmp_path), command=("sleep", "600"), port=1)
    with pytest.raises(ServingFailed, match=r"rr-1f does not listen after 0.3 s"), executor.serve(job):
        pass


def test_what_a_server_needs_is_named_where_it_is_missing(tmp_path: Path) -> None:
    job = ServingJob(name="rr-1f", folder=str(tmp_path), command=("true",), packages=("os", "no_such_package"))
    with pytest.raises(ServingFailed, match="no_such_package is not installed, and serving rr-1f needs it"):
        LocalTrainingExecutor().serve(job).__enter__()
    with pytest.raises(ServingFailed, match="ToldExecutor runs no servers"):
        ToldExecutor().serve(job)


SERVING_RUN = """
import time
from mmat_dagster.training.executor import ServingJob
from resources.training_executor import LocalTrainingExecutor

job = ServingJob(name="x", folder={folder!r}, command=("vllm", "serve", "m", "--port", {port!r}), port={port})
with LocalTrainingExecutor().serve(job):
    print("ready", flush=True)
    time.sleep(600)
"""


def test_a_server_ends_with_the_run_that_is_killed(tmp_path: Path, vllm: Path) -> None:
    with ChatServer() as taken:
        port = int(taken.url.rpartition(":")[2].removesuffix("/v1"))
    script = SERVING_RUN.format(folder=str(tmp_path / "work"), port=str(port))
    run = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "ready\n"
    pid = int((vllm / "pid").read_text())
    run.send_signal(signal.SIGKILL)
    run.communicate()
    wait_until(lambda: not is_alive(pid))


def endpoint(server: ChatServer, folder: Path, **fields: Any) -> EndpointHost:
    return EndpointHost(base_url=server.url, ledger=f"sqlite:///{folder}/ledger.sqlite", **fields)


def text_student(name: str = "scripted") -> ServedStudent:
    return ServedStudent(name=name, student=STUDENTS["smollm2"], checkpoint=None, cache=Path("students"))


def test_a_second_pass_asks_nothing(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn("Two dollars.")
    for _ in range(2):
        with endpoint(chat_server, tmp_path, max_completion_tokens=99).serve(text_student()) as model:
            assert ask(model).text == "Two dollars."
    (received,) = chat_server.received
    body = received.body
    assert (body["model"], body["temperature"], body["max_completion_tokens"]) == ("scripted", 0, 99)
    assert "response_format" not in body


def test_another_student_is_asked_anew(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.models = ServerReply(status=404, body="{}")
    chat_server.script = in_turn("Two.", "Three.")
    said = []
    for name in ("rr-1f", "orr-2e"):
        with endpoint(chat_server, tmp_path, model="mmat/{name}").serve(text_student(name)) as model:
            said.append(ask(model).text)
    assert said == ["Two.", "Three."]
    assert [received.body["model"] for received in chat_server.received] == ["mmat/rr-1f", "mmat/orr-2e"]


def test_a_key_is_shown_to_the_endpoint_and_to_nobody_else(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn("Two.")
    host = endpoint(chat_server, tmp_path, api_key="sk-secret")
    with host.serve(text_student()) as model:
        ask(model)
    assert chat_server.received[0].headers["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in repr(host) + host.version


@pytest.mark.parametrize(
    ("reply", "fields", "complaint"),
    [
        (None, {"model": "{weights}"}, "may hold {name} and no other braces"),
        (None, {"model": "other"}, "serves no 'other', but scripted: load the student there under that name"),
        (ServerReply(status=401, body="{}"), {}, r"refuses the key \(status 401\): export MMAT_STUDENT_KEY"),
        (ServerReply(status=500, body="{}"), {}, r"does not list its models \(status 500\)"),
        (ServerReply(raw=True, body="<html>"), {}, "lists no models as the OpenAI protocol does"),
        (None, {"base_url": "http://127.0.0.1:1/v1"}, "cannot be reached: start the server"),
    ],
)
def test_an_endpoint_that_cannot_be_asked_is_told(
    reply: ServerReply | None, fields: dict[str, Any], complaint: str, chat_server: ChatServer, tmp_path: Path
) -> None:
    chat_server.models = reply or chat_server.models
    host = EndpointHost(**{"base_url": chat_server.url, "ledger": f"sqlite:///{tmp_path}/l.sqlite", **fields})
    with pytest.raises(HostingFailed, match=complaint):
        host.address(text_student()).__enter__()


def test_an_image_is_sent_to_those_who_see(chat_server: ChatServer, tmp_path: Path) -> None:
    with endpoint(chat_server, tmp_path).serve(text_student()) as reads:
        assert isinstance(reads, GPT4o)
    seer = ServedStudent(name="scripted", student=STUDENTS["tiny"], checkpoint=None, cache=tmp_path)
    with endpoint(chat_server, tmp_path).serve(seer) as sees:
        assert isinstance(sees, GPT4o)
    assert (reads.image_detail, sees.image_detail) == ("none", "high")
    assert reads.concurrency >= TransformersHost.model_fields["batch"].default


HOSTED = {
    "transformers": ({}, TransformersHost),
    "vllm": ({"MMAT_INFERENCE": "vllm"}, VllmHost),
    "endpoint": ({"MMAT_INFERENCE": "endpoint", "MMAT_STUDENT_URL": "http://host/v1"}, EndpointHost),
}


@pytest.mark.parametrize("name", HOSTED)
def test_the_environment_says_where_students_answer(name: str) -> None:
    variables, kind = HOSTED[name]
    host = DEPLOYMENTS["local"](read_environment(variables))["student_host"]
    assert type(host) is kind
    assert json.loads(host.version)["engine"] == name
    chosen: list[StudentHost] = []

    @dg.asset
    def scores(student_host: dg.ResourceParam[StudentHost]) -> None:
        chosen.append(student_host)

    dg.materialize([scores], resources={"student_host": host})
    assert chosen[0].version == host.version


def test_a_student_s_key_is_named_and_never_read_when_resources_are_made() -> None:
    variables = {**HOSTED["endpoint"][0], "MMAT_STUDENT_KEY": "sk-secret", "MMAT_STUDENT_MODEL": "org/{name}"}
    host = DEPLOYMENTS["local"](read_environment(variables))["student_host"]
    assert "sk-secret" not in repr(host) + str(host._config_schema.default_value)
    assert (host.base_url, host.model) == ("http://host/v1", "org/{name}")


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"MMAT_INFERENCE": "tgi"}, "MMAT_INFERENCE is 'tgi'; it may be transformers, vllm, endpoint"),
        ({"MMAT_INFERENCE": "endpoint"}, "set MMAT_STUDENT_URL to the server, up to and including /v1"),
    ],
)
def test_an_inference_that_cannot_be_used_is_told(variables: dict[str, str], complaint: str) -> None:
    with pytest.raises(BadEnvironment, match=complaint):
        read_environment(variables)


def command(*arguments: str, folder: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "MMAT_STORE": str(folder / "store"), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-W", "ignore", "-m", "mmat_dagster", "serve-student", *arguments]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_checkpoint_is_served_by_hand_until_it_is_interrupted(tmp_path: Path, vllm: Path) -> None:
    student = trained(tmp_path, r=8)
    assert student.checkpoint is not None
    run = training_run()
    (student.checkpoint / RUN).write_bytes(dump_run(type(run)(**{**vars(run), "student": MODEL})))
    serving = command("--checkpoint", str(student.checkpoint), "--engine", "vllm", folder=tmp_path)
    assert serving.stdout is not None
    assert serving.stdout.readline() == "Loading rr-1f ...\n"
    told = serving.stdout.readline()
    assert told.startswith("Serving rr-1f@vllm-bf16 at http://127.0.0.1:")
    serving.stdout.readline()
    example = serving.stdout.readline()
    answered = subprocess.run(["sh", "-c", example.replace("curl ", "curl -s ")], capture_output=True, check=False)
    assert stand_in_vllm.SAID in answered.stdout.decode()
    serving.send_signal(signal.SIGINT)
    _, errors = serving.communicate(timeout=60)
    assert (serving.returncode, errors) == (0, "")
    assert not is_alive(int((vllm / "pid").read_text()))


def test_a_folder_that_is_no_checkpoint_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["serve-student", "--checkpoint", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/run.json cannot be read: No such file or directory\n"


def test_an_unreachable_server_is_not_the_student_s_fault(chat_server: ChatServer, tmp_path: Path) -> None:
    chat_server.script = in_turn(ServerReply(status=401, body="{}"))
    with (
        pytest.raises(TeacherUnavailable, match="refuses the key"),
        endpoint(chat_server, tmp_path).serve(text_student()) as model,
    ):
        ask(model)
