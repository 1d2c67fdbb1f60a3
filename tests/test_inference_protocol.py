"""What a student's server takes and refuses, and what it is told when it starts."""

import base64
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mmat_dagster.chat.replies import parse_reply
from mmat_dagster.inference.protocol import Answer, BadRequest, Sampling, Spoken, parse_request, render_answer
from mmat_dagster.inference.spec import Hosting, dump_hosting, read_hosting, served_name, write_ready
from mmat_dagster.interfaces import ChatReply
from mmat_dagster.training.spec import BadRun
from mmat_dagster.training.students import STUDENTS

ROOT = Path(__file__).resolve().parents[1]
USER = {"role": "user", "content": "What?"}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "it", "messages": [USER], **fields}).encode()


def with_image(url: str) -> bytes:
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What?"}]
    return body(messages=[{"role": "user", "content": parts}])


def test_what_is_not_said_is_greedy_and_as_long_as_it_may_be() -> None:
    asked = parse_request(body())
    assert (asked.model, asked.sampling, asked.max_tokens) == ("it", Sampling(), None)
    assert asked.messages == (Spoken(role="user", parts=("What?",)),)


def test_sampling_and_length_are_read_by_both_names() -> None:
    asked = parse_request(body(temperature=0.7, top_p=0.9, seed=3, max_tokens=5, response_format={"type": "text"}))
    assert asked.sampling == Sampling(temperature=0.7, top_p=0.9, seed=3)
    assert asked.max_tokens == 5
    assert parse_request(body(max_completion_tokens=6, max_tokens=5)).max_tokens == 6


def test_images_stand_where_the_message_has_them() -> None:
    (said,) = parse_request(with_image(f"data:image/png;base64,{base64.b64encode(b'pixels').decode()}")).messages
    assert said.parts == (b"pixels", "What?")
    assert (said.images, said.text) == ((b"pixels",), "What?")


@pytest.mark.parametrize(
    ("asked", "complaint", "code"),
    [
        (b"{", "Invalid JSON", None),
        (b"[]", "should be an object|valid dictionary|object", None),
        (json.dumps({"messages": [USER]}).encode(), "model: Field required", None),
        (body(messages=[]), "messages: .* at least 1 item", None),
        (body(messages=[{"role": "tool", "content": "x"}]), r"messages.0.role: ", None),
        (
            body(messages=[{"role": "user", "content": [{"type": "text"}]}]),
            "a part of type text without its text",
            None,
        ),
        (body(temperature=-1), "temperature: .* greater than or equal to 0", None),
        (body(max_tokens=0), "max_tokens: .* greater than 0", None),
        (body(n=2), "n may only be what it is by default", "unsupported_value"),
        (body(stream=True), "stream may only be", "unsupported_value"),
        (body(response_format={"type": "json_object"}), "response_format may only be", "unsupported_value"),
        (body(tools=[{"type": "function"}]), "tools is not done here", "unsupported_parameter"),
        (body(stop=["x"]), "stop is not done here", "unsupported_parameter"),
        (with_image("https://host/a.png"), "must come as a data URL", "invalid_image_url"),
        (with_image("data:image/png;base64,???"), "base64 is damaged", "invalid_image"),
    ],
)
def test_what_cannot_be_answered_is_told(asked: bytes, complaint: str, code: str | None) -> None:
    with pytest.raises(BadRequest, match=complaint) as caught:
        parse_request(asked)
    assert caught.value.code == code


def test_an_answer_is_read_back_by_the_teacher_s_client() -> None:
    answer = Answer(text="42", finish_reason="length", prompt_tokens=7, cached_tokens=5, completion_tokens=1)
    rendered = render_answer(answer, "it")
    assert rendered["usage"]["prompt_tokens_details"] == {"cached_tokens": 5}
    told = parse_reply(200, json.dumps(rendered).encode())
    assert told == ChatReply(text="42", prompt_tokens=7, completion_tokens=1, is_cut=True)


HOSTING = Hosting(name="it", student=STUDENTS["tiny"], cache="/bases")


def test_what_is_to_be_served_survives_the_round_trip(tmp_path: Path) -> None:
    (tmp_path / "serving.json").write_bytes(dump_hosting(HOSTING))
    assert read_hosting(tmp_path / "serving.json") == HOSTING


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("batch", 0, "batch is 0; it must be a number above 0"),
        ("port", 70000, "port is 70000; it must be at most 65535"),
        ("kept_gb", -1.0, "kept_gb is -1.0"),
        ("precision", "int4", "describes nothing to serve: precision: "),
        ("bach", 1, "bach: Unexpected keyword argument"),
    ],
)
def test_what_cannot_be_served_is_told(field: str, value: object, complaint: str, tmp_path: Path) -> None:
    told = {**json.loads(dump_hosting(HOSTING)), field: value}
    (tmp_path / "serving.json").write_text(json.dumps(told))
    with pytest.raises(BadRun, match=complaint):
        read_hosting(tmp_path / "serving.json")


def test_a_name_tells_weights_engine_and_precision(tmp_path: Path) -> None:
    assert served_name("rr-1f", "vllm", "bf16") == "rr-1f@vllm-bf16"
    write_ready(tmp_path, 4711, "it")
    assert json.loads((tmp_path / "serving.ready").read_text()) == {"port": 4711, "model": "it"}


def test_a_server_ends_with_its_launcher_whatever_it_is_doing(tmp_path: Path) -> None:
    config, launched = tmp_path / "serving.json", tmp_path / "pid"
    os.mkfifo(config)  # the server waits for what it is to serve
    script = (
        "import pathlib, subprocess, sys; server = subprocess.Popen(sys.argv[2:]); "
        "pathlib.Path(sys.argv[1]).write_text(str(server.pid)); server.wait()"
    )
    server = [sys.executable, "-m", "mmat_dagster.inference", "--config", str(config)]
    launcher = subprocess.Popen([sys.executable, "-c", script, str(launched), *server], cwd=ROOT)
    written = _open_when_read(config)
    launcher.kill()
    launcher.wait()
    place = Path("/proc") / launched.read_text() / "stat"
    deadline = time.monotonic() + 60
    while place.exists() and place.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.close(written)


def _open_when_read(fifo: Path) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError):  # nobody reads it yet
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.05)
    raise TimeoutError
