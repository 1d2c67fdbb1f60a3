"""Tokens and rates of the teacher's server: how it counts a prompt, what it allows per minute, what its headers say."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from tests.chat_server import Body

CHARS_PER_TOKEN = 4
MESSAGE_TOKENS = 4
CACHED_FROM_TOKENS = 1024
CACHED_STEP_TOKENS = 128

Clock: TypeAlias = Callable[[], float]


class Bucket:
    """Holds what is left of a rate: full at first, refilled continuously, never above one minute's worth."""

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self.capacity = per_minute
        self._clock = clock
        self._level = per_minute
        self._at = clock()

    @property
    def level(self) -> float:
        """What is left now."""
        now = self._clock()
        self._level = min(self.capacity, self._level + (now - self._at) * self.capacity / 60)
        self._at = now
        return self._level

    def wait_s(self, level: float) -> float:
        """Return in how many seconds the bucket holds `level`; 0 where it does already."""
        return max(0.0, (level - self.level) * 60 / self.capacity)

    def take(self, amount: float) -> None:
        """Take `amount` out."""
        self._level = self.level - amount


class Limits:
    """Requests and tokens per minute, each or none limited; a request is charged as it arrives, or not at all."""

    def __init__(self, rpm: float | None, tpm: float | None, clock: Clock = time.monotonic) -> None:
        self._buckets: dict[str, Bucket] = {}
        for name, per_minute in (("requests", rpm), ("tokens", tpm)):
            if per_minute is not None:
                self._buckets[name] = Bucket(per_minute, clock)

    def admit(self, tokens: int) -> float:
        """Charge a request of `tokens` and return 0, or return in how many seconds there is room for it."""
        amounts = {"requests": 1, "tokens": tokens}
        wait_s = max((bucket.wait_s(amounts[name]) for name, bucket in self._buckets.items()), default=0.0)
        if wait_s <= 0:
            for name, bucket in self._buckets.items():
                bucket.take(amounts[name])
        return wait_s

    def render_headers(self) -> dict[str, str]:
        """Tell limits, what remains of them, and when they are whole again, as OpenAI's headers do."""
        headers = {}
        for name, bucket in self._buckets.items():
            headers[f"x-ratelimit-limit-{name}"] = f"{bucket.capacity:.0f}"
            headers[f"x-ratelimit-remaining-{name}"] = str(int(bucket.level))
            headers[f"x-ratelimit-reset-{name}"] = render_duration(bucket.wait_s(bucket.capacity))
        return headers


def render_duration(seconds: float) -> str:
    """Render a duration as OpenAI's headers do: 6ms, 1s, 8.64s, 1m30s."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return (f"{minutes}m" if minutes else "") + f"{rest / 1000:g}s"


def render_retry(wait_s: float) -> dict[str, str]:
    """Render both headers that tell when to come back, rounded up."""
    return {"retry-after-ms": str(math.ceil(wait_s * 1000)), "retry-after": str(math.ceil(wait_s))}


def count_prompt(body: Body, image_tokens: int) -> int:
    """Count the tokens of a prompt: a quarter of its bytes, a little per message, a constant per image."""
    parts = [part for message in body["messages"] for part in _parts(message)]
    chars: int = sum(len(part["text"].encode()) for part in parts if part["type"] == "text")
    images: int = sum(part["type"] == "image_url" for part in parts)
    return chars // CHARS_PER_TOKEN + MESSAGE_TOKENS * len(body["messages"]) + image_tokens * images


def count_completion(text: str) -> int:
    """Count the tokens of a reply."""
    return len(text) // CHARS_PER_TOKEN + 1


class PromptCache:
    """Remembers the prompts that it was asked about, and tells how much of a new one it has seen before."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def match(self, body: Body, image_tokens: int) -> int:
        """Return the tokens of the longest known prefix, in steps of 128 from 1024 on, and remember the whole."""
        prefixes = list(_prefixes(_stream(body, image_tokens)))
        known = [tokens for tokens, digest in prefixes if digest in self._seen]
        self._seen.update(digest for _, digest in prefixes)
        return max(known, default=0)


def _parts(message: Body) -> list[dict[str, Any]]:
    content = message.get("content") or ""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _stream(body: Body, image_tokens: int) -> bytes:
    """The prompt as bytes, so many to a token; an image is told by its digest."""
    pieces = []
    for message in body["messages"]:
        pieces.append(message["role"].encode().ljust(MESSAGE_TOKENS * CHARS_PER_TOKEN))
        for part in _parts(message):
            if part["type"] == "text":
                pieces.append(part["text"].encode())
            elif part["type"] == "image_url":
                digest = hashlib.sha256(part["image_url"]["url"].encode()).digest()
                pieces.append(digest.ljust(image_tokens * CHARS_PER_TOKEN))
    return b"".join(pieces)


def _prefixes(stream: bytes) -> Iterator[tuple[int, bytes]]:
    digest, hashed = hashlib.sha256(), 0
    for tokens in range(CACHED_FROM_TOKENS, len(stream) // CHARS_PER_TOKEN + 1, CACHED_STEP_TOKENS):
        digest.update(stream[hashed : tokens * CHARS_PER_TOKEN])
        hashed = tokens * CHARS_PER_TOKEN
        yield tokens, digest.digest()
