"""What is told while a student trains: a line of metrics.jsonl a logged step, and the curve at the end."""

import resource
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mmat_dagster.training.spec import METRICS, Metrics, dump_metrics, read_metrics

matplotlib.use("Agg")
from matplotlib import pyplot

GIBIBYTE = 2**30
PICTURE_DPI = 110
SMOOTHED_OVER = 0.05
SAY_EVERY_S = 10.0


class MetricsFile(TrainerCallback):  # type: ignore[misc]
    """Writes metrics.jsonl; a resumed run goes on behind its checkpoint's step, whatever was written beyond it."""

    def __init__(self, folder: Path, epochs: float, resumed_at: int) -> None:
        self._path = folder / METRICS
        self._epochs = epochs
        self._said_at = 0.0
        self.resumed_at = resumed_at
        before = [each for each in read_metrics(folder) if each.step <= resumed_at]
        self._path.write_bytes(b"".join(map(dump_metrics, before)))
        self._tokens_before = before[-1].tokens if before else 0
        self._seconds_before = before[-1].seconds if before else 0.0
        self._begun_at = self._told_at = time.monotonic()
        self._told_tokens = 0
        self.first_step_at: float | None = None
        self._penalties: list[float] = []

    @property
    def tokens(self) -> int:
        """Tokens learned from so far, earlier attempts included."""
        return self._tokens_before + self._told_tokens

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier attempts included."""
        return self._seconds_before + time.monotonic() - self._begun_at

    def note_penalty(self, penalty: float) -> None:
        """Take note of what the regulariser has added to the loss of a micro-batch."""
        self._penalties.append(penalty)

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Start the clock."""
        self._begun_at = self._told_at = time.monotonic()

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Take note of when the first step began."""
        self.first_step_at = self.first_step_at or time.time()

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,
    ) -> None:
        """Write a line."""
        logs = kwargs["logs"]
        if "loss" not in logs or not state.is_world_process_zero:
            return
        now, tokens = time.monotonic(), int(logs["num_tokens"])
        # Of all micro-batches since the last line, as the loss is.
        penalty = mean(self._penalties) if self._penalties else None
        self._penalties.clear()
        metrics = Metrics(
            step=state.global_step,
            epoch=round(state.global_step / state.max_steps * self._epochs, 4),
            loss=logs["loss"] - (penalty or 0.0),
            learning_rate=logs["learning_rate"],
            grad_norm=float(logs["grad_norm"]) if "grad_norm" in logs else None,
            token_accuracy=logs.get("mean_token_accuracy"),
            regulariser=penalty,
            tokens=self._tokens_before + tokens,
            tokens_per_second=(tokens - self._told_tokens) / max(now - self._told_at, 1e-9),
            memory_gb=_peak_memory_gb(),
            seconds=self.seconds,
        )
        self._told_at, self._told_tokens = now, tokens
        with self._path.open("ab") as file:
            file.write(dump_metrics(metrics))
        if now - self._said_at >= SAY_EVERY_S or state.global_step == state.max_steps:
            self._said_at = now
            print(
                f"step {metrics.step:,} of {state.max_steps:,}: loss {metrics.loss:.4f}, learning rate "
                f"{metrics.learning_rate:.2g}, {metrics.tokens_per_second:,.0f} tokens/s, {metrics.memory_gb:.1f} GiB",
                flush=True,
            )


def draw_loss(metrics: Sequence[Metrics], title: str, path: Path) -> None:
    """Draw the loss by step, as it was and smoothed, with the learning rate below it."""
    steps = [each.step for each in metrics]
    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(7, 4.6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    above.plot(steps, [each.loss for each in metrics], color="#9bb7d4", linewidth=1, label="each logged step")
    above.plot(steps, _smoothed([each.loss for each in metrics]), color="#1f4e79", linewidth=2, label="smoothed")
    above.set_ylabel("loss, nats a token")
    above.set_title(title, fontsize=10)
    above.legend(frameon=False, fontsize=8)
    below.plot(steps, [each.learning_rate for each in metrics], color="#b5651d", linewidth=1.5)
    below.set_ylabel("learning rate")
    below.set_xlabel("step")
    for axes in (above, below):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=PICTURE_DPI, metadata={"Software": None})
    pyplot.close(figure)


def _smoothed(losses: Sequence[float]) -> list[float]:
    """Return the exponential moving average over a twentieth of the run."""
    weight = 2 / (1 + max(1.0, SMOOTHED_OVER * len(losses)))
    average, smoothed = losses[0], []
    for loss in losses:
        average += weight * (loss - average)
        smoothed.append(average)
    return smoothed


def _peak_memory_gb() -> float:
    """Return the peak memory of this process' GPU, or of the process where there is none."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / GIBIBYTE)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIBIBYTE
