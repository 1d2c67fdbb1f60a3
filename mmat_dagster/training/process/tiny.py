"""`tiny`: a LLaVA of a third of a million random weights, so that all of training can run anywhere in seconds.

It is a real student of vision and language in all but size: pixels reach it, images take tokens, LoRA finds its places.
It learns the wire form, and no more than that. The same versions of torch and tokenizers make the same bytes.
"""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mmat_dagster.fingerprints import ENGINE
from mmat_dagster.wire import IMAGE, MARKS

SEED = 42
IMAGE_SIZE = 48
PATCH_SIZE = 12
HIDDEN = 64
VOCABULARY = 1500
LONGEST = 16384

END, PAD = "<|end|>", "<|pad|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL = (PAD, END, *ROLES, IMAGE)
# A random head is never trained by LoRA. Rows of this size let the last state, of norm 8, single a token out.
HEAD_STD = 0.15
TEXT_STD = 0.125

# What it is made from besides this file: the texts that its tokenizer learns, and its chat template.
TEXTS = ("prompts/*.txt", "corpus/*.jsonl")
TEMPLATE = "training/process/templates/tiny.jinja"


def make_tiny(folder: Path) -> None:
    """Write model, tokenizer, image processor and chat template into `folder`, as a published LLaVA lies on a hub."""
    processor = make_processor()
    processor.save_pretrained(folder)
    _model(processor.tokenizer).save_pretrained(folder)


def make_processor() -> LlavaProcessor:
    """Return tokenizer, image processor and chat template."""
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=size, crop_size=size),
        tokenizer=_tokenizer(),
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=(ENGINE / TEMPLATE).read_text("utf-8"),
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(), trainer)
    # One token each, yet text like any other: what is decoded for a person or a parser still shows them.
    bpe.add_tokens([AddedToken(mark, normalized=False, special=False) for mark in MARKS if mark != IMAGE])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=[*ROLES, IMAGE],
        padding_side="right",
        model_max_length=LONGEST,
        clean_up_tokenization_spaces=False,
    )


def _texts() -> list[str]:
    files = sorted(path for pattern in TEXTS for path in ENGINE.glob(pattern))
    return [path.read_text("utf-8") for path in files]


def _model(tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = LlavaForConditionalGeneration(_config(tokenizer))
        torch.nn.init.normal_(model.lm_head.weight, std=HEAD_STD)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def _config(tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=LONGEST,
        tie_word_embeddings=False,
        initializer_range=TEXT_STD,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
    )
