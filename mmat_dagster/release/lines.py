"""JSON Lines under the names of MMAT-1M's own files: what trainers read that name their images by paths.

{"id", "source", "messages": [{"role", "content"}], "images": [path], "part", "licence", "question", "answers",
 "answer_type", "reflection", "teacher"}
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa

from mmat_dagster.release.columns import Column, pc

NAMES = {
    (form, side): f"dataset_qa_rr_{side}_all_{suffix}.jsonl"
    for form, suffix in (("rr", "RR_sys"), ("orr", "ORR"))
    for side in ("train", "val")
}
PLAIN = ("part", "licence", "question", "answers", "answer_type", "reflection", "teacher")


@dataclass(kw_only=True)
class LineWriter:
    """Writes rows to one file; those without images come last.

    `datasets` takes the type of `images` from a file's first 10 MB: where none has any it takes it for null, and fails
    at the first path.
    """

    path: Path
    _file: IO[bytes] | None = None

    def write(self, rows: pa.Table, paths: Sequence[Sequence[str]]) -> None:
        """Write the rows of a batch, whose images lie at `paths`."""
        file = self._file or self._open()
        for row, images in zip(as_dicts(rows), paths, strict=True):
            line = orjson.dumps({**row, "images": images}) + b"\n"
            if images:
                file.write(line)
            else:
                self._keep(line)

    def finish(self) -> None:
        """Write what was put off, and close the file; it is there also where it holds nothing."""
        file = self._file or self._open()
        bare = self._bare_path
        if bare.exists():
            with bare.open("rb") as last:
                shutil.copyfileobj(last, file)
            bare.unlink()
        file.close()

    def abandon(self) -> None:
        """Close what is open, for a release that fails."""
        if self._file is not None:
            self._file.close()

    @property
    def _bare_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.without-images")

    def _open(self) -> IO[bytes]:
        self._file = self.path.open("wb", buffering=1 << 20)
        return self._file

    def _keep(self, line: bytes) -> None:
        with self._bare_path.open("ab") as file:
            file.write(line)


def as_dicts(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch; messages by way of flat columns, which takes a third of `to_pylist`'s time."""
    messages = messages_of(rows["messages"])
    plain = zip(*(rows[name].to_pylist() for name in PLAIN), strict=True)
    heads = zip(rows["id"].to_pylist(), rows["source"].to_pylist(), messages, plain, strict=True)
    for record, source, said, values in heads:
        yield {"id": record, "source": source, "messages": said, "images": [], **dict(zip(PLAIN, values, strict=True))}


def messages_of(column: Column) -> Iterator[list[dict[str, str]]]:
    """Yield the messages of each row."""
    flat = pc.list_flatten(column)
    roles, contents = (pc.struct_field(flat, name).to_pylist() for name in ("role", "content"))
    said = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
    for start, stop in pairwise(bounds(column)):
        yield said[start:stop]


def bounds(column: Column) -> list[int]:
    """Return where the elements of each list begin among all elements, and where the last ones end."""
    lengths = pc.list_value_length(column)
    return [0, *pc.cumulative_sum(lengths).to_pylist()]
