"""The ways to adapt a decoder that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import nn

import fourier_format
from experiments.training import trained
from fourier_trainers.torch import FourierConfig, attach, capture, merge


@dataclass(frozen=True, slots=True)
class Fourier:
    """FourierFT.

    Attributes:
        n: Coefficients of a weight.
        alpha: The scale.
    """

    n: int
    alpha: float
    kind: Literal["fourier"] = field(default="fourier", init=False)

    @property
    def label(self) -> str:
        """A name."""
        return f"fourier n={self.n}"

    def apply(self, model: nn.Module, targets: Sequence[str], seed: int) -> None:
        """Attach an adapter to `targets`; the seed draws its entries."""
        config = FourierConfig(target_modules=tuple(targets), n=self.n, alpha=self.alpha, seed=seed)
        attach(model, config)

    def merge(self, model: nn.Module) -> None:  # a method as LoRA's
        """Put the change into the weights."""
        merge(model)

    def save(self, model: nn.Module, folder: Path) -> Path:  # the same
        """Returns the file in `folder` that the adapter is written to."""
        path = folder / "adapter.fft"
        fourier_format.save(capture(model), path, overwrite=True)
        return path


@dataclass(frozen=True, slots=True)
class Lora:
    """LoRA, by PEFT; alpha is twice the rank."""

    rank: int
    kind: Literal["lora"] = field(default="lora", init=False)

    @property
    def label(self) -> str:
        """A name."""
        return f"lora r={self.rank}"

    def apply(self, model: nn.Module, targets: Sequence[str], seed: int) -> None:
        """Put LoRA beside `targets`, in place; the seed draws one of its factors."""
        import peft

        torch.manual_seed(seed)
        config = peft.LoraConfig(
            r=self.rank, lora_alpha=2 * self.rank, target_modules=list(targets)
        )
        peft.inject_adapter_in_model(config, model)

    def merge(self, model: nn.Module) -> None:  # a method as FourierFT's
        """Put the change into the weights."""
        from peft.tuners.lora import LoraLayer

        for module in model.modules():
            if isinstance(module, LoraLayer):
                module.merge()

    def save(self, model: nn.Module, folder: Path) -> Path:  # the same
        """Returns the file in `folder` that the factors are written to."""
        from safetensors.torch import save_file

        path = folder / "lora.safetensors"
        save_file({name: value.contiguous() for name, value in trained(model).items()}, path)
        return path


Method = Fourier | Lora
