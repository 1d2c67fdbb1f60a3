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
from mmat_dagster.wire import IMAGE

SCRIPT = "train.py"

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
    hyper = recipe.hyper
    validation = f'rows("{VALIDATION}")' if recipe.has_validation else "None"
    tuning = (
        f"LoraConfig(r={hyper.lora_rank}, lora_alpha={hyper.lora_alpha}, lora_dropout={hyper.lora_dropout}, "
        'target_modules="all-linear", task_type="CAUSAL_LM")'
        if hyper.method == "lora"
        else "None"
    )
    values = {
        "output_dir": "output",
        "model_init_kwargs": {"revision": recipe.student.revision} if recipe.student.revision else None,
        "assistant_only_loss": True,
        "max_length": None,
        "bf16": hyper.precision == "bf16",
        "fp16": hyper.precision == "fp16",
        "num_train_epochs": hyper.epochs,
        "per_device_train_batch_size": hyper.batch_per_device,
        "gradient_accumulation_steps": hyper.accumulation,
        "learning_rate": hyper.learning_rate,
        "weight_decay": hyper.weight_decay,
        "lr_scheduler_type": hyper.schedule,
        "gradient_checkpointing": hyper.gradient_checkpointing,
        "seed": hyper.seed,
        "eval_strategy": "epoch" if recipe.has_validation else "no",
        "report_to": "none",
    }
    settings = "".join(
        f"    {name}={value!r},\n" for name, value in values.items() if name != "model_init_kwargs" or value
    )
    return {SCRIPT: _script(recipe, settings, validation, tuning)}


def _script(recipe: Recipe, settings: str, validation: str, tuning: str) -> str:
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
{"".join(f"        {line}" for line in settings.splitlines(keepends=True))}        ),
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
