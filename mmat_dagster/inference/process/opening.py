"""A student as it is served: weights with their adapter merged in, processor, template, and what ends a reply.

Nothing that comes with a checkpoint is ever executed: neither its code nor a pickle.
"""

import inspect
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import PeftModel
from transformers import DynamicCache, GenerationConfig, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from mmat_dagster.inference.spec import ENGINE, Hosting, served_name
from mmat_dagster.training.process.loading import load_student, prepare_base
from mmat_dagster.training.process.templates import Processor, tokenizer_of
from mmat_dagster.training.spec import BadRun, HyperParameters, Precision, Student

ADAPTER, ADAPTER_CONFIG, TEMPLATE = "adapter_model.safetensors", "adapter_config.json", "chat_template.jinja"
# Vision models that put their images' features in the place of tokens, and count positions as a text does.
PLAIN = frozenset({"llava", "llava_next", "idefics3", "smolvlm", "internvl"})
# Their angles depend on how long the longest text of a batch is.
LENGTH_BOUND = frozenset({"dynamic", "longrope"})


@dataclass(frozen=True, kw_only=True)
class OpenStudent:
    """A student that can be asked.

    `is_plain` says that keys and values of a token depend on the tokens before it and on nothing else, so that rows of
    different lengths can be decoded together, and a prefix can be gone on from. `image_token` is that of a student
    that sees, None where it has none or is not known.
    """

    name: str
    student: Student
    model: PreTrainedModel
    processor: Processor
    chat_template: str
    ends: frozenset[int]
    longest: int
    is_plain: bool
    image_token: int | None

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        found: torch.device = self.model.device
        return found


def open_student(hosting: Hosting) -> OpenStudent:
    """Load the student that `hosting` names; raise BadRun."""
    on_gpu = _on_gpu(hosting)
    precision: Precision = hosting.precision or ("bf16" if on_gpu else "fp32")
    student, base, adapter = _weights(hosting)
    loaded = load_student(student, HyperParameters(precision=precision), base, None)
    model = loaded.model if adapter is None else _merged(loaded.model, adapter)
    model = model.to("cuda" if on_gpu else "cpu").eval().requires_grad_(requires_grad=False)
    ends = _ends(model, loaded.processor)
    # What a publisher recommends for sampling (a repetition penalty, for one) is no part of what was asked for.
    model.generation_config = GenerationConfig(
        eos_token_id=sorted(ends), pad_token_id=tokenizer_of(loaded.processor).pad_token_id
    )
    return OpenStudent(
        name=served_name(hosting.name, ENGINE, precision),
        student=student,
        model=model,
        processor=loaded.processor,
        chat_template=loaded.chat_template,
        ends=ends,
        longest=min(hosting.max_length, _positions(model.config)),
        is_plain=is_plain(model, student),
        image_token=getattr(model.config, "image_token_id", None) if student.modality == "vision" else None,
    )


def is_plain(model: PreTrainedModel, student: Student) -> bool:
    """Say whether a token's keys and values depend on the tokens before it alone, at positions counted one by one."""
    config = model.config
    text = config.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None) or {}
    layers = DynamicCache(config=config).layers
    return (
        (student.modality == "text" or config.model_type in PLAIN)
        and "position_ids" in inspect.signature(model.forward).parameters
        and len(layers) == text.num_hidden_layers
        and all(type(layer) is DynamicLayer for layer in layers)
        and "mrope_section" not in rope
        and rope.get("rope_type") not in LENGTH_BOUND
    )


def _on_gpu(hosting: Hosting) -> bool:
    has_gpu = torch.cuda.is_available()
    if hosting.accelerator == "cuda" and not has_gpu:
        raise BadRun("a GPU is asked for (accelerator: cuda), and torch finds none on this machine")
    return has_gpu and hosting.accelerator != "cpu"


def _weights(hosting: Hosting) -> tuple[Student, str, Path | None]:
    """Return the student, where its weights lie, and the folder of its adapter where it has one."""
    student, folder = hosting.student, Path(hosting.checkpoint) if hosting.checkpoint else None
    if folder is None:
        return student, prepare_base(student, Path(hosting.cache)), None
    if (folder / TEMPLATE).is_file():
        # With the template that it was trained with, whatever has become of the one that was named then.
        student = replace(student, chat_template=str(folder / TEMPLATE))
    if not (folder / ADAPTER_CONFIG).is_file():
        return replace(student, revision=None), str(folder.absolute()), None
    if not (folder / ADAPTER).is_file():
        raise BadRun(f"{folder} holds no {ADAPTER}; the weights of a pickle are never loaded")
    return student, prepare_base(student, Path(hosting.cache)), folder


def _merged(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    try:
        with warnings.catch_warnings():
            # PEFT only warns where an adapter is one of other weights, and would leave the student as it was.
            warnings.filterwarnings("error", message=".*missing adapter keys")
            adapted = PeftModel.from_pretrained(model, str(adapter), is_trainable=False)
    except (OSError, ValueError, KeyError, RuntimeError, UserWarning) as error:
        told = " ".join(str(error).split())[:300]
        raise BadRun(f"the adapter {adapter} does not fit the student's weights: {told}") from error
    merged: PreTrainedModel = adapted.merge_and_unload()
    return merged


def _ends(model: PreTrainedModel, processor: Processor) -> frozenset[int]:
    """Return the tokens that end a reply."""
    told = model.generation_config.eos_token_id if model.generation_config is not None else None
    named = [told] if isinstance(told, int) else list(told or ())
    return frozenset(each for each in (*named, tokenizer_of(processor).eos_token_id) if each is not None)


def _positions(config: PretrainedConfig) -> int:
    """Return for how many tokens the model was made."""
    text = config.get_text_config(decoder=True)
    return int(getattr(text, "max_position_embeddings", None) or 1 << 30)
