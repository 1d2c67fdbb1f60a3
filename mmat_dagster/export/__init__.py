"""Exports for other trainers: EXPORTERS, by the names that the command line takes.

    dialogues.py        a dialogue as a trainer takes it, or the reason why none may have it
    image_files.py      is an image there, and still the one that the dialogue was written over
    trainer.py          what an exporter says of its trainer
    ms_swift.py         the trainer of the paper
    llama_factory.py, trl.py
    settings.py         flat YAML
    writing.py          dialogues to rows, part by part; the split; what is counted
    readme.py           what the export says of itself
    folder.py           a folder that is there whole or not at all

The files of an export depend on the data and the choices alone: the same export twice has the same bytes.
"""

from collections.abc import Mapping

from mmat_dagster.export import llama_factory, ms_swift, trl
from mmat_dagster.export.trainer import Trainer

EXPORTERS: Mapping[str, Trainer] = {
    "ms-swift": ms_swift.TRAINER,
    "llama-factory": llama_factory.TRAINER,
    "trl": trl.TRAINER,
}
