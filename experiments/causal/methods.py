"""The ways to adapt a decoder that are compared: the encoders' own, without their head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

import fourier_format
from experiments.text import methods
from experiments.training import trained
from fourier_trainers.torch import capture, merge


class Fourier(methods.Fourier):
    """FourierFT of a decoder, which has no head of its own."""

    __slots__ = ()

    head = ()

    def merge(self, model: nn.Module) -> None:  # a method as LoRA's
        """Put the change into the weights."""
        merge(model)

    def save(self, model: nn.Module, folder: Path) -> Path:  # the same
        """Returns the file in `folder` that the adapter is written to."""
        path = folder / "adapter.fft"
        fourier_format.save(capture(model), path, overwrite=True)
        return path


class Lora(methods.Lora):
    """LoRA of a decoder, by PEFT."""

    __slots__ = ()

    def apply(self, model: nn.Module, targets: Sequence[str], seed: int) -> None:
        """Put LoRA beside `targets`, in place; the seed draws one of its factors."""
        import peft

        torch.manual_seed(seed)
        config = peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=list(targets),
        )
        peft.inject_adapter_in_model(config, model)
        for value in model.parameters():
            if value.requires_grad:  # beside a 4-bit weight they have what that is multiplied in
                value.data = value.data.float()

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
