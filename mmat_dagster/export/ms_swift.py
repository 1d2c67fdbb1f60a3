"""ms-swift, the paper's trainer: rows and settings for `swift sft sft.yaml`.

Rows: its custom dataset in the messages format, {"messages": [{"role": "system", "content": ...}, {"role": "user",
"content": "<image>..."}, {"role": "assistant", "content": ...}], "images": ["/abs/path.jpg"]}, from
https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html; `content` is text, each `<image>` in it stands
for the next of `images`, a system message comes before `--system`, other keys are not used. Roles that it takes:
swift/dataset/preprocessor/core.py. The loss is of every assistant turn, history included: that is `loss_scale: default`
(`last_round` is of the last one only, `all` of the prompts too).
Settings: https://swift.readthedocs.io/en/latest/Instruction/Command-line-parameters.html, as 4.6 takes them. A YAML
file stands for the command line, key by key (swift/cli/main.py).
"""

from collections.abc import Mapping

from mmat_dagster.export.settings import render_yaml
from mmat_dagster.export.trainer import TRAIN, VALIDATION, Recipe, Student, Trainer
from mmat_dagster.training.spec import HyperParameters, Precision

SETTINGS = "sft.yaml"

# Hub names of Hugging Face, as swift/model/models has them; the paper's five.
STUDENTS: Mapping[str, Student] = {
    "internvl2.5-8b": Student(model="OpenGVLab/InternVL2_5-8B"),
    "internvl2.5-4b": Student(model="OpenGVLab/InternVL2_5-4B"),
    "internvl2.5-2b": Student(model="OpenGVLab/InternVL2_5-2B"),
    "minicpm-v-2.6": Student(model="openbmb/MiniCPM-V-2_6"),
    "llama-3.2-11b-vision": Student(model="meta-llama/Llama-3.2-11B-Vision-Instruct"),
}

_DTYPES: Mapping[Precision, str] = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}

NOTES = f"""\
- The settings are those of ms-swift 4. For ms-swift 3, write `train_type` for `tuner_type` in `{SETTINGS}`.
- A dialogue longer than `max_length` is never cut: `truncation_strategy: delete` leaves it out. ms-swift tokenizes
  while it trains and draws another dialogue in its place; with `lazy_tokenize: false` it tokenizes first, and its log
  says how many it left out.
- `loss_scale: default` trains on every assistant turn, and on nothing else.
- The system prompt stands in the data and goes before any `--system`.
- `use_hf: true` loads the model from Hugging Face; ModelScope has other names for some.
- On several GPUs: `NPROC_PER_NODE=8 swift sft {SETTINGS}`. A step then takes 8 times as many dialogues.
"""


def render(recipe: Recipe) -> Mapping[str, str]:
    """Return the files beside the rows."""
    values = {
        "model": recipe.student.model,
        "model_revision": recipe.student.revision,
        "use_hf": True,
        "template": recipe.student.template,
        "dataset": (TRAIN,),
        "val_dataset": (VALIDATION,) if recipe.has_validation else None,
        "split_dataset_ratio": 0.0,
        "loss_scale": "default",
        "truncation_strategy": "delete",
        **_tuning(recipe.hyper),
        **_optimization(recipe.hyper),
        "deepspeed": "zero2",
        "output_dir": "output",
        "save_steps": 500,
        "logging_steps": 5,
    }
    return {SETTINGS: render_yaml(f"{recipe.name}: swift sft {SETTINGS}", values)}


def _tuning(hyper: HyperParameters) -> Mapping[str, str | bool | int | float | tuple[str, ...]]:
    is_vision_frozen = not hyper.trains_vision
    frozen = {"tuner_type": hyper.method, "freeze_vit": is_vision_frozen, "freeze_aligner": is_vision_frozen}
    if hyper.method == "full":
        return frozen
    return {
        **frozen,
        "target_modules": ("all-linear",),
        "lora_rank": hyper.lora_rank,
        "lora_alpha": hyper.lora_alpha,
        "lora_dropout": hyper.lora_dropout,
    }


def _optimization(hyper: HyperParameters) -> Mapping[str, str | bool | int | float | None]:
    return {
        "torch_dtype": _DTYPES[hyper.precision],
        "bf16": hyper.precision == "bf16",
        "fp16": hyper.precision == "fp16",
        "max_length": hyper.max_length,
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
        "gradient_checkpointing": hyper.gradient_checkpointing,
        "seed": hyper.seed,
        "data_seed": hyper.seed,
    }


TRAINER = Trainer(
    name="ms-swift",
    version="4.6",
    home="https://github.com/modelscope/ms-swift",
    students=STUDENTS,
    needs_template=False,
    render=render,
    launch=f"swift sft {SETTINGS}",
    notes=NOTES,
)
