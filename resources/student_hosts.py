"""Where students answer: this project's own server, vLLM, or a server that somebody else has started.

Whoever serves, a student is asked like the teacher, through the reply ledger: what it has said once is never asked
again, and an evaluation that was ended goes on. The ledger knows a student by the name of its weights and by engine and
precision, which make other replies of the same weights.
"""

import json
import re
import shutil
import socket
import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import orjson
from pydantic import Field

from mmat_dagster.evaluation.hosts import HostingFailed, ServedStudent, StudentHost
from mmat_dagster.inference.spec import CONFIG, ENGINE, Hosting, dump_hosting, served_name
from mmat_dagster.interfaces import ChatModel
from mmat_dagster.training.executor import PYTHON, ServingFailed, ServingJob, TrainingExecutor
from mmat_dagster.training.spec import Precision
from resources.gpt4o import LEDGER, GPT4o
from resources.model_listing import listed_models

SERVER = "mmat_dagster.inference"
PACKAGES = ("torch", "transformers", "trl", "peft", "uvicorn", "starlette")
VLLM = "vllm"
VLLM_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
# The ranks that vLLM has room for.
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
ADAPTER_CONFIG, TEMPLATE = "adapter_config.json", "chat_template.jinja"
# A mark takes the whitespace beside it along or not, as an `if` in its place does.
OPENING = re.compile(r"\{%(-?)\s*generation\s*(-?)%\}")
CLOSING = re.compile(r"\{%(-?)\s*endgeneration\s*(-?)%\}")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a student answers, up to and including /v1, and what it is called there."""

    url: str
    model: str


class AskedHost(dg.ConfigurableResource[StudentHost], StudentHost):
    """What all hosts have in common: how a student is asked."""

    ledger: str = Field(
        default=LEDGER, repr=False, description="URL of the reply ledger: sqlite:///<file> or postgresql://..."
    )
    max_completion_tokens: int = Field(default=512, gt=0, description="A longer reply is cut.")
    concurrency: int = Field(default=32, gt=0, description="Requests under way at once; more than a batch fill it.")
    timeout_s: float = Field(default=3600.0, gt=0, description="How long a reply may take: others are written with it.")

    @property
    def version(self) -> str:
        """Engine, precision and sampling."""
        decided = {**self._decides(), "temperature": 0, "max_completion_tokens": self.max_completion_tokens}
        return json.dumps(decided, sort_keys=True)

    @contextmanager
    def serve(self, student: ServedStudent) -> Iterator[ChatModel]:
        """Serve `student` while the context is open, and give the model to ask."""
        with self.address(student) as address:
            yield self._model(student, address)

    @abstractmethod
    def address(self, student: ServedStudent) -> AbstractContextManager[Address]:
        """Serve `student` while the context is open, and give its address; raise HostingFailed."""

    @abstractmethod
    def _decides(self) -> dict[str, Any]:
        """Return what of the engine decides a reply."""

    @property
    def _key(self) -> str:
        return ""

    def _model(self, student: ServedStudent, address: Address) -> ChatModel:
        return GPT4o(
            api_key=self._key,
            base_url=address.url,
            model=address.model,
            check_model=False,
            ledger=self.ledger,
            temperature=0.0,
            max_completion_tokens=self.max_completion_tokens,
            reply_format="text",
            image_detail="none" if student.student.modality == "text" else "high",
            timeout_s=self.timeout_s,
            concurrency=self.concurrency,
            usd_per_million_input=0.0,
            usd_per_million_output=0.0,
            image_tokens_at_most=0,  # they cost nothing, so nobody counts them
        )


class StartedHost(AskedHost):
    """A host that starts its server by the deployment's executor."""

    executor: dg.ResourceDependency[TrainingExecutor[dg.AssetExecutionContext]]
    folder: str = Field(description="The folder below which servers work, each in one of its own.")
    port: int = Field(default=0, ge=0, le=65535, description="The port to listen at; 0 for any that is free.")

    @contextmanager
    def _served(self, student: ServedStudent, folder: Path, job: ServingJob) -> Iterator[str]:
        """Run a server while the context is open; its folder is kept where it fails, for its log."""
        try:
            with self.executor.serve(job) as url:
                yield url
        except ServingFailed as error:
            raise HostingFailed(f"{student.name} cannot be served. {error}") from error
        shutil.rmtree(folder, ignore_errors=True)

    def _work(self, student: ServedStudent) -> Path:
        parent = Path(self.folder).absolute()
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=re.sub(r"[^\w.-]+", "_", student.name) + "-", dir=parent))


class TransformersHost(StartedHost):
    """Serves by this project's own server: on a CPU or one GPU, every student that can be trained here."""

    batch: int = Field(default=16, gt=0, description="Replies that are written together.")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        default="auto", description="auto: fp32 on a CPU, bf16 on a GPU."
    )
    accelerator: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where the weights are put.")
    max_length: int = Field(default=16384, gt=0, description="Tokens of prompt and reply together.")
    threads: int = Field(default=1, gt=0, description="Threads of the server; more than a CPU's share slow it down.")
    kept_gb: float = Field(default=2.0, ge=0, description="So much is kept of dialogues, to be gone on from.")

    @contextmanager
    def address(self, student: ServedStudent) -> Iterator[Address]:
        """Serve `student` while the context is open; the server itself tells its name, since it knows the precision."""
        folder = self._work(student)
        (folder / CONFIG).write_bytes(dump_hosting(self._hosting(student)))
        command = (PYTHON, "-m", SERVER, "--config", str(folder / CONFIG))
        job = ServingJob(name=student.name, folder=str(folder), command=command, packages=PACKAGES)
        with self._served(student, folder, job) as url:
            yield Address(url=url, model=_only_model(url))

    def _decides(self) -> dict[str, Any]:
        return {"engine": ENGINE, "precision": self.precision, "max_length": self.max_length}

    def _hosting(self, student: ServedStudent) -> Hosting:
        return Hosting(
            name=student.name,
            student=student.student,
            checkpoint=str(student.checkpoint.absolute()) if student.checkpoint else None,
            cache=str(student.cache.absolute()),
            port=self.port,
            batch=self.batch,
            precision=None if self.precision == "auto" else self.precision,
            accelerator=self.accelerator,
            max_length=self.max_length,
            threads=self.threads,
            kept_gb=self.kept_gb,
        )


class VllmHost(StartedHost):
    """Serves by vLLM, on a machine with GPUs where it is installed."""

    precision: Precision = Field(default="bf16", description="vLLM's dtype.")
    max_length: int | None = Field(default=None, gt=0, description="vLLM's max-model-len; null: the model's own.")
    tensor_parallel: int = Field(default=1, gt=0, description="GPUs that share one model.")
    options: list[str] = Field(
        default=[], description="Further words of the command line, such as --limit-mm-per-prompt."
    )

    @contextmanager
    def address(self, student: ServedStudent) -> Iterator[Address]:
        """Serve `student` while the context is open."""
        if shutil.which(VLLM) is None:
            raise HostingFailed(
                "there is no command vllm here: pip install vllm on a machine with a GPU, or serve with "
                "MMAT_INFERENCE=transformers"
            )
        port = self.port or _free_port()
        folder = self._work(student)
        command = self.command(student, folder, port)
        with self._served(
            student, folder, ServingJob(name=student.name, folder=str(folder), command=command, port=port)
        ) as url:
            yield Address(url=url, model=self._name(student))

    def command(self, student: ServedStudent, folder: Path, port: int) -> tuple[str, ...]:
        """Return the command line; what it names besides the weights is written into `folder`. Raises HostingFailed."""
        if student.student.model is None:
            raise HostingFailed(
                f"{student.student.name} is made here, and served with MMAT_INFERENCE=transformers only"
            )
        checkpoint = student.checkpoint.absolute() if student.checkpoint else None
        rank = _rank(checkpoint) if checkpoint else None
        is_adapter = rank is not None
        base = student.student.model if checkpoint is None or is_adapter else str(checkpoint)
        name = self._name(student)
        words = [VLLM, "serve", base, "--served-model-name", f"{name}-base" if is_adapter else name]
        if base == student.student.model and student.student.revision is not None:
            words += ["--revision", student.student.revision]
        words += ["--host", "127.0.0.1", "--port", str(port), "--dtype", VLLM_DTYPES[self.precision]]
        # A publisher's defaults for sampling, a repetition penalty for one, are not what was asked for.
        words += ["--generation-config", VLLM, "--tensor-parallel-size", str(self.tensor_parallel)]
        if self.max_length is not None:
            words += ["--max-model-len", str(self.max_length)]
        if checkpoint is not None:
            words += self._of_checkpoint(student, checkpoint, folder)
        if rank is not None:
            room = str(next((each for each in LORA_RANKS if each >= rank), rank))
            words += ["--enable-lora", "--lora-modules", f"{name}={checkpoint}", "--max-lora-rank", room]
        return (*words, *self.options)

    def _of_checkpoint(self, student: ServedStudent, checkpoint: Path, folder: Path) -> list[str]:
        """Return how messages are written: as the student was trained on them."""
        if not (checkpoint / TEMPLATE).is_file():
            return []
        template = folder / TEMPLATE
        template.write_text(unmarked((checkpoint / TEMPLATE).read_text("utf-8")), "utf-8")
        content = "string" if student.student.modality == "text" else "openai"
        return ["--chat-template", str(template), "--chat-template-content-format", content]

    def _decides(self) -> dict[str, Any]:
        return {"engine": VLLM, "precision": self.precision, "options": self.options}

    def _name(self, student: ServedStudent) -> str:
        return served_name(student.name, VLLM, self.precision)


class EndpointHost(AskedHost):
    """Asks a server that already runs (vLLM, SGLang, llama.cpp, ...), by whatever name it has for the student there."""

    base_url: str = Field(description="The server, up to and including /v1.")
    api_key: str = Field(default="", repr=False, description="Its key; most servers of one's own need none.")
    model: str = Field(
        default="{name}",
        description="The student's name there; {name} is the one of its weights. A name without it must be another one "
        "for other weights, since replies are kept under it.",
    )

    @contextmanager
    def address(self, student: ServedStudent) -> Iterator[Address]:
        """Give the server's address, if it knows the student or does not tell whom it knows."""
        try:
            model = self.model.format(name=student.name)
        except (LookupError, ValueError):
            raise HostingFailed(f"`model` is {self.model!r}; it may hold {{name}} and no other braces") from None
        try:
            listed = listed_models(self.base_url, self.api_key)
        except ServingFailed as error:
            raise HostingFailed(f"{student.name} cannot be asked. {error}") from error
        if listed is not None and model not in listed:
            raise HostingFailed(
                f"{self.base_url} serves no {model!r}, but {', '.join(listed[:10]) or 'nothing'}: load the student "
                "there under that name, or say what it is called (MMAT_STUDENT_MODEL)"
            )
        yield Address(url=self.base_url.rstrip("/"), model=model)

    @property
    def _key(self) -> str:
        return self.api_key

    def _decides(self) -> dict[str, Any]:
        return {"engine": "endpoint", "model": self.model}


def unmarked(template: str) -> str:
    """Return a chat template without the marks of what carries loss, which only trainers know."""
    return CLOSING.sub(r"{%\1 endif \2%}", OPENING.sub(r"{%\1 if true \2%}", template))


def _rank(checkpoint: Path) -> int | None:
    """Return the largest rank of an adapter; None for a checkpoint of full weights."""
    if not (checkpoint / ADAPTER_CONFIG).is_file():
        return None
    config: dict[str, Any] = orjson.loads((checkpoint / ADAPTER_CONFIG).read_bytes())
    return max([int(config["r"]), *(int(rank) for rank in (config.get("rank_pattern") or {}).values())])


def _only_model(url: str) -> str:
    listed = listed_models(url)
    if listed is None or len(listed) != 1:
        raise HostingFailed(f"{url} is to serve one student, and lists {listed}")
    return listed[0]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
