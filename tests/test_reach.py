"""What the code may reach: who speaks to a network is listed here, and nothing from outside is ever run."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_bytes())
    for package in ("mmat_dagster", "assets", "resources")
    for path in sorted((ROOT / package).rglob("*.py"))
}
NETWORK = (
    *("aiohttp", "httpx", "httpx2", "requests", "urllib3", "urllib.request", "http", "ftplib", "smtplib", "xmlrpc"),
    *("openai", "huggingface_hub", "boto3", "botocore", "s3fs", "fsspec", "websockets", "pyarrow.fs", "dagster_aws"),
    *("dagster_slack", "slack_sdk", "ray", "dagster_ray"),
)
# Who may speak to others, and to whom: a new line here is a new way out, and belongs into SECURITY.md.
SPEAKERS = {
    "mmat_dagster/release/validation.py": "nobody: it reads the card that a release has",
    "mmat_dagster/training/process/conversations.py": "the store",
    "resources/bucket.py": "the store",
    "resources/chat_batches.py": "the configured chat server",
    "resources/chat_calls.py": "the configured chat server",
    "resources/chat_http.py": "the configured chat server",
    "resources/chat_lookup.py": "the configured chat server",
    "resources/ecs_training_executor.py": "the configured cluster of AWS ECS",
    "resources/google_http.py": "the configured search",
    "resources/google_search.py": "the configured search",
    "resources/hub.py": "the hub that releases are pushed to",
    "resources/kept_training.py": "the store",
    "resources/model_listing.py": "the configured server of students",
    "resources/messengers.py": "Slack",
    "resources/operator_http.py": "the configured server of operators",
    "resources/ray_joining.py": "the configured Ray cluster",
    "resources/ray_parts.py": "the configured Ray cluster",
    "resources/ray_room.py": "the configured Ray cluster",
    "resources/ray_token.py": "the configured Ray cluster",
    "resources/ray_training_executor.py": "the configured Ray cluster",
    "resources/ray_vision.py": "the configured Ray cluster",
    "resources/s3_store.py": "the store",
    "resources/stores.py": "the store",
    "resources/training_machine.py": "the store",
}
# What makes code out of data.
UNPICKLING = ("pickle", "_pickle", "cPickle", "shelve", "marshal", "dill", "cloudpickle", "joblib")
RUNNING = ("eval", "exec", "compile", "__import__")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls with the name of what is called, without what it is called on."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            yield (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")), node


def keywords(call: ast.Call) -> dict[str, object]:
    return {each.arg: getattr(each.value, "value", ...) for each in call.keywords if each.arg}


def reaches(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_only_those_who_are_listed_speak_to_a_network() -> None:
    speakers = {file for file, tree in FILES.items() if any(reaches(name, NETWORK) for name in imported(tree))}
    assert speakers == set(SPEAKERS)


def test_every_way_out_is_told_in_the_threat_model() -> None:
    told = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for whom in set(SPEAKERS.values()) - {SPEAKERS["mmat_dagster/release/validation.py"]}:
        assert whom.removeprefix("the ").removeprefix("configured ") in told, whom


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_unpickled_or_run(file: str) -> None:
    assert not [name for name in imported(FILES[file]) if reaches(name, UNPICKLING)]
    for name, call in calls(FILES[file]):
        assert not (isinstance(call.func, ast.Name) and name in RUNNING), f"line {call.lineno}"
        given = keywords(call)
        assert given.get("trust_remote_code", False) is False, f"line {call.lineno}"
        assert given.get("shell", False) is False, f"line {call.lineno}"
        assert given.get("allow_pickle", False) is False, f"line {call.lineno}"
        assert given.get("weights_only", True) is True, f"line {call.lineno}"
        assert not (name == "load" and isinstance(call.func, ast.Attribute) and _of(call.func) in ("torch", "yaml"))


@pytest.mark.parametrize("file", [file for file in FILES if "from_pretrained" in (ROOT / file).read_text()])
def test_weights_are_safetensors_and_no_code_comes_with_them(file: str) -> None:
    if file == "mmat_dagster/training/process/smollm2.py":
        return  # reads a GGUF file, which holds numbers alone
    for name, call in calls(FILES[file]):
        if name != "from_pretrained":
            continue
        of, given = _of(call.func), keywords(call)
        if of == "PeftModel":
            # Its folder was seen to hold safetensors; PEFT takes these where they are.
            assert "holds no {ADAPTER}" in (ROOT / file).read_text()
            continue
        is_model = "Model" in of or (of == "loader" and "dtype" in given)
        assert not is_model or given.get("use_safetensors") is True, f"line {call.lineno}"
        assert "trust_remote_code" in given or None in {each.arg for each in call.keywords}, f"line {call.lineno}"


def _of(called: ast.expr) -> str:
    return getattr(getattr(called, "value", None), "id", "")
