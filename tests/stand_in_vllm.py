"""A command that behaves like `vllm serve` as far as a host can tell: it serves the names that it was given.

What it was asked to do lies beside it: `command`, and `pid` of the process. Where there is a file `behaviour` it says
`fail`, or `vanish` once it is asked for a reply.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

HERE = Path(sys.argv[0]).parent
SAID = "<THOUGHT>I add.</THOUGHT>"


def after(option: str) -> list[str]:
    """Return the words behind an option."""
    return [sys.argv[at + 1] for at, word in enumerate(sys.argv[:-1]) if word == option]


def names() -> list[str]:
    return [*after("--served-model-name"), *(word.partition("=")[0] for word in after("--lora-modules"))]


def behaviour() -> str:
    told = HERE / "behaviour"
    return told.read_text() if told.exists() else ""


class Handler(BaseHTTPRequestHandler):
    asked: ClassVar[int] = 0

    def do_GET(self) -> None:
        self.answer(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in names()]})

    def do_POST(self) -> None:
        if behaviour() == "vanish":
            sys.stderr.write("CUDA error: an illegal memory access was encountered\n")
            sys.stderr.flush()
            os._exit(1)
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = asked["model"] in names()
        message = {"role": "assistant", "content": SAID}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        reply = {"id": "x", "object": "chat.completion", "model": asked["model"], "choices": [choice], "usage": usage}
        self.answer(200 if known else 404, reply if known else {"error": {"message": "no such model", "code": 404}})

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def main() -> None:
    (HERE / "command").write_text("\n".join(sys.argv[1:]))
    (HERE / "pid").write_text(str(os.getpid()))
    if behaviour() == "fail":
        sys.stderr.write("ValueError: No available memory for the cache blocks\n")
        sys.exit(1)
    ThreadingHTTPServer(("127.0.0.1", int(after("--port")[0])), Handler).serve_forever()


if __name__ == "__main__":
    main()
