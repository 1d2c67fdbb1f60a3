"""How good results are: benchmarks with their publishers' rules, and measures against what people have judged."""

from collections.abc import Mapping

from mmat_dagster.scoring.ai2d import AI2D
from mmat_dagster.scoring.benchmark import Benchmark
from mmat_dagster.scoring.blink import Blink
from mmat_dagster.scoring.dyn_vqa import DynVqa, DynVqaGolden
from mmat_dagster.scoring.hallusionbench import HallusionBench
from mmat_dagster.scoring.mathvision import MathVision
from mmat_dagster.scoring.mathvista import MathVista
from mmat_dagster.scoring.mmmu import MMMU
from mmat_dagster.scoring.mmstar import MMStar
from mmat_dagster.scoring.ocrbench import OcrBench
from mmat_dagster.scoring.realworldqa import RealWorldQA
from mmat_dagster.scoring.sample_vqa import SampleVqa
from mmat_dagster.scoring.tabmwp import TabMWP

_ALL: tuple[Benchmark, ...] = (
    MMStar(),
    MMMU(),
    MathVista(),
    MathVision(),
    AI2D(),
    OcrBench(),
    RealWorldQA(),
    HallusionBench(),
    DynVqa(),
    DynVqaGolden(),
    TabMWP(),
    Blink(),
    SampleVqa(),
)
BENCHMARKS: Mapping[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}
