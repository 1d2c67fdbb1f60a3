"""A student's own server: in a process of its own, asked by the teacher's client, ended by whoever started it."""

import asyncio
import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

import torch
import uvicorn
from peft import get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from mmat_dagster.evaluation.hosts import HostingFailed, ServedStudent
from mmat_dagster.inference.process.engine import Engine
from mmat_dagster.inference.process.opening import OpenStudent, open_student
from mmat_dagster.inference.process.prompting import Prompter
from mmat_dagster.inference.process.server import Service
from mmat_dagster.inference.protocol import Sampling
from mmat_dagster.inference.spec import CONFIG, Hosting, dump_hosting
from mmat_dagster.interfaces import ChatImage, ChatReply, ChatTurn, RowError
from mmat_dagster.training.executor import SERVING_READY
from mmat_dagster.training.process.loading import load_student, lora_config, prepare_base
from mmat_dagster.training.spec import BadRun, HyperParameters, Student
from mmat_dagster.training.students import STUDENTS
from resources.gpt4o import GPT4o
from resources.student_hosts import TransformersHost
from resources.training_executor import LocalTrainingExecutor
from tests.loopback import Served, Server
from tests.processes import is_alive, wait_until
from tests.served_students import data_url, photo_bytes, reader, talker, user

# PEFT asks transformers for what it will be called otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

ROOT = Path(__file__).resolve().parents[1]
LORA = HyperParameters(precision="fp32", lora_dropout=0.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases")
    prepare_base(STUDENTS["tiny"], folder)
    return folder


@pytest.fixture(scope="module")
def text_student(cache: Path) -> Student:
    return reader(cache / "reads")


def opened(cache: Path, student: Student, checkpoint: Path | None = None) -> OpenStudent:
    told = str(checkpoint) if checkpoint else None
    return open_student(Hosting(name="it", student=student, cache=str(cache), checkpoint=told, accelerator="cpu"))


@contextmanager
def serving(it: OpenStudent) -> Iterator[str]:
    """Serve a student in this process, and give the URL."""
    engine = Engine(it, 4, 1.0)
    engine.start()
    config = uvicorn.Config(Service(it.name, Prompter(it), engine).app(), log_config=None, lifespan="off")
    with Served(Server(config), "student's server") as served:
        yield f"{served.address}/v1"
    engine.end()


@pytest.fixture(scope="module")
def url(cache: Path) -> Iterator[str]:
    with serving(opened(cache, STUDENTS["tiny"])) as address:
        yield address


def asking(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "it@transformers-fp32", "messages": messages, "max_tokens": 8, **fields}


def post(url: str, *messages: dict[str, Any], **fields: Any) -> httpx2.Response:
    return httpx2.post(f"{url}/chat/completions", json=asking(*messages, **fields), timeout=60, trust_env=False)


def said_by(role: str, text: str, *images: bytes) -> dict[str, Any]:
    shown = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in images]
    return {"role": role, "content": [*shown, {"type": "text", "text": text}] if images else text}


def test_the_server_lists_the_one_student_that_it_has(url: str) -> None:
    listed = httpx2.get(f"{url}/models", trust_env=False).json()
    assert [model["id"] for model in listed["data"]] == ["it@transformers-fp32"]


def test_a_page_whose_name_leads_to_this_machine_is_not_answered(url: str) -> None:
    for host, status in (("evil.example", 400), ("127.0.0.1.evil.example", 400), ("localhost:1", 200)):
        assert httpx2.get(f"{url}/models", headers={"Host": host}, trust_env=False).status_code == status


def test_a_placeholder_in_a_text_is_no_image(url: str) -> None:
    said = [post(url, said_by("user", f"{mark} twice", photo_bytes(1))) for mark in ("<image>", "< image>")]
    assert [each.status_code for each in said] == [200, 200]
    assert said[0].json()["usage"]["prompt_tokens"] == said[1].json()["usage"]["prompt_tokens"]


def test_what_one_request_has_wrong_is_told_and_its_neighbours_are_answered(url: str) -> None:
    good = said_by("user", "What is it?", photo_bytes(1))
    wrong: Sequence[tuple[dict[str, Any], dict[str, Any], str | None, str]] = [
        (said_by("user", "What?", b"no picture"), {}, "invalid_image", "an image cannot be read"),
        (said_by("user", "x " * 20000), {}, "context_length_exceeded", "maximum context length is 16384 tokens"),
        (good, {"model": "gpt-4o"}, "model_not_found", "'gpt-4o' does not exist; 'it@transformers-fp32' is served"),
        (good, {"n": 3}, "unsupported_value", "n may only be"),
    ]
    with ThreadPoolExecutor(8) as pool:
        fine = [pool.submit(post, url, good) for _ in range(3)]
        refused = [pool.submit(post, url, message, **fields) for message, fields, _, _ in wrong]
        fine += [pool.submit(post, url, said_by("user", "And now?"))]
    for response, (_, _, code, complaint) in zip([each.result() for each in refused], wrong, strict=True):
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["type"]) == (400, code, "invalid_request_error"), error
        assert complaint in error["message"]
    answers = [each.result().json() for each in fine]
    texts = [answer["choices"][0]["message"]["content"] for answer in answers]
    assert texts[0] == texts[1] == texts[2]
    assert all(answer["usage"]["completion_tokens"] for answer in answers)


def test_a_model_that_fails_is_a_server_s_error(cache: Path, text_student: Student) -> None:
    it = opened(cache, text_student)
    it.model.model.embed_tokens.weight.data = it.model.model.embed_tokens.weight.data[:5]
    with serving(it) as address:
        response = post(address, said_by("user", "What is it?"))
    assert response.status_code == 500
    assert "index out of range" in response.json()["error"]["message"]


def host(folder: Path, **fields: Any) -> TransformersHost:
    kept: dict[str, Any] = {"ledger": f"sqlite:///{folder}/ledger.sqlite", "folder": str(folder / "work")}
    return TransformersHost(executor=LocalTrainingExecutor(), **kept, max_completion_tokens=12, **fields)


def picture(folder: Path) -> ChatImage:
    content = photo_bytes(5)
    path = folder / "picture.png"
    path.write_bytes(content)
    return ChatImage(
        path=path, sha256=hashlib.sha256(content).hexdigest(), width=40, height=30, reference="tabmwp/picture.png"
    )


async def evaluate(model: GPT4o, dialogues: Sequence[Sequence[ChatTurn]]) -> list[ChatReply | RowError]:
    async with model.session("scores of tabmwp"):
        return list(await asyncio.gather(*(model.complete(dialogue) for dialogue in dialogues)))


def test_an_evaluation_goes_through_a_process_of_its_own_once(cache: Path, tmp_path: Path) -> None:
    student = ServedStudent(name="rr-1f", student=STUDENTS["tiny"], checkpoint=None, cache=cache)
    system = ChatTurn(role="system", text="You reason step by step.")
    shown = [system, ChatTurn(role="user", text="What is it?", images=(picture(tmp_path),))]
    dialogues = [
        shown,
        [system, ChatTurn(role="user", text="How many?")],
        [system, ChatTurn(role="user", text="x" * 60000)],
    ]
    with host(tmp_path).serve(student) as model:
        assert isinstance(model, GPT4o)
        assert model.model_name == "rr-1f@transformers-fp32"
        first = asyncio.run(evaluate(model, dialogues))
    seen, read, refused = first
    assert isinstance(seen, ChatReply)
    assert isinstance(read, ChatReply)
    assert (seen.is_cut, seen.completion_tokens) == (True, 12)
    assert seen.text != read.text
    assert isinstance(refused, RowError)
    assert refused.reason == "request not accepted"
    assert "maximum context length" in refused.detail
    assert list((tmp_path / "work").iterdir()) == []
    again = GPT4o(**{**vars(model), "base_url": "http://127.0.0.1:1/v1"})  # where nobody answers
    assert asyncio.run(evaluate(again, dialogues)) == first
    assert (again.spending.calls, again.spending.reused, model.spending.calls) == (0, 3, 2)


def test_a_student_that_cannot_be_served_is_told(cache: Path, tmp_path: Path) -> None:
    gone = ServedStudent(name="rr-1f", student=STUDENTS["tiny"], checkpoint=tmp_path / "gone", cache=cache)
    with pytest.raises(HostingFailed, match=r"rr-1f cannot be served(.|\n)*error: there is no checkpoint .*gone"):
        host(tmp_path).address(gone).__enter__()


def start(folder: Path, cache: Path, student: Student) -> "subprocess.Popen[bytes]":
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_bytes(dump_hosting(Hosting(name="it", student=student, cache=str(cache))))
    launcher = "import subprocess, sys; sys.exit(subprocess.Popen(sys.argv[1:]).wait())"
    server = [sys.executable, "-m", "mmat_dagster.inference", "--config", str(folder / CONFIG)]
    return subprocess.Popen([sys.executable, "-c", launcher, *server], cwd=ROOT, start_new_session=True)


def child_of(pid: int) -> int:
    return int((Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()[0])


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_ends_when_it_is_told_and_with_its_launcher(
    number: signal.Signals, cache: Path, tmp_path: Path
) -> None:
    launcher = start(tmp_path, cache, talker(tmp_path / "talks"))
    wait_until((tmp_path / SERVING_READY).exists)
    told = json.loads((tmp_path / SERVING_READY).read_text())
    assert told["model"] == "it@transformers-fp32"
    address = f"http://127.0.0.1:{told['port']}/v1"
    server = child_of(launcher.pid)
    endless = http.client.HTTPConnection("127.0.0.1", told["port"], timeout=60)
    endless.request(
        "POST", "/v1/chat/completions", json.dumps(asking(said_by("user", "Tell it all."), max_tokens=4000))
    )
    assert post(address, said_by("user", "And you?")).is_success  # by then the endless reply is under way
    if number == signal.SIGTERM:
        os.kill(server, signal.SIGTERM)
        assert launcher.wait(30) == 0
    else:
        launcher.kill()
        launcher.wait()
    wait_until(lambda: not is_alive(server))
    with closing(endless):
        assert status_of(endless) in (None, 500)


def status_of(asked: http.client.HTTPConnection) -> int | None:
    """Return the status of the answer, or None where the connection was broken off."""
    try:
        return asked.getresponse().status
    except ConnectionError:
        return None


def checkpoint(folder: Path, cache: Path, student: Student) -> Path:
    """Write an adapter as a training leaves it, with weights that matter."""
    loaded = load_student(student, LORA, prepare_base(student, cache), None)
    adapted = get_peft_model(loaded.model, lora_config(student, LORA, loaded.model))
    adapted.save_pretrained(folder)
    weights = load_file(folder / "adapter_model.safetensors")
    torch.manual_seed(1)
    save_file(
        {name: torch.randn_like(each) / 8 for name, each in weights.items()}, folder / "adapter_model.safetensors"
    )
    loaded.processor.chat_template = loaded.chat_template
    loaded.processor.save_pretrained(folder)
    return folder


def text_of(it: OpenStudent) -> str:
    engine = Engine(it, 1, 0)
    engine.start()
    answer = engine.ask(Prompter(it).prompt([user("What is it?")]), Sampling(), 16).result(60)
    engine.end()
    return answer.text


def test_an_adapter_is_merged_into_the_weights_and_a_full_checkpoint_takes_their_place(
    cache: Path, text_student: Student, tmp_path: Path
) -> None:
    adapter = checkpoint(tmp_path / "adapter", cache, text_student)
    merged = opened(cache, text_student, adapter)
    assert not [name for name, _ in merged.model.named_modules() if "lora" in name]
    full = tmp_path / "full"
    merged.model.save_pretrained(full)
    merged.processor.save_pretrained(full)
    text = text_of(merged)
    assert text == text_of(opened(cache, text_student, full))
    assert text != text_of(opened(cache, text_student))
    # The weights of a full checkpoint are all that it takes: nothing is asked of where it began.
    elsewhere = replace(text_student, model="nobody/has-this", revision="0")
    assert text == text_of(opened(cache, elsewhere, full))
    assert AutoModelForCausalLM.from_pretrained(full) is not None


def test_a_pickle_and_an_adapter_of_other_weights_are_refused(
    cache: Path, text_student: Student, tmp_path: Path
) -> None:
    adapter = checkpoint(tmp_path / "adapter", cache, text_student)
    weights = load_file(adapter / "adapter_model.safetensors")
    others = {name.replace("layers.1", "layers.7"): each for name, each in weights.items()}
    save_file(others, adapter / "adapter_model.safetensors")
    with pytest.raises(BadRun, match="does not fit the student's weights"):
        opened(cache, text_student, adapter)
    shutil.move(adapter / "adapter_model.safetensors", adapter / "adapter_model.bin")
    with pytest.raises(BadRun, match=r"holds no adapter_model\.safetensors; the weights of a pickle are never loaded"):
        opened(cache, text_student, adapter)
