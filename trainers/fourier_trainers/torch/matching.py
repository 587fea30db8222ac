"""Which modules of a model a user's words mean: suffixes, a regular expression, "all-linear"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from torch import nn

from fourier_format.errors import TargetNotFoundError, UnsupportedError, Violation
from fourier_trainers.config import FourierConfig
from fourier_trainers.names import Naming
from fourier_trainers.torch.layers import kind_of
from fourier_trainers.torch.state import base_modules, unwrapped

ALL_LINEAR: Final = "all-linear"

ADAPTABLE: Final = "Linear, Conv2d, Embedding, or Conv1D of transformers"
"""The layers that can be adapted, for errors."""

NAMES: Final = Naming(".", "model.named_modules()")
"""How PyTorch names modules."""


def matching(model: nn.Module, config: FourierConfig) -> list[str]:
    """Returns the names of the modules that are asked for, each by its first name."""
    wanted = config.target_modules
    modules = {name: module for name, module in base_modules(model).items() if name}
    if not modules:
        problem = "the model is one layer, which has no name"
        advice = "put it into a module that holds it, such as nn.Sequential"
        where = type(model).__name__
        raise TargetNotFoundError(
            Violation("E-TARGET-NOT-FOUND", where, problem, str(wanted), advice=advice)
        )
    if wanted == ALL_LINEAR:
        found = list(_all_linear(model, modules))
    elif isinstance(wanted, str):
        found = _adaptable(
            modules, NAMES.by_expression(list(modules), wanted, "target_modules"), wanted
        )
    else:
        found = []
        for suffix in wanted:
            named = NAMES.by_suffix(list(modules), suffix, "target_modules")
            found += _adaptable(modules, named, suffix)
    first = {id(modules[name]): name for name in reversed(modules)}
    order = {name: k for k, name in enumerate(modules)}
    return sorted({first[id(modules[name])] for name in found}, key=order.__getitem__)


def _all_linear(model: nn.Module, modules: Mapping[str, nn.Module]) -> Iterator[str]:
    getter = getattr(model, "get_output_embeddings", None)
    output = getter() if callable(getter) else None
    for name, module in modules.items():
        if output is not None and module is unwrapped(output):
            continue
        kind = kind_of(module, name)
        if kind is not None and kind.kind == "linear":
            yield name


def _adaptable(modules: Mapping[str, nn.Module], names: Sequence[str], wanted: str) -> list[str]:
    """Returns those of `names` that can be adapted; containers of others are passed over.

    Raises:
        TargetNotFoundError: None can.
        UnsupportedError: One of them has a weight, and cannot.
    """
    kinds = {name: kind_of(modules[name], name) for name in names}
    for name, kind in kinds.items():
        if kind is None and any(True for _ in modules[name].parameters(recurse=False)):
            problem = f"matched by {wanted!r}, but not a layer that can be adapted"
            got = type(modules[name]).__name__
            raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem, got, ADAPTABLE))
    found = [name for name, kind in kinds.items() if kind is not None]
    if not found:
        problem = f"{wanted!r} matches no layer that can be adapted"
        got = ", ".join(sorted({type(modules[name]).__name__ for name in names}))
        raise TargetNotFoundError(
            Violation("E-TARGET-NOT-FOUND", "target_modules", problem, got, ADAPTABLE)
        )
    return found
