"""The ways to adapt an encoder that are compared: what each trains."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from experiments.text.controls import Control
from experiments.text.cutting import layers
from fourier_trainers.torch import BandPass, FourierConfig, Uniform, attach


@dataclass(frozen=True, slots=True)
class Fourier:
    """FourierFT, in any basis of the format; it starts at zero.

    Attributes:
        n: Coefficients of a weight.
        alpha: The scale.
        transform: A name of the format's registry.
        band: Centre and width of Eq. 5 in entries; None for no bias.
    """

    n: int
    alpha: float
    transform: str = "dft2"
    band: tuple[float, float] | None = None
    head: ClassVar[tuple[str, ...]] = ("classifier",)
    """What is trained whole beside it."""
    kind: Literal["fourier"] = field(default="fourier", init=False)

    @property
    def label(self) -> str:
        """A name."""
        band = "" if self.band is None else f" band {self.band[0]:g}/{self.band[1]:g}"
        basis = "" if self.transform == "dft2" else f" {self.transform}"
        return f"fourier n={self.n}{basis}{band}"

    def apply(self, model: nn.Module, targets: Sequence[str], seed: int) -> None:
        """Attach an adapter to `targets`; the seed draws its entries."""
        entries = Uniform() if self.band is None else BandPass(*self.band)
        config = FourierConfig(
            target_modules=tuple(targets),
            n=self.n,
            alpha=self.alpha,
            transform=self.transform,
            entries=entries,
            seed=seed,
            modules_to_save=self.head,
        )
        attach(model, config)


@dataclass(frozen=True, slots=True)
class Lora:
    """LoRA, by PEFT.

    Attributes:
        rank: Of the delta.
        alpha: The scale is alpha / rank.
        dropout: Of the input.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    kind: Literal["lora"] = field(default="lora", init=False)

    @property
    def label(self) -> str:
        """A name."""
        return f"lora r={self.rank}"

    def apply(self, model: nn.Module, targets: Sequence[str], seed: int) -> None:
        """Put LoRA beside `targets`, in place; the seed alone draws its factors."""
        import peft

        config = peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=list(targets),
            modules_to_save=["classifier"],
        )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # PEFT reads what transformers deprecates
            torch.manual_seed(seed)
            peft.get_peft_model(model, config)


@dataclass(frozen=True, slots=True)
class Full:
    """All weights of the last layers.

    Attributes:
        layers: How many; 0 for the whole model, embeddings included.
    """

    layers: int
    kind: Literal["full"] = field(default="full", init=False)

    @property
    def label(self) -> str:
        """A name that says how much is trained."""
        return (
            f"all weights of the last {self.layers} layers" if self.layers else "full fine-tuning"
        )

    def apply(self, model: nn.Module, targets: Sequence[str], seed: int) -> None:  # noqa: ARG002
        """Freeze what lies below the layers."""
        if not self.layers:
            return
        model.requires_grad_(False)
        for layer in list(layers(model))[-self.layers :]:
            layer.requires_grad_(True)
        model.get_submodule("classifier").requires_grad_(True)


@dataclass(frozen=True, slots=True)
class Head:
    """The head alone, on the base as it is."""

    kind: Literal["head"] = field(default="head", init=False)

    @property
    def label(self) -> str:
        """A name."""
        return "head alone"

    def apply(self, model: nn.Module, targets: Sequence[str], seed: int) -> None:  # noqa: ARG002
        """Freeze everything but the head."""
        model.requires_grad_(False)
        model.get_submodule("classifier").requires_grad_(True)


Method = Fourier | Lora | Full | Head | Control


def groups(model: nn.Module, rate: float, head_rate: float) -> list[dict[str, Any]]:
    """Returns the trained parameters for an optimizer: the head's have `head_rate`."""
    head, others = parted(model)
    found = [{"params": others, "lr": rate}, {"params": head, "lr": head_rate}]
    return [group for group in found if group["params"]]


def parted(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Returns the head's trained parameters, and the others."""
    head: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (head if "classifier" in name.split(".") else others).append(parameter)
    return head, others


def counted(parameters: Sequence[nn.Parameter]) -> int:
    """Returns how many numbers there are."""
    return sum(parameter.numel() for parameter in parameters)
