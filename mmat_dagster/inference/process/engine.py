"""The thread that holds the model: it takes up what waits, decodes it together, and answers each as soon as it ends."""

import os
import queue
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch
from transformers import GenerationConfig

from mmat_dagster.inference.process.kept import Kept
from mmat_dagster.inference.process.opening import OpenStudent
from mmat_dagster.inference.process.prompting import Prompt
from mmat_dagster.inference.process.rows import Row, Rows, said_text
from mmat_dagster.inference.process.sampling import Chooser
from mmat_dagster.inference.protocol import Answer, Sampling
from mmat_dagster.training.process.batches import REFUSALS
from mmat_dagster.training.process.templates import tokenizer_of

BYTES_PER_GB = 1e9


class Undecodable(Exception):
    """A model failed at a reply; the text says how."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A reply that is wanted."""

    prompt: Prompt
    sampling: Sampling
    most: int
    answer: "Future[Answer]" = field(default_factory=Future)


class Engine:
    """Answers prompts, at most `batch` of them together; `kept_gb` bounds what is kept of earlier ones."""

    def __init__(self, opened: OpenStudent, batch: int, kept_gb: float) -> None:
        self._opened = opened
        self._waiting: queue.SimpleQueue[Wish | None] = queue.SimpleQueue()
        self._rows: Rows[Wish] = Rows(opened, batch, Kept(kept_gb * BYTES_PER_GB))
        self._is_ending = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def end(self) -> None:
        """Answer nothing more."""
        self._is_ending = True
        self._waiting.put(None)
        self._thread.join()

    def ask(self, prompt: Prompt, sampling: Sampling, max_tokens: int | None) -> "Future[Answer]":
        """Return the reply to come, which raises Undecodable; it is cut where the model's context ends."""
        room = self._opened.longest - prompt.length
        wish = Wish(prompt=prompt, sampling=sampling, most=min(room, max_tokens or room))
        self._waiting.put(wish)
        return wish.answer

    def _work(self) -> None:
        try:
            with torch.inference_mode():
                while not self._is_ending:
                    self._take_up()
                    self._step()
        finally:
            if not self._is_ending:  # nobody would ever be answered: the process ends, and its log says why
                os.kill(os.getpid(), signal.SIGTERM)

    def _take_up(self) -> None:
        """Begin what waits, as far as there is room; wait where nothing is under way."""
        while not self._rows.is_full and not (self._waiting.empty() and not self._rows.is_empty):
            wish = self._waiting.get()
            if wish is None:
                return
            if not wish.answer.set_running_or_notify_cancel():
                continue
            try:
                self._begin(wish)
            except REFUSALS as error:
                wish.answer.set_exception(Undecodable(f"{type(error).__name__}: {error}"))

    def _begin(self, wish: Wish) -> None:
        if not self._opened.is_plain:
            wish.answer.set_result(self._alone(wish))
            return
        self._tell(self._rows.begin(wish, wish.prompt, Chooser(wish.sampling), wish.most))

    def _step(self) -> None:
        if self._rows.is_empty:
            return
        try:
            self._tell(self._rows.step())
        except REFUSALS as error:
            for row in self._rows.give_up():
                row.owner.answer.set_exception(Undecodable(f"{type(error).__name__}: {error}"))

    def _tell(self, ended: Sequence[Row[Wish]]) -> None:
        for row in ended:
            row.owner.answer.set_result(self._answer(row.prompt, row.said, row.cached))

    def _answer(self, prompt: Prompt, tokens: Sequence[int], cached: int) -> Answer:
        said = said_text(tokens, self._opened.ends)
        text = tokenizer_of(self._opened.processor).decode(
            list(said), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return Answer(
            text=text,
            finish_reason="length" if len(said) == len(tokens) else "stop",
            prompt_tokens=prompt.length,
            cached_tokens=cached,
            completion_tokens=len(tokens),
        )

    def _alone(self, wish: Wish) -> Answer:
        """Answer with a model whose rows cannot be put together here, as transformers itself does."""
        sampling, model = wish.sampling, self._opened.model
        is_greedy = sampling.temperature == 0
        drawn = {} if is_greedy else {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        if not is_greedy:
            torch.manual_seed(sampling.seed if sampling.seed is not None else torch.seed())
        inputs = {
            name: value.to(model.device, model.dtype if value.is_floating_point() else None)
            for name, value in wish.prompt.inputs.items()
        }
        settings = GenerationConfig(
            do_sample=not is_greedy,
            max_new_tokens=wish.most,
            eos_token_id=sorted(self._opened.ends),
            pad_token_id=model.generation_config.pad_token_id,
            **drawn,
        )
        made = model.generate(**inputs, generation_config=settings)
        return self._answer(wish.prompt, made[0, wish.prompt.length :].tolist(), cached=0)
