"""Which modules of a model a user's words mean: suffixes, a regular expression, "all-linear"."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from torch import nn

from fourier_format.errors import TargetNotFoundError, UnsupportedError, UsageError, Violation
from fourier_trainers.config import FourierConfig
from fourier_trainers.torch.layers import kind_of
from fourier_trainers.torch.state import base_modules, plain_name

ALL_LINEAR: Final = "all-linear"


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
        found = _by_expression(modules, wanted)
    else:
        found = [name for suffix in wanted for name in _by_suffix(modules, suffix)]
    first = {id(modules[name]): name for name in reversed(modules)}
    order = {name: k for k, name in enumerate(modules)}
    return sorted({first[id(modules[name])] for name in found}, key=order.__getitem__)


def _by_suffix(modules: Mapping[str, nn.Module], suffix: str) -> list[str]:
    matched = [name for name in modules if has_suffix(plain_name(name), suffix)]
    if not matched:
        raise not_found("target_modules", suffix, list(modules))
    return _adaptable(modules, matched, suffix)


def _by_expression(modules: Mapping[str, nn.Module], wanted: str) -> list[str]:
    try:
        matched = [name for name in modules if re.fullmatch(wanted, plain_name(name))]
    except re.error as error:
        problem = f"not a regular expression: {error}"
        raise UsageError(Violation("E-USAGE", "target_modules", problem, wanted)) from None
    if not matched and any(has_suffix(plain_name(name), wanted) for name in modules):
        problem = "a string is a regular expression for whole names, and matches none"
        advice = f"for names that end so, give a tuple: ({wanted!r},)"
        raise TargetNotFoundError(
            Violation("E-TARGET-NOT-FOUND", "target_modules", problem, wanted, advice=advice)
        )
    if not matched:
        raise not_found("target_modules", wanted, list(modules))
    return _adaptable(modules, matched, wanted)


def _all_linear(model: nn.Module, modules: Mapping[str, nn.Module]) -> Iterator[str]:
    getter = getattr(model, "get_output_embeddings", None)
    output = getter() if callable(getter) else None
    for name, module in modules.items():
        if module is output:
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
            got, expected = (
                type(modules[name]).__name__,
                "Linear, Conv2d, Embedding, or Conv1D of transformers",
            )
            raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem, got, expected))
    found = [name for name, kind in kinds.items() if kind is not None]
    if not found:
        problem = f"{wanted!r} matches no layer that can be adapted"
        got = ", ".join(sorted({type(modules[name]).__name__ for name in names}))
        expected = "Linear, Conv2d, Embedding, or Conv1D of transformers"
        raise TargetNotFoundError(
            Violation("E-TARGET-NOT-FOUND", "target_modules", problem, got, expected)
        )
    return found


def has_suffix(name: str, suffix: str) -> bool:
    """Whether a name ends in whole parts that are `suffix`."""
    return name == suffix or name.endswith(f".{suffix}")


def not_found(
    where: str,
    wanted: str,
    names: Sequence[str],
    problem: str = "no module of the model has this name",
) -> TargetNotFoundError:
    """Returns the error for a name that is `wanted`, with those of `names` that are near it."""
    endings = {name: name for name in names} | {name.rpartition(".")[2]: name for name in names}
    near = difflib.get_close_matches(wanted, endings, n=3)
    advice = f"did you mean {', '.join(near)}?" if near else "see model.named_modules() for names"
    return TargetNotFoundError(
        Violation("E-TARGET-NOT-FOUND", where, problem, wanted, advice=advice)
    )
