"""What a good engineer would write with TRL and PEFT for the same dialogues; nothing of this project is in it.

    FOLDER/bare.json      the model's folder, hyper-parameters, batch, accumulation and number of steps
    FOLDER/train.jsonl    {"messages": [...], "images": [paths]}; a text student's rows have no images

`chat_template.jinja` in FOLDER marks what carries loss. TRL's defaults stand where nothing is said.
"""

import json
from pathlib import Path

import torch
from datasets import Image, List, load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from trl import SFTConfig, SFTTrainer


def train(folder: Path) -> None:
    """Train a LoRA adapter and save it."""
    job = json.loads((folder / "bare.json").read_text())
    sees, hyper = job["sees"], job["hyper"]
    model = (AutoModelForImageTextToText if sees else AutoModelForCausalLM).from_pretrained(
        job["model"], dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[hyper["precision"]]
    )
    processor = (AutoProcessor if sees else AutoTokenizer).from_pretrained(job["model"])
    processor.chat_template = (folder / "chat_template.jinja").read_text()
    dataset = load_dataset("json", data_files=str(folder / "train.jsonl"), split="train")
    if sees:
        dataset = dataset.cast_column("images", List(Image()))
    trainer = SFTTrainer(
        model=model,
        train_dataset=dataset,
        processing_class=processor,
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=hyper["lora_rank"],
            lora_alpha=hyper["lora_alpha"],
            lora_dropout=hyper["lora_dropout"],
            target_modules="all-linear",
            exclude_modules=job["exclude"],
        ),
        args=SFTConfig(
            output_dir=str(folder / "bare"),
            max_steps=job["steps"],
            per_device_train_batch_size=hyper["batch_per_device"],
            gradient_accumulation_steps=job["accumulation"],
            learning_rate=hyper["learning_rate"],
            lr_scheduler_type=hyper["schedule"],
            warmup_steps=hyper["warmup_ratio"],
            weight_decay=hyper["weight_decay"],
            adam_beta2=hyper["adam_beta2"],
            max_grad_norm=hyper["max_grad_norm"],
            bf16=hyper["precision"] == "bf16",
            gradient_checkpointing=hyper["gradient_checkpointing"],
            seed=hyper["seed"],
            assistant_only_loss=True,
            max_length=None,
            train_sampling_strategy="sequential",
            dataloader_pin_memory=False,
            save_steps=job["save_steps"],
            report_to="none",
            use_cpu=True,
        ),
    )
    trainer.train()
    trainer.save_model()
