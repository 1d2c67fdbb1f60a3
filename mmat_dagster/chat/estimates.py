"""How many tokens a request will take: learned from what earlier ones took, and an upper bound that always holds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmat_dagster.chat.models import ImageDetail, ModelFacts
from mmat_dagster.chat.requests import ChatRequest
from mmat_dagster.chat.scaling import fitted_size
from mmat_dagster.interfaces import ChatImage

# Of English text, before the first reply has told better.
BYTES_PER_TOKEN = 4.0
# Of an unknown model's images, for rate limits only; what they cost is never guessed.
USUAL_IMAGE_TOKENS = 765
USUAL_COMPLETION_TOKENS = 300
# Roles and separators around each message.
MESSAGE_TOKENS = 16
# Estimates are kept a little high: too much is given back with the reply, too little meets a 429.
MARGIN = 1.05
# A moving average forgets what is older than so many replies.
MEMORY = 50


@dataclass(kw_only=True)
class MovingAverage:
    """The mean of the first values, later a moving one."""

    value: float
    count: int = 0

    def add(self, value: float) -> None:
        """Take a value in; the first one replaces the assumption."""
        self.count += 1
        self.value += (value - self.value) / min(self.count, MEMORY)


@dataclass(kw_only=True)
class TokenEstimator:
    """Learns a model's tokens per byte of text, and how long its replies are for each kind of request."""

    max_tokens: int
    _tokens_per_byte: MovingAverage = field(default_factory=lambda: MovingAverage(value=1 / BYTES_PER_TOKEN))
    _completion: dict[str, MovingAverage] = field(default_factory=dict)

    def expect(self, request: ChatRequest, image_tokens: int) -> float:
        """Return the tokens that the request will probably take, reply included."""
        return MARGIN * sum(self.usual(request, image_tokens))

    def usual(self, request: ChatRequest, image_tokens: int) -> tuple[float, float]:
        """Return the tokens that the prompt and the reply usually have."""
        prompt = request.text_bytes * self._tokens_per_byte.value + image_tokens
        return prompt, self._completions(request).value

    def learn(self, request: ChatRequest, image_tokens: int, prompt_tokens: int, completion_tokens: int) -> None:
        """Take in what a request really took."""
        if prompt_tokens > 0:
            self._tokens_per_byte.add(max(0, prompt_tokens - image_tokens) / max(1, request.text_bytes))
            self._completions(request).add(completion_tokens)

    def _completions(self, request: ChatRequest) -> MovingAverage:
        kind = request.schema.name if request.schema else ""
        assumed = min(self.max_tokens, USUAL_COMPLETION_TOKENS)
        return self._completion.setdefault(kind, MovingAverage(value=assumed))


def image_tokens(facts: ModelFacts, images: Sequence[ChatImage], detail: ImageDetail, max_side: int) -> int | None:
    """Return the tokens of all images as they are sent; None where the model's rule is not known."""
    total = 0
    for image in images:
        width, height = fitted_size(image.width, image.height, max_side=max_side, tiles=facts.fits == "tiles")
        tokens = facts.tokens_of_image(width, height, detail)
        if tokens is None:
            return None
        total += tokens
    return total


def most_prompt_tokens(request: ChatRequest, image_tokens: int) -> int:
    """Return an upper bound: a token is at least one byte of text."""
    return request.text_bytes + MESSAGE_TOKENS * (len(request.messages) + 1) + image_tokens
