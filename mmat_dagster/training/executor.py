"""Where training and serving run: one interface for a process of this machine, a task in a cloud, a cluster's job.

An executor starts `python -m mmat_dagster.training --config <folder>/run.json`, once or as many processes that know
each other, tells what comes of it while it runs, and returns how it ended. All that passes between the two lies in the
job's folder (see spec.py), so an executor needs no more of the training than to start it and to end it.
"""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

from mmat_dagster.training.spec import Outcome

Context = TypeVar("Context")

# What a server without a port of its own writes into its folder once it listens: JSON with the `port` that it got.
SERVING_READY = "serving.ready"
# In a command: the Python that has what training takes, wherever the job is placed.
PYTHON = "{python}"


@dataclass(frozen=True, kw_only=True)
class MachineNeeds:
    """What a job asks of the machine that it is placed on; None leaves it to the executor."""

    gpus: int | None = None
    cpus: float | None = None
    memory_gb: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One training process to be run; `folder` holds its run.json, and is where a checkpoint to resume from lies.

    `folder` is a path on this machine. Where that is not the store's own, `kept` is the URI at which the store keeps of
    it what another machine goes on with (see kept.py), and `result` the one that the finished checkpoint's files go to
    from there. `image` is the container to run in, `accelerate` the accelerate config (FSDP, DeepSpeed ZeRO) by file or
    by TRL's name. `is_preemptible` lets it be placed where machines are taken back.
    """

    name: str
    folder: str
    kept: str | None = None
    result: str | None = None
    accelerate: str | None = None
    image: str | None = None
    needs: MachineNeeds = MachineNeeds()
    is_preemptible: bool = False


@dataclass(frozen=True, kw_only=True)
class ServingJob:
    """A server that speaks the OpenAI protocol, to be run; its lines and what it writes lie in `folder`.

    PYTHON in `command` is the executor's own. With a `port` it listens there, and is ready when it lists its models;
    with None it writes SERVING_READY. `packages` are those of Python that it cannot do without.
    """

    name: str
    folder: str
    command: tuple[str, ...]
    port: int | None = None
    packages: tuple[str, ...] = ()
    needs: MachineNeeds = MachineNeeds()


class ServingFailed(Exception):
    """A server did not come up, or ended while it was needed; the text says why, with the last lines that it wrote."""


class TrainingFailed(Exception):
    """A training process ended without a result; the text says why, with the last lines that it wrote."""


class TrainingExecutor(Generic[Context], ABC):
    """Runs training processes. `Context` is what the orchestrator gives a step to report to."""

    @property
    @abstractmethod
    def world_size(self) -> int:
        """The number of processes that train together, which a run's accumulation is solved from."""

    def sources_there(self, sources: str) -> str | None:  # noqa: ARG002
        """Return where the jobs' machine finds the folder `sources`; None where that is this machine."""
        return None

    @abstractmethod
    def train(self, context: Context, job: TrainingJob) -> Outcome:
        """Run the job to its end and return it: done, or pre-empted with a checkpoint to go on from.

        Metrics reach `context` while it runs. A termination of the step reaches the process, which writes a checkpoint
        before it ends. Raises TrainingFailed.
        """

    def serve(self, job: ServingJob) -> AbstractContextManager[str]:
        """Run the job's server while the context is open, and give its base URL, up to and including /v1.

        Raises ServingFailed. An executor that reaches no server leaves this as it is.
        """
        raise ServingFailed(
            f"{type(self).__name__} runs no servers, so {job.name} cannot be served by it: start a server that speaks "
            "the OpenAI protocol yourself, and name it as the endpoint"
        )
