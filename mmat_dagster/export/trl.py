"""TRL, Hugging Face's own trainer: a script for `python train.py`, since it is a library and reads no settings of ours.

Rows: conversational language modeling with images, {"messages": [{"role", "content"}], "images": [image]}, from
https://huggingface.co/docs/trl/dataset_formats and, on vision-language models,
https://huggingface.co/docs/trl/sft_trainer, as 1.16 takes them. TRL itself puts a row's images before its first user
message (`prepare_multimodal_messages` in trl/data_utils.py), so the script takes the mark `<image>`, which would be
mere text, out of it, and has `datasets` open the paths. `assistant_only_loss` trains on every assistant turn; for
rows with images it wants transformers 5.18.
"""

from collections.abc import Mapping

from mmat_dagster.export.trainer import TRAIN, VALIDATION, Recipe, Student, Trainer
from mmat_dagster.training.spec import HyperParameters
from mmat_dagster.wire import IMAGE

SCRIPT = "train.py"
# As LLaVA, InternVL, Mllama, Idefics3, SmolVLM and Qwen-VL name what sees, which LoRA leaves alone.
_VISION = r"(?:.*\.)?(?:vision_tower|vision_model|visual|multi_modal_projector|connector)(?:\..*)?"

# As transformers loads them, without code of a stranger.
STUDENTS: Mapping[str, Student] = {
    "llama-3.2-11b-vision": Student(model="meta-llama/Llama-3.2-11B-Vision-Instruct"),
    "internvl2.5-2b-mpo": Student(model="OpenGVLab/InternVL2_5-2B-MPO-hf"),
    "internvl2.5-8b-mpo": Student(model="OpenGVLab/InternVL2_5-8B-MPO-hf"),
    "qwen2.5-vl-3b": Student(model="Qwen/Qwen2.5-VL-3B-Instruct"),
    "qwen2.5-vl-7b": Student(model="Qwen/Qwen2.5-VL-7B-Instruct"),
    "smolvlm": Student(model="HuggingFaceTB/SmolVLM-Instruct"),
}

NOTES = f"""\
- `{SCRIPT}` is a beginning to edit; it needs `pip install "trl>=1.16" "transformers>=5.18" peft datasets pillow`.
- `assistant_only_loss` needs a chat template that marks what the assistant says. TRL has such templates for some model
  families and says so where it has none.
- `max_length=None`: nothing is cut. TRL would cut what is longer, and the answer with it.
- On several GPUs: `accelerate launch {SCRIPT}`. A step then takes as many times more dialogues.
"""


def render(recipe: Recipe) -> Mapping[str, str]:
    """Return the files beside the rows."""
    return {SCRIPT: _script(recipe, _settings(recipe), _tuning(recipe.hyper))}


def _settings(recipe: Recipe) -> str:
    hyper = recipe.hyper
    values = {
        "output_dir": "output",
        "model_init_kwargs": {"revision": recipe.student.revision} if recipe.student.revision else None,
        "assistant_only_loss": True,
        "max_length": None,
        "bf16": hyper.precision == "bf16",
        "fp16": hyper.precision == "fp16",
        "num_train_epochs": hyper.epochs,
        "max_steps": hyper.max_steps or -1,
        "per_device_train_batch_size": hyper.batch_per_device,
        "gradient_accumulation_steps": hyper.accumulation,
        "learning_rate": hyper.learning_rate,
        "weight_decay": hyper.weight_decay,
        "lr_scheduler_type": hyper.schedule,
        "warmup_steps": hyper.warmup_ratio,  # a share, where it is below 1
        "adam_beta1": hyper.adam_beta1,
        "adam_beta2": hyper.adam_beta2,
        "max_grad_norm": hyper.max_grad_norm,
        "gradient_checkpointing": hyper.gradient_checkpointing,
        "seed": hyper.seed,
        "eval_strategy": "epoch" if recipe.has_validation else "no",
        "report_to": "none",
    }
    return "".join(f"            {name}={value!r},\n" for name, value in values.items())


def _tuning(hyper: HyperParameters) -> str:
    if hyper.method == "full":
        return "None"
    vision = "None" if hyper.trains_vision else f'r"{_VISION}"'
    return f"""LoraConfig(
            r={hyper.lora_rank},
            lora_alpha={hyper.lora_alpha},
            lora_dropout={hyper.lora_dropout},
            target_modules="all-linear",
            exclude_modules={vision},
            task_type="CAUSAL_LM",
        )"""


def _script(recipe: Recipe, settings: str, tuning: str) -> str:
    validation = f'rows("{VALIDATION}")' if recipe.has_validation else "None"
    return f'''\
"""{recipe.name}: python {SCRIPT}"""

from datasets import Dataset, Image, List, load_dataset


def rows(file: str) -> Dataset:
    """Return the rows of a file as TRL takes them: images opened, and their marks out of the text."""
    loaded = load_dataset("json", data_files=file, split="train")
    return loaded.map(unmarked).cast_column("images", List(Image()))


def unmarked(row: dict) -> dict:
    """Return the messages of a row without marks for images: TRL puts its images before the first question."""
    return {{"messages": [{{**said, "content": said["content"].replace("{IMAGE}", "")}} for said in row["messages"]]}}


def train() -> None:
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    trainer = SFTTrainer(
        model="{recipe.student.model}",
        args=SFTConfig(
{settings}        ),
        train_dataset=rows("{TRAIN}"),
        eval_dataset={validation},
        peft_config={tuning},
    )
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    train()
'''


TRAINER = Trainer(
    name="TRL",
    version="1.16",
    home="https://github.com/huggingface/trl",
    students=STUDENTS,
    needs_template=False,
    render=render,
    launch=f"python {SCRIPT}",
    notes=NOTES,
)
