"""Buffers that training changes, such as running means: an adapter does not hold them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Final

import torch
from torch import Tensor, nn

from fourier_trainers.torch.state import base_modules

_LARGEST: Final = 2**16
"""Elements of the largest buffer that is watched: statistics are vectors."""


def watched(model: nn.Module) -> dict[str, Tensor]:
    """Returns copies of the small floating-point buffers that a state_dict holds, by name."""
    return {name: buffer.detach().cpu().clone() for name, buffer in _small(model)}


def warn_of_training(model: nn.Module) -> None:
    """Warn of batch normalisations in training mode: the forward that comes changes their means."""
    paths = [
        path
        for path, module in base_modules(model).items()
        if isinstance(module, nn.modules.batchnorm._NormBase)  # noqa: SLF001 - all of them
        and module.training
        and module.running_mean is not None
    ]
    if paths:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        warnings.warn(
            f"{paths[0]}{more}: its running statistics change in training, and are no part of an "
            "adapter; keep it in eval mode while training: module.eval() after model.train()",
            stacklevel=2,
        )


def warn_if_changed(model: nn.Module, then: Mapping[str, Tensor]) -> None:
    """Warn of buffers that are no longer what they were, if any."""
    changed = [
        name
        for name, buffer in _small(model)
        if name in then and not torch.equal(then[name].to(buffer.dtype), buffer.detach().cpu())
    ]
    if changed:
        warnings.warn(
            f"{', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''}: {len(changed)} "
            "buffers of the base have changed since the adapter was attached. They are not part of "
            "it, so that it computes something else on a fresh base; keep such modules "
            "(batch norm) in eval mode while training",
            stacklevel=3,
        )


def _small(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, module in base_modules(model).items():
        for leaf, buffer in module.named_buffers(recurse=False):
            persistent = leaf not in module._non_persistent_buffers_set  # noqa: SLF001 - no other way
            has_values = buffer.is_floating_point() and buffer.device.type != "meta"
            if persistent and has_values and buffer.numel() <= _LARGEST:
                yield (f"{path}.{leaf}" if path else leaf), buffer
