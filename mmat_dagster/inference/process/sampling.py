"""The next token: the likeliest, or one drawn by a generator of the request's own, whoever else is decoded with it."""

import torch

from mmat_dagster.inference.protocol import Sampling


class Chooser:
    """Chooses the tokens of one reply."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    @property
    def is_greedy(self) -> bool:
        """Say whether it takes the likeliest token always."""
        return self._sampling.temperature == 0

    def choose(self, logits: torch.Tensor) -> int:
        """Return the next token by the logits of all."""
        if self.is_greedy:
            return int(logits.argmax())
        chances = torch.softmax(logits.float().cpu() / self._sampling.temperature, dim=-1)
        likely, tokens = chances.sort(descending=True)
        # The smallest set of tokens whose chances reach top_p: what stands before a token must not have reached it.
        likely[likely.cumsum(-1) - likely >= self._sampling.top_p] = 0.0
        return int(tokens[torch.multinomial(likely, 1, generator=self._generator)])
