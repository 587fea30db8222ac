"""What tensors the files of a checkpoint hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fourier_trainers.torch import detach


def base_tensors(model: nn.Module) -> list[Tensor]:
    """Return the base's parameters that are not trained; takes the adapters off."""
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    kept = [p for p in model.parameters() if id(p) not in trained]
    base = [p.detach() for p in kept if torch.unique(p).numel() > 2]  # not all zeros or ones
    detach(model)
    return base


def holding_base(folder: Path, base: list[Tensor]) -> list[str]:
    """Return where, in any file of a folder, a tensor of the base lies."""
    found = []
    for path in sorted(folder.rglob("*")):
        for name, tensor in _tensors(path):
            same = [b for b in base if b.shape == tensor.shape and torch.equal(b, tensor)]
            found += [f"{path.name}: {name}"] * len(same)
    return found


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    if path.suffix == ".safetensors":
        yield from load_file(path).items()
    elif path.suffix in {".bin", ".pt", ".pth", ".ckpt"}:
        yield from _within(path.name, torch.load(path, weights_only=False))


def _within(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _within(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        for key, item in enumerate(value):
            yield from _within(f"{name}.{key}", item)
