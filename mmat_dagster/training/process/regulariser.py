"""The paper's regulariser: the sum over all trained matrices of the squared Frobenius norm of their update.

    L + lambda * sum_i |delta theta_i|_F^2      (MMAT-1M, arXiv 2507.21924, training section)

LoRA's update of a matrix is s B A, with A of shape (r, in), B of shape (out, r) and s the scaling. Its norm needs no
product of full size: |s B A|_F^2 = s^2 tr(A A^T B^T B), a trace over r x r matrices.
"""

from collections.abc import Iterator
from typing import Any

import torch


class FrobeniusRegulariser:
    """Sums the squared norms of what training has changed in a model since this was made."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._layers = list(_lora_layers(model))
        of_adapters = {id(parameter) for layer in self._layers for parameter in layer.parameters()}
        self._others = [
            (parameter, parameter.detach().clone())
            for parameter in model.parameters()
            if parameter.requires_grad and id(parameter) not in of_adapters
        ]

    def norm(self) -> torch.Tensor:
        """Return the sum of the squared norms, a scalar that gradients flow through."""
        of_lora = [_squared(layer, name) for layer in self._layers for name in layer.active_adapters]
        of_others = [(now - before).float().square().sum() for now, before in self._others]
        return torch.stack([*of_lora, *of_others]).sum()

    def rebase(self, initial: dict[str, torch.Tensor], model: torch.nn.Module) -> None:
        """Measure from `initial`, by parameter name, instead of from where the model was when this was made."""
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        self._others = [(now, initial[names[id(now)]].to(now)) for now, _ in self._others]


def _lora_layers(model: torch.nn.Module) -> Iterator[Any]:
    for module in model.modules():
        if hasattr(module, "lora_A") and hasattr(module, "scaling"):
            yield module


def _squared(layer: Any, name: str) -> torch.Tensor:
    down, up = layer.lora_A[name].weight.float(), layer.lora_B[name].weight.float()
    squared: torch.Tensor = layer.scaling[name] ** 2 * ((down @ down.T) * (up.T @ up)).sum()
    return squared
