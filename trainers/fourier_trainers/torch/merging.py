"""merge and unmerge: the active delta weights put into the base's weights, and taken out again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeVar, cast

import torch
from torch import nn

from fourier_format.errors import UnsupportedError, UsageError, Violation
from fourier_trainers.torch.adapted import Adapted, kind_of_adapted
from fourier_trainers.torch.coefficients import Coefficients, terms_of
from fourier_trainers.torch.layers import LayerKind, weight_of
from fourier_trainers.torch.spectral import arithmetic, functions
from fourier_trainers.torch.state import found_state, plain_name

M = TypeVar("M", bound=nn.Module)


def merge(model: M) -> M:
    """Put the active adapters' delta weights into the weights; the base's are kept beside them.

    Each sum is rounded once to the weight's dtype. While merged, a forward costs what the base's
    costs, nothing is trained, and state_dict holds the merged weights under the base's names.

    Returns:
        The same model.

    Raises:
        UsageError: Delta weights are merged already, or no adapter is active.
        UnsupportedError: A target's weight is packed or quantised.
    """
    root, state = found_state(model)
    found = [target for target in _targets(root) if target.members]
    if any(target.module.fourier.kept is not None for target in _targets(root)):
        raise UsageError(_violation("E-USAGE", "delta weights are merged already"))
    if not state.switch.active:
        raise UsageError(
            _violation("E-USAGE", "no adapter is active, so there is nothing to merge")
        )
    packed = [target.name for target in found if not target.kind.holds_weight()]
    if packed:
        problem = "its weight is packed or quantised, and cannot take a delta weight"
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem) for name in packed)
    with torch.no_grad():
        merged = [_merged(target) for target in found]
    for target, parameter in zip(found, merged, strict=True):
        module = target.module
        module.fourier.kept = (cast("nn.Parameter", weight_of(module)),)
        module.fourier.forget()
        module._parameters["weight"] = parameter  # noqa: SLF001 - past any property
    return model


def unmerge(model: M) -> M:
    """Put the base's own weights back, bit for bit.

    Returns:
        The same model.

    Raises:
        UsageError: Nothing is merged.
    """
    root, _ = found_state(model)
    kept = [(t.module, t.module.fourier.kept) for t in _targets(root)]
    if not any(originals for _, originals in kept):
        raise UsageError(_violation("E-USAGE", "nothing is merged"))
    for module, originals in kept:
        if originals is not None:
            module._parameters["weight"] = originals[0]  # noqa: SLF001 - past any property
            module.fourier.kept = None
    return model


class _Target(NamedTuple):
    """An adapted module, and its coefficients that are on."""

    name: str
    module: Adapted
    members: list[Coefficients]
    kind: LayerKind


def _merged(target: _Target) -> nn.Parameter:
    stored = weight_of(target.module)
    terms = terms_of(target.members, arithmetic.compute_dtype(stored.dtype))
    total = functions.summed(target.kind.canonical(stored), terms)
    return nn.Parameter(target.kind.stored(total, stored.shape), requires_grad=False)


def _targets(root: nn.Module) -> Iterator[_Target]:
    for name, module in root.named_modules():
        if isinstance(module, Adapted):
            adapters = module.fourier
            yield _Target(
                plain_name(name),
                module,
                adapters.active(adapters.switch.active),
                kind_of_adapted(module),
            )


def _violation(code: str, problem: str) -> Violation:
    return Violation(code, "model", problem)
