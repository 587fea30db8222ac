"""How large a change a trained model has: the deltas of its targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from experiments.text import controls
from experiments.text.methods import Fourier, Lora, Method
from fourier_format import delta_weight
from fourier_trainers.torch import capture


def delta_norm(method: Method, model: nn.Module) -> float | None:
    """Returns the mean over targets of the delta's Frobenius norm; None if all weights change."""
    found: list[Any]
    if isinstance(method, Fourier):
        adapter = capture(model)
        found = [delta_weight(adapter, target) for target in adapter.targets]
    elif isinstance(method, Lora):
        from peft.tuners.lora import Linear as LoraLayer

        found = [
            module.get_delta_weight("default").detach()
            for module in model.modules()
            if isinstance(module, LoraLayer)
        ]
    else:
        found = controls.deltas(model)
    if not found:
        return None
    return float(np.mean([float(torch.linalg.norm(torch.as_tensor(each))) for each in found]))
