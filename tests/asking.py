"""The chat model as tests ask it: short pauses, a ledger in the test's own folder, pictures with their hashes."""

import hashlib
from pathlib import Path

from PIL import Image

from mmat_dagster.interfaces import ChatImage, ChatReply, ChatTurn, RowError
from resources.gpt4o import GPT4o

KEY = "sk-proj-Zq7vNeverTell0123456789"
SYSTEM = ChatTurn(role="system", text="Reply in JSON.")
ASK = (SYSTEM, ChatTurn(role="user", text="How much?"))
# A pause that a server may ask for: none at all would be half a second after a 429.
SOON = {"retry-after-ms": "1"}


def make_model(url: str, folder: Path, **fields: object) -> GPT4o:
    """Return the model behind the server at `url`, with its ledger in `folder`."""
    usual = {
        "api_key": KEY,
        "base_url": url,
        "model": "scripted",
        "ledger": str(folder / "ledger.sqlite"),
        "max_retries": 0,
        "backoff_s": 0.001,
    }
    return GPT4o.model_validate({**usual, **fields})


async def ask(model: GPT4o, *messages: ChatTurn) -> ChatReply | RowError:
    """Ask for one reply, in a session of its own."""
    async with model.session("tests"):
        return await model.complete(messages or ASK)


def question(text: str, *images: ChatImage) -> ChatTurn:
    """Return a turn of the user."""
    return ChatTurn(role="user", text=text, images=images)


def save_picture(path: Path, size: tuple[int, int] = (40, 20)) -> ChatImage:
    """Save a picture and return it as the model gets it."""
    Image.new("RGB", size, "white").save(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return ChatImage(path=path, sha256=sha256, width=size[0], height=size[1], reference=f"tabmwp/{path.name}")
