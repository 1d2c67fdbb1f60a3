"""LLaMA-Factory: rows and settings for `llamafactory-cli train train.yaml`.

Rows: JSON Lines in its sharegpt formatting, whose names of columns, keys and roles dataset_info.json gives, from
https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md: {"messages": [{"role": "user", "content":
"<image>..."}, ...], "images": [path]}. The number of `<image>` must be that of `images`, or training stops
(`_validate_messages` in src/llamafactory/data/mm_plugin.py); user and assistant must take turns, or the row is skipped
(data/converter.py). Without `system_tag` a system message would be such a row: the tags have no defaults once one of
them is given. A `.json` array is read whole by `datasets`; JSON Lines are not.
Settings: src/llamafactory/hparams, as 0.9.5 has them. `mask_history: false` trains on every assistant turn.
"""

import json
from collections.abc import Mapping

from mmat_dagster.export.settings import render_yaml
from mmat_dagster.export.trainer import TRAIN, VALIDATION, Recipe, Student, Trainer
from mmat_dagster.training.spec import HyperParameters

SETTINGS, DATASETS, ZERO2 = "train.yaml", "dataset_info.json", "ds_zero2.json"

# As src/llamafactory/extras/constants.py has them.
_PREFERENCE_TUNED = (
    "LLaMA-Factory trains InternVL2.5 in the form of transformers, of which it knows the preference-tuned model (MPO)\n"
    "  only; the paper's own checkpoints need ms-swift."
)
STUDENTS: Mapping[str, Student] = {
    "llama-3.2-11b-vision": Student(model="meta-llama/Llama-3.2-11B-Vision-Instruct", template="mllama"),
    "minicpm-v-2.6": Student(model="openbmb/MiniCPM-V-2_6", template="minicpm_v", runs_remote_code=True),
    "internvl2.5-2b-mpo": Student(
        model="OpenGVLab/InternVL2_5-2B-MPO-hf", template="intern_vl", note=_PREFERENCE_TUNED
    ),
    "internvl2.5-8b-mpo": Student(
        model="OpenGVLab/InternVL2_5-8B-MPO-hf", template="intern_vl", note=_PREFERENCE_TUNED
    ),
}

NOTES = """\
- **It cuts.** LLaMA-Factory has no setting that leaves out what is longer than `cutoff_len`: it cuts the end off, and
  the answer with it. A token is seldom shorter than a byte, so compare `cutoff_len` with the longest dialogue above and
  what the student takes for its images; raise it where they come near.
- `mask_history: false` trains on every assistant turn, and on nothing else.
- The system prompt stands in the data (`system_tag`); rows without one get the template's own.
- It scales images of more than `image_max_pixels` (589,824 by default) down. Observations that name pixels mean the
  image as it is.
- DeepSpeed wants its launcher, on one GPU too: that is `FORCE_TORCHRUN=1`. On 8 GPUs a step takes 8 times as many
  dialogues.
"""


def render(recipe: Recipe) -> Mapping[str, str]:
    """Return the files beside the rows."""
    return {SETTINGS: _settings(recipe), DATASETS: _datasets(recipe), ZERO2: _indented(_ZERO2)}


def _settings(recipe: Recipe) -> str:
    values = {
        "model_name_or_path": recipe.student.model,
        "model_revision": recipe.student.revision,
        "trust_remote_code": True if recipe.student.runs_remote_code else None,
        "stage": "sft",
        "do_train": True,
        "template": recipe.student.template,
        "dataset": recipe.name,
        "eval_dataset": f"{recipe.name}_val" if recipe.has_validation else None,
        "eval_strategy": "epoch" if recipe.has_validation else None,
        "per_device_eval_batch_size": 1 if recipe.has_validation else None,
        "dataset_dir": ".",
        "media_dir": ".",
        "mask_history": False,
        "train_on_prompt": False,
        **_tuning(recipe.hyper),
        **_optimization(recipe.hyper),
        "deepspeed": ZERO2,
        "output_dir": "output",
        "save_steps": 500,
        "logging_steps": 5,
        "report_to": "none",
    }
    return render_yaml(f"{recipe.name}: FORCE_TORCHRUN=1 llamafactory-cli train {SETTINGS}", values)


def _datasets(recipe: Recipe) -> str:
    files = {recipe.name: TRAIN, **({f"{recipe.name}_val": VALIDATION} if recipe.has_validation else {})}
    return _indented({name: {"file_name": file, **_SHAREGPT} for name, file in files.items()})


def _tuning(hyper: HyperParameters) -> Mapping[str, str | bool | int | float]:
    is_vision_frozen = not hyper.trains_vision
    frozen = {
        "finetuning_type": hyper.method,
        "freeze_vision_tower": is_vision_frozen,
        "freeze_multi_modal_projector": is_vision_frozen,
    }
    if hyper.method == "full":
        return frozen
    return {
        **frozen,
        "lora_target": "all",
        "lora_rank": hyper.lora_rank,
        "lora_alpha": hyper.lora_alpha,
        "lora_dropout": hyper.lora_dropout,
    }


def _optimization(hyper: HyperParameters) -> Mapping[str, str | bool | int | float | None]:
    return {
        "bf16": hyper.precision == "bf16",
        "fp16": hyper.precision == "fp16",
        "cutoff_len": hyper.max_length,
        "num_train_epochs": hyper.epochs,
        "max_steps": hyper.max_steps,
        "per_device_train_batch_size": hyper.batch_per_device,
        "gradient_accumulation_steps": hyper.accumulation,
        "learning_rate": hyper.learning_rate,
        "weight_decay": hyper.weight_decay,
        "lr_scheduler_type": hyper.schedule,
        "warmup_ratio": hyper.warmup_ratio,
        "adam_beta1": hyper.adam_beta1,
        "adam_beta2": hyper.adam_beta2,
        "max_grad_norm": hyper.max_grad_norm,
        "disable_gradient_checkpointing": not hyper.gradient_checkpointing,
        "seed": hyper.seed,
        "data_seed": hyper.seed,
    }


def _indented(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


_SHAREGPT = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages", "images": "images"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    },
}
_ZERO2 = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "zero_allow_untested_optimizer": True,
    "bf16": {"enabled": "auto"},
    "fp16": {"enabled": "auto"},
    "zero_optimization": {
        "stage": 2,
        "allgather_partitions": True,
        "overlap_comm": True,
        "reduce_scatter": True,
        "contiguous_gradients": True,
    },
}

TRAINER = Trainer(
    name="llama-factory",
    version="0.9.5",
    home="https://github.com/hiyouga/LLaMA-Factory",
    students=STUDENTS,
    needs_template=True,
    render=render,
    launch=f"FORCE_TORCHRUN=1 llamafactory-cli train {SETTINGS}",
    notes=NOTES,
)
