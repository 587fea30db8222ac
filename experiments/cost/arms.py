"""What is compared: a frozen layer alone, with a LoRA beside it, with FourierFT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from experiments.text.methods import Lora
from fourier_trainers.config import Path
from fourier_trainers.torch import FourierConfig, attach

PATHS: tuple[Path, ...] = ("auto", "weight", "activation")
_TARGET = "layer"


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train a layer.

    Attributes:
        kind: What is beside the layer.
        size: The rank of a LoRA, the n of FourierFT; 0 for the base.
        path: How FourierFT is computed; of others "auto".
    """

    kind: Literal["base", "lora", "fourier"]
    size: int = 0
    path: Path = "auto"

    @property
    def name(self) -> str:
        """Kind, size and path: "fourier 1000 weight"."""
        return f"{self.kind} {self.size} {self.path}"


def arms(sizes: Sequence[int], ranks: Sequence[int]) -> list[Arm]:
    """Returns the base, LoRA of each rank, FourierFT of each n on each path."""
    loras = [Arm("lora", rank) for rank in ranks]
    return [Arm("base"), *loras, *(Arm("fourier", n, path) for n in sizes for path in PATHS)]


def layer(arm: Arm, weight: Tensor) -> nn.Module:
    """Returns a linear layer of `weight` (out, in), which is shared and frozen, as `arm` adapts it.

    LoRA is PEFT's; n coefficients start at normal numbers, so that none is spared a computation.
    """
    out, in_ = weight.shape
    linear = nn.Linear(in_, out, bias=False, device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    model = nn.ModuleDict({_TARGET: linear})
    if arm.kind == "lora":
        Lora(arm.size, 2.0 * arm.size).apply(model, [_TARGET], 0)
    elif arm.kind == "fourier":
        config = FourierConfig(
            target_modules=(_TARGET,), n=arm.size, path=arm.path, init="normal", reached="unchecked"
        )
        attach(model, config)
    return model[_TARGET].to(weight.device)


class Step:
    """A forward and a backward pass of one layer, inside a model: the gradient goes on to x."""

    def __init__(self, module: nn.Module, x: Tensor, gradient: Tensor) -> None:
        self.module = module
        self.x = x.detach().requires_grad_()  # (t, in), of its own: gradients do not meet
        self.gradient = gradient  # (t, out)
        self.trained = [p for p in module.parameters() if p.requires_grad]

    def clear(self) -> None:
        """Forget the gradients."""
        for tensor in (self.x, *self.trained):
            tensor.grad = None

    def __call__(self) -> None:
        """Compute the output and all gradients."""
        self.clear()
        self.module(self.x).backward(self.gradient)
