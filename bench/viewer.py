"""How fast the viewer shows pages of a large store, over real HTTP, while its index is built and afterwards.

python -m bench.viewer [--dialogues 300000] [--folder DIR]     DIR is kept, and used again where it is there
"""

import argparse
import http.client
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq

from mmat_dagster.parts import Manifest, Part, folder, publish
from mmat_dagster.records import to_table
from mmat_dagster.schema import Dialogue, ImageRef
from mmat_dagster.viewer.index import index_file, indexed
from mmat_dagster.viewer.places import SOURCES
from resources.store import LocalStore
from tests.viewed_stores import make_dialogue, shelve

PART_ROWS = 5000
WORDS = "copper river lantern meadow violet harbour winter engine marble falcon orchard signal copper-red".split()
REPEATS = 5


def main() -> None:
    """Generate, serve, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dialogues", type=int, default=300_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (options.folder or Path(temporary)) / "store"
        cache = root.parent / "cache"
        if not root.exists():
            timed("generated", lambda: generate(root, options.dialogues))
        print(f"{len(indexed(index_file(root, cache)))} parts are in the index of an earlier run", flush=True)
        with serving(root, cache) as (port, process):
            measure(root, cache, port, process)


def generate(root: Path, count: int) -> None:
    """Write RR dialogues of all sources: one part is made of records, the others are made of its columns."""
    image = shelve(root, 1)
    table = to_table([make_dialogue(number, image, thought=thought(number)) for number in range(PART_ROWS)], Dialogue)
    store, share = LocalStore(root=str(root)), count // len(SOURCES)
    for source in SOURCES:
        written = []
        for at, start in enumerate(range(0, share, PART_ROWS)):
            name, rows = f"part-{at:05}-{source}", min(PART_ROWS, share - start)
            store.write(f"{folder('rr_dialogues', source)}/{name}.parquet", parquet(table, source, start, rows, image))
            store.write(f"{folder('rr_dialogues', source)}/{name}.rejected.parquet", b"")
            written.append(Part(name=name, rows=rows, rejected={}, census={}, sha256=name))
        publish(store, Manifest(dataset="rr_dialogues", source=source, key="generated", parts=tuple(written)))


def parquet(table: pa.Table, source: str, start: int, rows: int, image: ImageRef) -> bytes:  # noqa: ARG001
    """Return a part's file: the rows of `table` with ids and source of their own."""
    part = table.slice(0, rows)
    ids = pa.array([f"{source}/{start + row}" for row in range(rows)])
    part = part.set_column(part.schema.get_field_index("id"), "id", ids)
    part = part.set_column(part.schema.get_field_index("source"), "source", pa.array([source] * rows))
    sink = pa.BufferOutputStream()
    pq.write_table(part, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def thought(number: int) -> str:
    """Return some eighty words, one of them rare."""
    words = [WORDS[(number * 7 + at * at) % len(WORDS)] for at in range(80)]
    return f"{' '.join(words)} number{number}."


@contextmanager
def serving(root: Path, cache: Path) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """Run the command; yield its port."""
    command = [sys.executable, "-m", "mmat_dagster", "view", "--port", "0", "--cache", str(cache)]
    environment = {**os.environ, "MMAT_STORE": str(root)}
    begun = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        told = process.stdout.readline()
        port = re.search(r":(\d+) ", told)
        assert port, told
        print(f"{'listening':<42} {time.perf_counter() - begun:8.3f} s after the start", flush=True)
        try:
            yield int(port[1]), process
        finally:
            process.terminate()


def measure(root: Path, cache: Path, port: int, process: "subprocess.Popen[str]") -> None:
    """Print the time of every kind of page, before and after the index is there."""

    def fetch(path: str, **query: object) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", f"{path}?{urlencode(query)}")
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, (answer.status, path, query)
        return text

    def timed_page(name: str, path: str, repeats: int = REPEATS, **query: Any) -> None:
        before = cpu_seconds(process.pid)
        timed(name, lambda: fetch(path, **query), repeats)
        print(f"{'':<42} {(cpu_seconds(process.pid) - before) / repeats:8.3f} s of the server's CPU", flush=True)

    begun = time.perf_counter()
    timed_page("first page, cold, without index", "/dialogues", 1)
    timed_page("first page again, index being built", "/dialogues")
    timed_page("last page, index being built", "/dialogues", before=1 << 61)
    total = wait(root, cache)
    took = time.perf_counter() - begun
    print(f"{'index complete':<42} {took:8.1f} s, {index_megabytes(root, cache):.0f} MB", flush=True)
    middle = (2 << 48) | ((total // len(SOURCES) // PART_ROWS // 2) << 24)
    pages: dict[str, dict[str, Any]] = {
        "first page": {},
        "deep page (middle)": {"after": middle},
        "last page": {"before": 1 << 61},
        "source": {"source": "tabmwp"},
        "operator rag": {"operator": "rag"},
        "operator rag, deep": {"operator": "rag", "after": middle},
        "any reflection": {"reflection": "any"},
        "math reflection, rag, tabmwp": {"reflection": "math", "operator": "rag", "source": "tabmwp"},
        "search: a word of every dialogue": {"words": "harbour"},
        "search: a rare word": {"words": "number4999"},
        "search: two words, deep": {"words": "harbour falcon", "after": middle},
        "search and filter": {"words": "lantern", "reflection": "math", "source": "infoseek"},
        "search: nothing": {"words": "unheard-of"},
    }
    for name, query in pages.items():
        timed_page(name, "/dialogues", **query)
    timed_page("a dialogue, cold part", "/dialogue", 1, id=f"the_cauldron/{total // 10}")
    timed_page("a dialogue, warm part", "/dialogue", id=f"the_cauldron/{total // 10 + 1}")
    timed_page("a dialogue in a search", "/dialogue", id=f"infoseek/{total // 10}", words="harbour")
    print(f"{'memory of the server, at most':<42} {peak_megabytes(process.pid):8.0f} MB")


def wait(root: Path, cache: Path) -> int:
    """Wait until the index holds all parts; return how many dialogues these are."""
    file = index_file(root, cache)
    parts = sum(len(list((root / "rr_dialogues" / source).glob("*.rejected.parquet"))) for source in SOURCES)
    while len(indexed(file)) < parts:
        time.sleep(0.5)
    return sum(rows for _, _, rows in indexed(file).values())


def index_megabytes(root: Path, cache: Path) -> float:
    """Return how large the index is."""
    return index_file(root, cache).stat().st_size / 1e6


def peak_megabytes(pid: int) -> float:
    """Return the most memory that a process has held."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(peak[1]) / 1000 if peak else 0.0


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has taken, without its children's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(name: str, work: Callable[[], object], repeats: int = 1) -> None:
    """Print how long `work` takes: the median of `repeats`, and the longest."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    longest = f", at most {max(times):.3f} s" if repeats > 1 else ""
    print(f"{name:<42} {sorted(times)[len(times) // 2]:8.3f} s{longest}", flush=True)


if __name__ == "__main__":
    main()
