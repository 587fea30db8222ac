"""The ways to adapt an encoder that are compared: what each trains."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from experiments.text.cutting import layers
from fourier_trainers.torch import BandPass, FourierConfig, Uniform, attach


@dataclass(frozen=True, slots=True)
class Fourier:
    """FourierFT, in any basis of the format; entries without a band are uniform.

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
            modules_to_save=("classifier",),
        )
        attach(model, config)


@dataclass(frozen=True, slots=True)
class Lora:
    """LoRA, by PEFT; alpha is twice the rank."""

    rank: int
    kind: Literal["lora"] = field(default="lora", init=False)

    @property
    def label(self) -> str:
        """A name."""
        return f"lora r={self.rank}"

    def apply(self, model: nn.Module, targets: Sequence[str], seed: int) -> None:  # noqa: ARG002
        """Put LoRA beside `targets`, in place."""
        import peft

        config = peft.LoraConfig(
            r=self.rank,
            lora_alpha=2 * self.rank,
            target_modules=list(targets),
            modules_to_save=["classifier"],
        )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # PEFT reads what transformers deprecates
            peft.get_peft_model(model, config)


@dataclass(frozen=True, slots=True)
class Full:
    """All weights of the layers that are trained, and the pooler."""

    kind: Literal["full"] = field(default="full", init=False)

    @property
    def label(self) -> str:
        """A name."""
        return "full fine-tuning"

    def apply(self, model: nn.Module, targets: Sequence[str], seed: int) -> None:  # noqa: ARG002
        """Freeze what lies below the layers that have targets."""
        model.requires_grad_(False)
        numbers = {number for number in range(len(layers(model))) if _has(targets, number)}
        for number in numbers:
            layers(model)[number].requires_grad_(True)
        for name, module in model.named_children():
            if name == "classifier":
                module.requires_grad_(True)
        pooler = getattr(model.base_model, "pooler", None)
        if pooler is not None:
            pooler.requires_grad_(True)


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


Method = Fourier | Lora | Full | Head


def groups(model: nn.Module, rate: float, head_rate: float) -> list[dict[str, Any]]:
    """Returns the trained parameters for an optimizer: the head's have `head_rate`."""
    head: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (head if "classifier" in name.split(".") else others).append(parameter)
    found = [{"params": others, "lr": rate}, {"params": head, "lr": head_rate}]
    return [group for group in found if group["params"]]


def trained_sizes(model: nn.Module) -> tuple[int, int]:
    """Returns how many numbers are trained beside the head, and in the head."""
    counts = [sum(p.numel() for p in group["params"]) for group in groups(model, 0.0, 1.0)]
    head = next(
        sum(p.numel() for p in group["params"])
        for group in groups(model, 0.0, 1.0)
        if group["lr"] == 1.0
    )
    return sum(counts) - head, head


def _has(targets: Sequence[str], number: int) -> bool:
    return any(f".layer.{number}." in f".{target}" for target in targets)
