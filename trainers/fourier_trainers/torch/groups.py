"""Parameter groups, for those who make their optimizer themselves."""

from __future__ import annotations

from typing import Any

from torch import nn

from fourier_format.errors import UsageError, Violation
from fourier_trainers.torch import activating
from fourier_trainers.torch.state import base_parameters, found_state


def parameter_groups(
    model: nn.Module, lr: float, head_lr: float | None = None, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Returns the trained parameters with their learning rates, for a torch optimizer.

    Args:
        model: An attached model.
        lr: Of the coefficients: 1e-2 to 3e-1 with a gain of 1 (arXiv 2405.03003, tables 8 to 13).
        head_lr: Of what is trained whole; None takes a tenth of `lr`, the paper's usual ratio.
        weight_decay: Of all of them but biases and other vectors trained whole.

    Returns:
        Up to three groups with a "name": "coefficients", "head", "head without decay".

    Raises:
        UsageError: Nothing is trained, or delta weights are merged.
    """
    root, _ = found_state(model)
    activating.refuse_merged(root)
    rate = lr / 10 if head_lr is None else head_lr
    groups: dict[str, dict[str, Any]] = {
        "coefficients": {"lr": lr, "weight_decay": weight_decay},
        "head": {"lr": rate, "weight_decay": weight_decay},
        "head without decay": {"lr": rate, "weight_decay": 0.0},
    }
    base = {id(parameter) for _, parameter in base_parameters(root)}
    for parameter in root.parameters():
        if not parameter.requires_grad:
            continue
        vector = "head without decay" if parameter.dim() < 2 else "head"
        group = vector if id(parameter) in base else "coefficients"
        groups[group].setdefault("params", []).append(parameter)
    found = [{"name": name, **group} for name, group in groups.items() if "params" in group]
    if not found:
        problem, advice = "nothing is trained", "call set_active(model, name) first"
        raise UsageError(Violation("E-USAGE", "model", problem, advice=advice))
    return found
