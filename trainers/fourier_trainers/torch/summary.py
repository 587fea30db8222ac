"""What is trained of an attached model, beside the base and beside LoRA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from torch import nn

from fourier_trainers.torch.adapted import Adapted
from fourier_trainers.torch.coefficients import Coefficients
from fourier_trainers.torch.quantized import element_count
from fourier_trainers.torch.state import base_parameters, found_state, module_of, named

LORA_RANK: Final = 8


@dataclass(frozen=True, slots=True)
class Summary:
    """Numbers of parameters.

    Attributes:
        targets: Adapted weights.
        coefficients: Trained coefficients of all targets.
        whole: Parameters that are trained whole: heads and biases.
        base: Parameters of the base.
        lora: What LoRA of rank 8 would train on the same targets, rank * (in + out) each.
    """

    targets: int
    coefficients: int
    whole: int
    base: int
    lora: int

    @property
    def trainable(self) -> int:
        """Coefficients, heads and biases."""
        return self.coefficients + self.whole

    def __str__(self) -> str:
        """Three lines."""
        share = 100 * self.trainable / max(self.base, 1)
        ratio = 100 * self.coefficients / max(self.lora, 1)
        return (
            f"{self.targets} targets, {self.coefficients:,} coefficients"
            f" + {self.whole:,} parameters trained whole\n"
            f"{share:.3g} % of the base's {self.base:,} parameters are trained\n"
            f"LoRA r={LORA_RANK} on the same targets: {self.lora:,};"
            f" the coefficients are {ratio:.3g} % of that"
        )


def summary(model: nn.Module, name: str | None = None) -> Summary:
    """Returns what an adapter trains.

    Args:
        model: An attached model.
        name: The adapter; None means the only one, or the active one.

    Raises:
        UsageError: There is no such adapter.
    """
    root, state = found_state(model)
    chosen, record = named(state, name)
    members = [_coefficients(root, target, chosen) for target in record.targets]
    base = {id(parameter): parameter for _, parameter in base_parameters(root)}
    own = {id(parameter): parameter for parameter in record.whole.values()}
    return Summary(
        targets=len(members),
        coefficients=sum(member.basis.count for member in members),
        whole=sum(p.numel() for p in own.values()),
        base=sum(map(element_count, base.values())),
        lora=sum(LORA_RANK * sum(member.basis.shape) for member in members),
    )


def _coefficients(root: nn.Module, target: str, name: str) -> Coefficients:
    return cast("Coefficients", cast("Adapted", module_of(root, target)).fourier[name])
