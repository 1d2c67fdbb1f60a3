"""The five published datasets: READERS, by the names that are their partitions and their folders."""

import os
from pathlib import Path

from mmat_dagster.schema import SourceName
from mmat_dagster.sources import infoseek, llava_cot, tabmwp, the_cauldron, visual_cot
from mmat_dagster.sources.layout import Reader, SourceAbsent, SourceLayoutError

READERS: dict[SourceName, Reader] = {
    "visual_cot": visual_cot.READER,
    "llava_cot": llava_cot.READER,
    "the_cauldron": the_cauldron.READER,
    "tabmwp": tabmwp.READER,
    "infoseek": infoseek.READER,
}


def check_layout(name: SourceName, folder: Path) -> Path:
    """Return `folder` if it holds the source; raise SourceAbsent or SourceLayoutError, which say what to put there."""
    reader = READERS[name]
    sought = f"The source {name} was looked for in the folder {folder}, which"
    advice = f"It should hold {', '.join(reader.expects)} as published by {reader.publisher}."
    if not folder.is_dir():
        raise SourceAbsent(f"{sought} does not exist. {advice}")
    files = reader.annotation_files(folder)
    if not files:
        raise SourceLayoutError(f"{sought} holds none of its annotation files. {advice}")
    for path in files:
        problem = _problem(path)
        if problem:
            raise SourceLayoutError(f"{sought} holds {path.relative_to(folder)}, which {problem}. {advice}")
    return folder


def _problem(path: Path) -> str:
    """Return what keeps a file from being read; nothing where it can be."""
    if not path.is_file():
        return "is no file"
    if not os.access(path, os.R_OK, effective_ids=True):
        return "may not be read"
    return ""
