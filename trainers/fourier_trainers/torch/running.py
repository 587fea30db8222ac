"""Running statistics of batch normalisations: no parameters, changed by training all the same."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from fourier_format.errors import Violation

Statistics = Mapping[str, tuple[Tensor, ...]]
"""Path of a module -> copies of its running mean and variance."""

_ADVICE = "keep it in eval mode while the adapter is trained: module.eval() after model.train()"


def noted(model: nn.Module) -> dict[str, tuple[Tensor, ...]]:
    """Returns the running statistics that `model` has; none of those on the meta device."""
    found = {}
    for path, module in model.named_modules():
        values = _statistics(module)
        if values and all(value.device.type != "meta" for value in values):
            found[path] = tuple(value.clone() for value in values)
    return found


def warn(model: nn.Module, before: Statistics) -> None:
    """Warn of a module that is about to change its statistics."""
    paths = [path for path in before if model.get_submodule(path).training]
    if paths:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        text = (
            f"{paths[0]}{more}: its running statistics change in training, and would not be in "
            f"the adapter, so that capture(model) would refuse; {_ADVICE}"
        )
        warnings.warn(text, UserWarning, stacklevel=2)


def changed(model: nn.Module, before: Statistics) -> Iterator[Violation]:
    """Yields the modules whose statistics are no longer what they were."""
    for path, values in before.items():
        now = _statistics(model.get_submodule(path))
        same = len(now) == len(values) and all(
            torch.equal(then.to(value), value) for then, value in zip(values, now, strict=True)
        )
        if not same:
            problem = "its running statistics have changed, and would not be in the adapter"
            yield Violation("E-BASE-MISMATCH", path, problem, advice=_ADVICE)


def _statistics(module: nn.Module) -> list[Tensor]:
    if not isinstance(module, nn.modules.batchnorm._NormBase):  # noqa: SLF001 - all of them
        return []
    found = (module.running_mean, module.running_var)
    return [value.detach() for value in found if value is not None]
