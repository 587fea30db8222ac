"""Write what adapters add to modules of PyTorch: python -m tests.parity.in_torch FOLDER OUTPUT."""
# ruff: noqa: TID251 -- PyTorch is what is looked at

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fourier_format.adapter import Array
from fourier_trainers.config import Path as How
from fourier_trainers.torch import load_adapter
from tests.parity.adapters import TARGETS, Target

PATHS: tuple[How, ...] = ("weight", "activation")


def module_of(target: Target) -> nn.Module:
    """Return a module with a weight of zeros; an EinsumDense's twin is a Linear."""
    out, in_ = target.shape
    module: nn.Module
    if target.kind == "embedding":
        module = nn.Embedding(in_, out)
    elif target.kind == "conv2d":
        channels, height, width = target.inner
        module = nn.Conv2d(channels, out, (height, width), bias=False)
    else:
        module = nn.Linear(in_, out, bias=False)
    for weight in module.parameters():
        nn.init.zeros_(weight)
    return module


def units(target: Target) -> Tensor:
    """Return the unit vectors as the module takes them."""
    size = target.shape[1]
    if target.kind == "embedding":
        return torch.arange(size)
    each = torch.eye(size)
    return each.reshape(size, *target.inner) if target.kind == "conv2d" else each


def deltas(file: Path, path: How) -> dict[str, Array]:
    """Return the delta weight of every target, (out, in)."""
    model = nn.ModuleDict({name: module_of(target) for name, target in TARGETS.items()})
    load_adapter(model, file, path=path)
    found = {}
    for name, target in TARGETS.items():
        columns = model[name](units(target)).detach().numpy()
        found[name] = columns.reshape(target.shape[1], target.shape[0]).T
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, output = map(Path, sys.argv[1:])
    arrays: dict[str, Any] = {
        f"{path} {file.stem} {name}": delta
        for file in sorted(folder.glob("*.fft"))
        for path in PATHS
        for name, delta in deltas(file, path).items()
    }
    np.savez(output, **arrays)
