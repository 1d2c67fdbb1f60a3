"""How a training is started on a machine: one process, torchrun's, or accelerate's; and what its processes find set."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from mmat_dagster.processes import KEEPER
from mmat_dagster.training.executor import TrainingFailed

MODULE = "mmat_dagster.training"
# The launcher of several processes ends them itself, a moment before it would be ended.
LAUNCHER_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Launch:
    """`processes` on this machine that train together; `accelerate` is a config file or the name of one of TRL's."""

    python: str
    module: str = MODULE
    processes: int = 1
    threads: int = 1
    accelerate: str | None = None
    termination_timeout_s: float = 120.0

    @property
    def timeout_s(self) -> float:
        """How long all of it may take to end."""
        launches = self.accelerate is not None or self.processes > 1
        return self.termination_timeout_s + (LAUNCHER_S if launches else 0.0)

    def command(self, run: Path) -> list[str]:
        """Return the command line that carries out the run of a file; raise TrainingFailed."""
        trained = [self.module, "--config", str(run)]
        processes = str(self.processes)
        if self.accelerate is not None:
            config = str(_accelerate_file(self.accelerate))
            launch = ["accelerate.commands.launch", "--config_file", config, "--num_processes", processes]
            return [self.python, "-m", *launch, "--module", *trained]
        if self.processes > 1:
            launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", processes]
            return [self.python, "-m", *launch, "-m", *trained]
        return [self.python, "-m", *trained]

    def environment(self) -> dict[str, str]:
        """Return the variables that its processes find set."""
        threads = str(self.threads)
        return {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONUNBUFFERED": "1",
            "TOKENIZERS_PARALLELISM": "false",
            # torchrun, and accelerate through it, kill their processes 30 s after a signal unless told otherwise.
            "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(max(1, round(self.termination_timeout_s))),
        }


def ending_with_this_process() -> dict[str, str]:
    """Return the variable by which a training ends when this process is gone."""
    return {KEEPER: str(os.getpid())}


def _accelerate_file(name: str) -> Path:
    """Return the accelerate config called `name`: a file, or one that TRL brings along."""
    if Path(name).is_file():
        return Path(name).absolute()
    trl = importlib.util.find_spec("trl")
    folder = Path(trl.origin).parent / "accelerate_configs" if trl and trl.origin else None
    known = sorted(path.stem for path in folder.glob("*.yaml")) if folder else []
    if folder is None or name not in known:
        raise TrainingFailed(
            f"accelerate names {name!r}: that is no file, and none of TRL's configurations"
            + (f" ({', '.join(known)})" if known else ", which come with pip install -e '.[train]'")
        )
    return folder / f"{name}.yaml"
