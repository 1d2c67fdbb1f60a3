"""Trainers are told the paper's hyper-parameters and models in their own words."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.export import EXPORTERS
from mmat_dagster.export.settings import render_yaml
from mmat_dagster.export.trainer import Recipe, choose_student
from mmat_dagster.training.spec import BadRun, HyperParameters


def recipe(trainer: str, student: str | None, *, has_validation: bool = False) -> Recipe:
    chosen = choose_student(EXPORTERS[trainer], student, None)
    return Recipe(name="mmat_rr", student=chosen, form="rr", has_validation=has_validation)


def test_ms_swift_is_told_the_papers_hyper_parameters_in_its_own_words() -> None:
    told = yaml.safe_load(EXPORTERS["ms-swift"].render(recipe("ms-swift", None))["sft.yaml"])
    expected = {
        "model": "OpenGVLab/InternVL2_5-8B",
        "dataset": ["train.jsonl"],
        "tuner_type": "lora",
        "target_modules": ["all-linear"],
        "freeze_vit": True,
        "lora_rank": 8,
        "lora_alpha": 32,
        "num_train_epochs": 1.0,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "learning_rate": 4e-5,
        "weight_decay": 0.1,
        "max_length": 16384,
        "torch_dtype": "bfloat16",
        "seed": 42,
        "deepspeed": "zero2",
        "loss_scale": "default",
        "truncation_strategy": "delete",
    }
    assert {name: told.get(name) for name in expected} == expected
    assert "val_dataset" not in told


def test_llama_factory_is_told_the_papers_hyper_parameters_in_its_own_words() -> None:
    files = EXPORTERS["llama-factory"].render(recipe("llama-factory", None))
    told = yaml.safe_load(files["train.yaml"])
    expected = {
        "model_name_or_path": "meta-llama/Llama-3.2-11B-Vision-Instruct",
        "template": "mllama",
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_target": "all",
        "lora_rank": 8,
        "lora_alpha": 32,
        "cutoff_len": 16384,
        "mask_history": False,
        "learning_rate": 4e-5,
        "weight_decay": 0.1,
        "bf16": True,
        "seed": 42,
        "dataset": "mmat_rr",
        "deepspeed": "ds_zero2.json",
    }
    assert {name: told.get(name) for name in expected} == expected
    assert json.loads(files["ds_zero2.json"])["zero_optimization"]["stage"] == 2


def test_llama_factory_is_told_every_tag_since_they_have_no_defaults() -> None:
    files = EXPORTERS["llama-factory"].render(recipe("llama-factory", None, has_validation=True))
    described = json.loads(files["dataset_info.json"])
    assert {name: each["file_name"] for name, each in described.items()} == {
        "mmat_rr": "train.jsonl",
        "mmat_rr_val": "val.jsonl",
    }
    for each in described.values():
        assert each["formatting"] == "sharegpt"
        assert each["columns"] == {"messages": "messages", "images": "images"}
        assert each["tags"] == {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        }
    assert yaml.safe_load(files["train.yaml"])["eval_dataset"] == "mmat_rr_val"


@pytest.mark.parametrize("trainer", ["ms-swift", "llama-factory"])
def test_full_fine_tuning_is_told_without_lora(trainer: str) -> None:
    asked = replace(recipe(trainer, None), hyper=HyperParameters(method="full", precision="fp32", trains_vision=True))
    text = next(text for name, text in EXPORTERS[trainer].render(asked).items() if name.endswith(".yaml"))
    told = yaml.safe_load(text)
    assert "full" in told.values()
    assert not told["bf16"]
    assert not [name for name in told if "lora" in name]


# YAML 1.1 reads these as truths or as nothing, also where they are names.
WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
VALUES = (
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=32, max_codepoint=126))
    | st.lists(st.sampled_from(["all-linear", "a: b", "#"])).map(tuple)
)


@given(st.dictionaries(st.from_regex("[a-z_]{1,8}", fullmatch=True).filter(lambda name: name not in WORDS), VALUES))
def test_settings_are_read_back_as_they_were_meant(values: dict[str, Any]) -> None:
    expected = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    assert (yaml.safe_load(render_yaml("a title", values)) or {}) == expected


def test_the_papers_five_models_are_known_to_ms_swift_by_name() -> None:
    names = [recipe("ms-swift", name).student.model for name in EXPORTERS["ms-swift"].students]
    assert sorted(names) == [
        "OpenGVLab/InternVL2_5-2B",
        "OpenGVLab/InternVL2_5-4B",
        "OpenGVLab/InternVL2_5-8B",
        "meta-llama/Llama-3.2-11B-Vision-Instruct",
        "openbmb/MiniCPM-V-2_6",
    ]


def test_any_other_model_is_taken_by_hub_name_or_folder(tmp_path: Path) -> None:
    swift, factory = EXPORTERS["ms-swift"], EXPORTERS["llama-factory"]
    named = choose_student(swift, "Qwen/Qwen2.5-VL-3B-Instruct@abc", None)
    assert (named.model, named.revision, named.template) == ("Qwen/Qwen2.5-VL-3B-Instruct", "abc", None)
    assert choose_student(factory, str(tmp_path), "qwen2_vl").model == str(tmp_path)
    with pytest.raises(BadRun, match="add --template NAME"):
        choose_student(factory, "Qwen/Qwen2.5-VL-3B-Instruct", None)


@pytest.mark.parametrize("name", ["gpt-5", "smollm2", "tiny", "a/b/c"])
def test_a_student_that_a_trainer_cannot_train_is_refused_with_those_it_can(name: str) -> None:
    with pytest.raises(BadRun, match=r"internvl2\.5-8b.*org/model@revision"):
        choose_student(EXPORTERS["ms-swift"], name, None)
