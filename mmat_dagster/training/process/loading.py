"""A student as it stands in the process: its weights, its processor, and where LoRA takes hold of it.

Nothing that comes with a checkpoint is ever executed: neither its code nor a pickle.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tokenizers
import torch
import transformers
from peft import LoraConfig
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)

from mmat_dagster.fingerprints import code_fingerprint, fingerprint
from mmat_dagster.training.process.smollm2 import convert_smollm2, find_weights
from mmat_dagster.training.process.templates import Processor, tokenizer_of, training_template
from mmat_dagster.training.process.tiny import TEMPLATE, TEXTS, make_tiny
from mmat_dagster.training.spec import BadRun, HyperParameters, Precision, Student

# As LLaVA, InternVL, Mllama, Idefics3, SmolVLM and Qwen-VL name them: the tower, and what carries it to the language.
VISION = r"(?:.*\.)?(?:vision_tower|vision_model|visual|multi_modal_projector|connector)(?:\..*)?"

_DTYPES: Mapping[Precision, torch.dtype] = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
}
_REMOTE_CODE = "trust_remote_code"


@dataclass(frozen=True, kw_only=True)
class LoadedStudent:
    """A student to be trained; `processor` is a tokenizer where it reads text only, `base` what it started from."""

    model: PreTrainedModel
    processor: Processor
    chat_template: str
    base: str


def prepare_base(student: Student, cache: Path) -> str:
    """Return the folder or the hub's name of the weights that `student` starts from.

    What needs no network is made below `cache`, once; processes that do so at a time do not get in each other's way.
    """
    if student.kind == "pretrained":
        if student.model is None:
            raise BadRun(f"the student {student.name} names no model")
        return student.model
    make, decided_by = _MADE[student.kind]
    libraries = (torch.__version__, transformers.__version__, tokenizers.__version__)
    return str(_made_once(cache / f"{student.name}-{fingerprint([*decided_by(), *libraries])}", make))


def load_processor(student: Student, base: str) -> tuple[Processor, str]:
    """Return the student's processor, padding on the right, and the chat template to train with; raise BadRun."""
    revision = student.revision
    with _clear_errors(student, base):
        _check_modality(student, _config(base, revision))
        loader = AutoProcessor if student.modality == "vision" else AutoTokenizer
        processor = loader.from_pretrained(base, revision=revision, trust_remote_code=False)
    tokenizer = tokenizer_of(processor)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise BadRun(f"the tokenizer of {student.name} has neither a padding token nor one that ends a text")
        tokenizer.pad_token = tokenizer.eos_token
    return processor, training_template(processor, student)


def load_student(student: Student, hyper: HyperParameters, base: str, checkpoint: Path | None) -> LoadedStudent:
    """Return the student, its weights those of `base`, or of `checkpoint` where all of them are trained; raise BadRun.

    A full checkpoint of a vision-language model names its weights otherwise than the model in memory, and what the
    trainer then loads by name it misses in silence: only built from its checkpoint a model goes on where it stopped.
    """
    processor, template = load_processor(student, base)
    goes_on = checkpoint is not None and hyper.method == "full"
    weights, revision = (str(checkpoint), None) if goes_on else (base, student.revision)
    loader = AutoModelForImageTextToText if student.modality == "vision" else AutoModelForCausalLM
    with _clear_errors(student, weights):
        model = loader.from_pretrained(
            weights,
            revision=revision,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32 if hyper.method == "full" else _DTYPES[hyper.precision],
        )
    if hyper.method == "full" and student.modality == "vision" and not hyper.trains_vision:
        _freeze_vision(model, student)
    return LoadedStudent(model=model, processor=processor, chat_template=template, base=base)


def lora_config(student: Student, hyper: HyperParameters, model: PreTrainedModel) -> LoraConfig:
    """Return where LoRA takes hold of `model`: every linear layer of its language, of its vision only where asked.

    The head is never among them; peft leaves it out of "all-linear".
    """
    leaves_out_vision = student.modality == "vision" and not hyper.trains_vision
    if leaves_out_vision:
        _vision_modules(model, student)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=hyper.lora_rank,
        lora_alpha=hyper.lora_alpha,
        lora_dropout=hyper.lora_dropout,
        target_modules="all-linear",
        exclude_modules=VISION if leaves_out_vision else None,
    )


def _freeze_vision(model: PreTrainedModel, student: Student) -> None:
    for module in _vision_modules(model, student):
        module.requires_grad_(requires_grad=False)


def _vision_modules(model: PreTrainedModel, student: Student) -> list[torch.nn.Module]:
    found = [module for name, module in model.named_modules() if re.fullmatch(VISION, name)]
    if not found:
        raise BadRun(
            f"{student.name} ({type(model).__name__}) keeps its vision under a name that is not known here, so it "
            "cannot be left out of training: set trains_vision"
        )
    return found


def _tiny_decided_by() -> list[str]:
    return [code_fingerprint("training/process/tiny.py", "wire.py", TEMPLATE, *TEXTS)]


def _smollm2_decided_by() -> list[str]:
    weights = find_weights()
    return [code_fingerprint("training/process/smollm2.py"), weights.name, str(weights.stat().st_size)]


_MADE: Mapping[str, tuple[Callable[[Path], None], Callable[[], list[str]]]] = {
    "tiny": (make_tiny, _tiny_decided_by),
    "smollm2": (convert_smollm2, _smollm2_decided_by),
}


def _made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`, made beside its place and renamed into it; whoever is second finds it there."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        make(beside)
        beside.chmod(0o755)
        beside.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _config(base: str, revision: str | None) -> PretrainedConfig:
    return AutoConfig.from_pretrained(base, revision=revision, trust_remote_code=False)


def _check_modality(student: Student, config: PretrainedConfig) -> None:
    kind = type(config)
    if student.modality == "vision" and kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise BadRun(
            f"{student.name} ({config.model_type}) cannot see: it is no student of modality vision. "
            "Name it with the prefix text:, or as a Student of modality text"
        )
    if student.modality == "text" and (
        kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING or kind not in MODEL_FOR_CAUSAL_LM_MAPPING
    ):
        raise BadRun(f"{student.name} ({config.model_type}) is no text model: it cannot be a student of modality text")


@contextmanager
def _clear_errors(student: Student, base: str) -> Iterator[None]:
    """Tell in one sentence why a checkpoint cannot be used."""
    try:
        yield
    except BadRun:
        raise
    except ImportError as error:
        raise BadRun(
            f"{student.name} needs a package that is not installed (pip install -e '.[train-gpu]' has torchvision): "
            f"{_shortened(error)}"
        ) from error
    except (OSError, ValueError) as error:
        raise BadRun(_why(student, base, error)) from error


def _why(student: Student, base: str, error: Exception) -> str:
    told = str(error)
    at = f" at revision {student.revision}" if student.revision else ""
    if _REMOTE_CODE in told:
        return (
            f"{base}{at} is a checkpoint with code of its own, which is never run here: take its conversion to "
            "transformers (often called -hf), or export the dialogues to a trainer that runs such code"
        )
    if "safetensors" in told:
        return f"the weights of {base}{at} are not safetensors; those of a pickle are never loaded. {_shortened(error)}"
    if Path(base).is_absolute():
        return f"{base} holds no checkpoint that can be loaded: {_shortened(error)}"
    return (
        f"{base}{at} cannot be fetched from the model hub; name a folder that holds it, or see that the hub is "
        f"reached and the model's terms are accepted: {_shortened(error)}"
    )


def _shortened(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
