"""What a chat request is to get, decided as it arrives: the reply, the fault in it, the tokens, the price."""

from dataclasses import dataclass
from typing import Any

import orjson

from tests.chat_server import OK, Body, Script, ServerReply
from tests.teacher_server_faults import Fault, Faults, spoil
from tests.teacher_server_limits import count_completion, count_prompt


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer to one attempt at a request; `attempt` counts from 0, `sha` is the request's canonical one."""

    model: str
    sha: str
    attempt: int
    fault: Fault | None
    reply: ServerReply
    prompt_tokens: int
    completion_tokens: int

    @property
    def status(self) -> int:
        """The status that the client gets, 0 for none."""
        return 0 if self.fault == "stall" else self.reply.status

    @property
    def tokens(self) -> int:
        """Prompt and completion."""
        return self.prompt_tokens + self.completion_tokens

    def render(self, cached_tokens: int) -> bytes:
        """Return the response's body."""
        if self.reply.raw or self.reply.status != OK:
            return (self.reply.body or "").encode()
        return orjson.dumps(self._completion(cached_tokens))

    def _completion(self, cached_tokens: int) -> dict[str, Any]:
        message = {"role": "assistant", "content": self.reply.body, "refusal": self.reply.refusal}
        return {
            "id": f"chatcmpl-{self.sha[:24]}-{self.attempt}",
            "object": "chat.completion",
            "created": 0,
            "model": self.model,
            "choices": [
                {"index": 0, "message": message, "finish_reason": self.reply.finish_reason, "logprobs": None},
            ],
            "usage": {
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
                "total_tokens": self.tokens,
                "prompt_tokens_details": {"cached_tokens": cached_tokens},
            },
        }


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Asks the script, and lets the faults in between."""

    script: Script
    faults: Faults
    seed: int
    image_tokens: int

    def decide(self, body: Body, sha: str, attempt: int) -> Verdict:
        """Return what the request gets at its `attempt`."""
        fault = self.faults.draw(body, sha, attempt, self.seed)
        reply = self._reply(body, fault)
        text = reply.body or reply.refusal or ""
        return Verdict(
            model=body["model"],
            sha=sha,
            attempt=attempt,
            fault=fault,
            reply=reply,
            prompt_tokens=count_prompt(body, self.image_tokens),
            completion_tokens=count_completion(text) if reply.status == OK and fault != "stall" else 0,
        )

    def _reply(self, body: Body, fault: Fault | None) -> ServerReply:
        instead = self.faults.replace_reply(fault) if fault else None
        if instead is not None:
            return instead
        said = self.script(body)
        reply = ServerReply(body=said) if isinstance(said, str) else said
        return spoil(reply, fault) if fault else reply
