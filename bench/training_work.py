"""What bench/training.py works on: `python -m bench.training_work FOLDER RECORDS` makes dialogues and a student.

FOLDER/sources/tabmwp/       the project's own generator, pictures included
FOLDER/store/rr_dialogues/   the engine's dialogues; an OCR that answers at once reads the same table everywhere
FOLDER/writer/               a text student of random weights, with a chat template that marks what carries loss
"""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmat_dagster import parts
from mmat_dagster.corpus import write_corpus
from mmat_dagster.training.spec import HyperParameters, Ingredient, Shard, Student, TrainingRun
from mmat_dagster.training.students import DEFAULTS, STUDENTS

KINDS = ("tiny", "writer", "smollm2")
NAMES = {"tiny": "tiny, pictures", "writer": "a text student", "smollm2": "smollm2"}
PARAMETERS = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
TEMPLATE = (
    "{%- for message in messages -%}{{- '<|' + message['role'] + '|>\n' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- message['content'] + '<|end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- message['content'] + '<|end|>' -}}{%- endif -%}{{- '\n' -}}{%- endfor -%}"
)
WRITER_HYPER = replace(DEFAULTS["tiny"], batch_per_device=4)
HYPER: Mapping[str, HyperParameters] = {**DEFAULTS, "writer": WRITER_HYPER}


def write_work(folder: Path, records: int) -> None:
    """Make dialogues and the text student."""
    write_corpus(folder / "sources", records=records, sources=["tabmwp"])
    _write_dialogues(folder)
    _write_writer(folder / "writer")


def make_run(folder: Path, kind: str, rows: int, steps: int) -> TrainingRun:
    """Return a run of `steps` on so many dialogues: those that were made, again and again under other ids."""
    shards = _shards(folder, rows)
    data = Ingredient(
        source="tabmwp",
        dataset="rr_dialogues",
        fingerprint=str(rows),
        images=str(folder / "sources" / "tabmwp"),
        shards=shards,
    )
    writer = Student(name="writer", model=str(folder / "writer"), modality="text")
    return TrainingRun(
        name=f"bench of {kind}",
        mixture="tabmwp",
        student=STUDENTS.get(kind, writer),
        format="rr",
        data=(data,),
        store_images=str(folder / "store"),
        hyper=replace(HYPER[kind], max_steps=steps),
        accelerator="cpu",
    )


def _write_dialogues(folder: Path) -> None:
    from mmat_dagster.pipeline import Pipeline, Settings  # noqa: PLC0415
    from mmat_dagster.teachers.annotations import AnnotationsTeacher  # noqa: PLC0415
    from resources.store import LocalStore  # noqa: PLC0415
    from tests.fakes import ToldRetriever  # noqa: PLC0415
    from tests.test_pipeline import EndlessOcr  # noqa: PLC0415

    store = folder / "store"
    pipeline = Pipeline(
        sources=folder / "sources",
        store=LocalStore(root=str(store)),
        teacher=AnnotationsTeacher(),
        operators={"ocr": EndlessOcr()},
        search=ToldRetriever(),
        settings=Settings(),
    )
    for _ in pipeline.build("rr_dialogues", "tabmwp", lambda _: None):
        pass


def _write_writer(folder: Path) -> None:
    import torch  # noqa: PLC0415
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    from mmat_dagster.training.process.tiny import LONGEST, make_processor  # noqa: PLC0415

    tokenizer = make_processor().tokenizer
    tokenizer.chat_template = TEMPLATE
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("eos", "pad")}
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=LONGEST, bos_token_id=None, **PARAMETERS, **ids
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _shards(folder: Path, rows: int) -> tuple[Shard, ...]:
    """Write the dialogues as parts of the engine's size."""
    written = (folder / "store" / "rr_dialogues" / "tabmwp").glob("part-*.parquet")
    (made,) = (path for path in written if "rejected" not in path.name)
    with pq.ParquetFile(made, pre_buffer=False) as file:
        table = file.read(use_threads=False)
    (folder / f"{rows}").mkdir(exist_ok=True)
    starts = range(0, rows, parts.PART_ROWS)
    return tuple(_shard(folder / f"{rows}", table, start, min(parts.PART_ROWS, rows - start)) for start in starts)


def _shard(folder: Path, table: pa.Table, start: int, rows: int) -> Shard:
    path = folder / f"{start}.parquet"
    if not path.exists():
        copied = pa.concat_tables([table] * -(-rows // len(table))).slice(0, rows)
        ids = pa.array([f"tabmwp/{number}" for number in range(start, start + rows)])
        pq.write_table(copied.set_column(0, copied.schema.field("id"), ids), path, compression="zstd")
    return Shard(path=str(path), rows=rows, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


if __name__ == "__main__":
    write_work(Path(sys.argv[1]), int(sys.argv[2]))
