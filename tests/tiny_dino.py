"""A Grounding DINO of a few thousand random weights, saved as a published one is, and loaded by the same path."""

import json
import string
from pathlib import Path
from typing import Any

# Where the published vocabulary has them; the model knows the tokens that end a phrase by these numbers.
KNOWN = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
IMAGES = {
    "image_processor_type": "GroundingDinoImageProcessor",
    "processor_class": "GroundingDinoProcessor",
    "size": {"shortest_edge": 48, "longest_edge": 96},
}
WORDS = "a the dog cat red truck fire hydrant person man ball st bernard".split()


def save_tiny_dino(folder: Path, seed: int = 7) -> Path:
    """Write the model, its tokenizer and its image processor into `folder`."""
    import torch  # noqa: PLC0415  not every test run has it
    from transformers import GroundingDinoForObjectDetection  # noqa: PLC0415

    torch.manual_seed(seed)
    GroundingDinoForObjectDetection(_config()).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(IMAGES))
    return folder


def _config() -> Any:
    from transformers import BertConfig, GroundingDinoConfig, SwinConfig  # noqa: PLC0415

    backbone = SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1],
        num_heads=[1, 1, 2],
        window_size=4,
        out_features=["stage2", "stage3"],
    )
    text = BertConfig(vocab_size=1100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    return GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        num_queries=20,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        d_model=32,
        num_feature_levels=3,
        max_text_len=64,
    )


def _tokenizer() -> Any:
    from tokenizers import BertWordPieceTokenizer  # noqa: PLC0415
    from transformers import BertTokenizerFast  # noqa: PLC0415

    taken = {number: token for token, number in KNOWN.items()}
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase), *string.digits]
    free = iter(number for number in range(1100) if number not in taken)
    names = [*WORDS, *(letter for letter in letters if letter not in WORDS)]
    vocabulary = dict(KNOWN) | dict(zip(names, free, strict=False))
    vocabulary |= {f"[unused{number}]": number for number in free}
    return BertTokenizerFast(tokenizer_object=BertWordPieceTokenizer(vocab=vocabulary)._tokenizer)
