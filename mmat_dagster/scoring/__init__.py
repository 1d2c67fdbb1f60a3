"""How good results are: benchmarks with their publishers' rules, and measures against what people have judged."""

from collections.abc import Mapping

from mmat_dagster.scoring.benchmark import Benchmark
from mmat_dagster.scoring.sample_vqa import SampleVqa
from mmat_dagster.scoring.tabmwp import TabMwp

_ALL: tuple[Benchmark, ...] = (TabMwp(), SampleVqa())
BENCHMARKS: Mapping[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}
