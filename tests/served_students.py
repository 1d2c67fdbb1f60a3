"""Students with random weights in folders of their own, to be served in tests, and questions to ask them."""

import base64
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from mmat_dagster.fingerprints import ENGINE
from mmat_dagster.inference.protocol import Spoken
from mmat_dagster.training.spec import Student
from tests.pictures import encoded, photo
from tests.tiny_students import byte_tokenizer, idefics3_processor, trl_template

END = "<|im_end|>"
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}


def photo_bytes(seed: int) -> bytes:
    """Return a PNG that no other seed has."""
    return encoded(photo(seed, (40, 30)))


def data_url(content: bytes) -> str:
    """Return an image as messages carry it."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def reader(folder: Path) -> Student:
    """Return a text student: a Llama of single bytes."""
    return _written(folder, "reads", LlamaForCausalLM, LlamaConfig)


def talker(folder: Path) -> Student:
    """Return a text student that ends no reply: what it likes best is never the end."""
    student = reader(folder)
    model = LlamaForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.weight[model.generation_config.eos_token_id] = 0
    model.save_pretrained(folder)
    return student


def forgetful_reader(folder: Path) -> Student:
    """Return a text student that looks back no further than eight tokens."""
    return _written(folder, "forgets", MistralForCausalLM, MistralConfig, sliding_window=8)


def tiler(folder: Path) -> Student:
    """Return a student that sees in tiles, as Idefics3 and SmolVLM do."""
    processor = idefics3_processor(trl_template("idefics3"), "<|begin_of_text|>")
    processor.image_seq_len = 4  # a tile of 28 pixels in patches of 14
    tokenizer = processor.tokenizer
    text = {**SIZES, "vocab_size": len(tokenizer), "max_position_embeddings": 4096, "pad_token_id": 0}
    config = Idefics3Config(
        text_config={"model_type": "llama", **text},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        scale_factor=1,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
    )
    torch.manual_seed(0)
    _save(Idefics3ForConditionalGeneration(config), tokenizer, folder)
    processor.save_pretrained(folder)
    return Student(name="tiles", model=str(folder))


def user(text: str, *images: bytes) -> Spoken:
    """Return what a person says, images first."""
    return Spoken(role="user", parts=(*images, text))


def _written(folder: Path, name: str, model: Any, config: Any, **settings: Any) -> Student:
    template = (ENGINE / "training" / "process" / "templates" / "smollm2.jinja").read_text("utf-8")
    tokenizer = byte_tokenizer(["<|im_start|>"], END, template)
    sizes = {**SIZES, "vocab_size": len(tokenizer), "max_position_embeddings": 4096}
    torch.manual_seed(0)
    made = config(**sizes, bos_token_id=None, eos_token_id=tokenizer.eos_token_id, **settings)
    _save(model(made), tokenizer, folder)
    tokenizer.save_pretrained(folder)
    return Student(name=name, model=str(folder), modality="text")


def _save(model: PreTrainedModel, tokenizer: Any, folder: Path) -> None:
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
