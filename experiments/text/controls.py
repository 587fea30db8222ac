"""Bases that are no transform: the controls of the paper's basis ablation.

delta = scale * B_out[:, u] diag(c) B_in[:, v]^T, the form of every transform of the format, with a
random matrix B in place of the Fourier basis: Gaussian, or orthogonal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Control:
    """n coefficients of a random basis.

    Attributes:
        basis: Which.
        n: Coefficients of a weight.
        alpha: The scale that a FourierFT of the same size of delta would have: standard normal
            coefficients give a delta of Frobenius norm alpha sqrt(n / (2 out in)) on average.
    """

    basis: Literal["gaussian", "orthogonal"]
    n: int
    alpha: float
    kind: Literal["control"] = field(default="control", init=False)

    @property
    def label(self) -> str:
        """A name."""
        return f"{self.basis} basis n={self.n}"

    def apply(self, model: nn.Module, targets: Sequence[str], seed: int) -> None:
        """Freeze the base and add a delta to the layers `targets`; the head stays trained."""
        model.requires_grad_(False)
        model.get_submodule("classifier").requires_grad_(True)
        made: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}  # as entries, shared by a shape
        for name in targets:
            layer = model.get_submodule(name)
            weight = layer.get_parameter("weight")
            shape = (weight.shape[0], weight.shape[1])
            if shape not in made:
                made[shape] = self._columns(shape, torch.Generator().manual_seed(seed))
            layer.add_module("control", Delta(*made[shape]))
            layer.register_forward_hook(_added)

    def _columns(self, shape: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns the scaled columns (n, out) and (n, in) of n distinct entries."""
        entries = torch.randperm(shape[0] * shape[1], generator=generator)[: self.n]
        u, v = entries // shape[1], entries % shape[1]
        left, right = (_basis(self.basis, size, generator) for size in shape)  # columns of norm 1
        scale = self.alpha / math.sqrt(2 * shape[0] * shape[1])
        return (scale * left.T[u]).contiguous(), right.T[v].contiguous()


class Delta(nn.Module):
    """The weighted sum of products of columns; in float32, as the format's transforms are."""

    left: Tensor
    right: Tensor

    def __init__(self, left: Tensor, right: Tensor) -> None:
        super().__init__()
        self.register_buffer("left", left)  # (n, out)
        self.register_buffer("right", right)  # (n, in)
        self.coefficients = nn.Parameter(torch.zeros(len(left)))

    def forward(self) -> Tensor:
        """Returns (out, in)."""
        with torch.autocast(self.left.device.type, enabled=False):
            return (self.left * self.coefficients[:, None]).T @ self.right


def _added(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Adds x delta^T beside x W^T, so that no product rounds the sum of W and a small delta."""
    return output + functional.linear(inputs[0], layer.get_submodule("control")())


def _basis(kind: str, size: int, generator: torch.Generator) -> Tensor:
    """Returns a random matrix (size, size) whose columns have norm 1 (on average)."""
    drawn = torch.randn(size, size, generator=generator) / math.sqrt(size)
    return drawn if kind == "gaussian" else torch.linalg.qr(drawn).Q


def deltas(model: nn.Module) -> list[Any]:
    """Returns the deltas of all targets, (out, in) each."""
    return [module().detach() for module in model.modules() if isinstance(module, Delta)]
