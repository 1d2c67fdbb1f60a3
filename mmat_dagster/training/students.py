"""The students by name; any other model is a student by its hub name (`org/model`, `org/model@revision`) or folder.

`tiny` and `smollm2` need no network. The others are those of the paper and their likes, by their names on Hugging
Face's hub, as its transformers loads them. Code that comes with a checkpoint is never run here, so of the paper's own
InternVL2.5-4B (which nobody but a stranger has converted) and MiniCPM-V-2.6 are not offered: train these with
`python -m mmat_dagster export --trainer ms-swift`. InternVL2.5-2B and -8B are their publisher's conversions, which
exist of the MPO-tuned weights only. A text model takes the prefix `text:`.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mmat_dagster.training.spec import BadRun, HyperParameters, Student

TEXT_PREFIX = "text:"

_VISION = {
    "internvl2.5-2b": "OpenGVLab/InternVL2_5-2B-MPO-hf",
    "internvl2.5-8b": "OpenGVLab/InternVL2_5-8B-MPO-hf",
    "internvl3-1b": "OpenGVLab/InternVL3-1B-hf",
    "internvl3-2b": "OpenGVLab/InternVL3-2B-hf",
    "internvl3-8b": "OpenGVLab/InternVL3-8B-hf",
    "llama-3.2-11b-vision": "meta-llama/Llama-3.2-11B-Vision-Instruct",
    "qwen2.5-vl-3b": "Qwen/Qwen2.5-VL-3B-Instruct",
    "qwen2.5-vl-7b": "Qwen/Qwen2.5-VL-7B-Instruct",
    "qwen3-vl-4b": "Qwen/Qwen3-VL-4B-Instruct",
    "qwen3-vl-8b": "Qwen/Qwen3-VL-8B-Instruct",
    "llava-1.5-7b": "llava-hf/llava-1.5-7b-hf",
    "idefics3-8b": "HuggingFaceM4/Idefics3-8B-Llama3",
    "smolvlm": "HuggingFaceTB/SmolVLM-Instruct",
    "smolvlm2": "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
}
_TEXT = {
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "smollm2-1.7b": "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B-Instruct",
    "qwen2.5-1.5b": "Qwen/Qwen2.5-1.5B-Instruct",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
}

STUDENTS: Mapping[str, Student] = {
    "tiny": Student(name="tiny", kind="tiny"),
    "smollm2": Student(name="smollm2", kind="smollm2", modality="text"),
    **{name: Student(name=name, model=model) for name, model in _VISION.items()},
    **{name: Student(name=name, model=model, modality="text") for name, model in _TEXT.items()},
}

# Where a student is too small for the paper's hyper-parameters to teach it anything.
DEFAULTS: Mapping[str, HyperParameters] = {
    "tiny": HyperParameters(
        epochs=4.0,
        learning_rate=1e-2,
        max_length=4096,
        precision="fp32",
        lora_dropout=0.0,
        gradient_checkpointing=False,
        liger=False,
    ),
    "smollm2": HyperParameters(
        learning_rate=5e-4,
        max_length=2048,
        # Most CPUs imitate bf16 and are many times slower for it.
        precision="fp32",
        batch_per_device=4,
        lora_rank=16,
        gradient_checkpointing=False,
        liger=False,
    ),
}


def defaults_of(student: Student) -> HyperParameters:
    """Return the hyper-parameters of `student` where a run names none: the paper's, but for the small."""
    return DEFAULTS.get(student.kind, HyperParameters())


def find_student(name: str) -> Student:
    """Return the student called `name`; raise BadRun where it is none of the table, no folder and no hub's name."""
    if name in STUDENTS:
        return STUDENTS[name]
    if name.startswith(TEXT_PREFIX):
        return replace(_pretrained(name.removeprefix(TEXT_PREFIX)), modality="text")
    return _pretrained(name)


def _pretrained(name: str) -> Student:
    if Path(name).is_dir():
        return Student(name=Path(name).name, model=str(Path(name).absolute()))
    model, _, revision = name.partition("@")
    if model.count("/") != 1 or model.startswith((".", "/")):
        raise BadRun(
            f"{name!r} is no student: it may be {', '.join(STUDENTS)}, a folder, or a hub's org/model@revision"
            f" (a text model's with {TEXT_PREFIX} before it)"
        )
    return Student(name=model.partition("/")[2], model=model, revision=revision or None)
