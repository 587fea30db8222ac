"""capture: an attached model -> Adapter, with fingerprints of its base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import ml_dtypes
import numpy as np
import torch
from torch import Tensor, nn

from fourier_format.adapter import Adapter, Array
from fourier_format.assembly import Piece
from fourier_format.errors import BaseMismatchError, UsageError, Violation
from fourier_format.fingerprint import Fingerprint, fingerprint
from fourier_trainers.captured import adapter_of
from fourier_trainers.drawing import recipe_of
from fourier_trainers.torch import buffers
from fourier_trainers.torch.adapted import Adapted, kind_of_adapted
from fourier_trainers.torch.coefficients import Coefficients
from fourier_trainers.torch.layers import LayerKind, weight_of
from fourier_trainers.torch.sharding import whole
from fourier_trainers.torch.state import (
    Attached,
    State,
    base_parameters,
    found_state,
    is_same,
    module_of,
    named,
    refresh,
    witness,
)


def capture(
    model: nn.Module, name: str | None = None, *, metadata: Mapping[str, Any] | None = None
) -> Adapter:
    """Returns what was trained, as an adapter; `fourier_format.save` makes it a file.

    The adapter stays what it is while the model trains on. It warns of buffers that have changed,
    such as the running means of batch norm, which an adapter does not hold. Where parameters are
    sharded (FSDP2), every rank has to call it.

    Args:
        model: An attached model, or one in which it is wrapped.
        name: The adapter; None means the only one, or the active one.
        metadata: Free JSON to put into the file.

    Raises:
        BaseMismatchError: A target's base weight has changed since the adapter was attached, or
            parameters of the base that would not be in the adapter.
        InvalidAdapterError: A coefficient is not finite.
        UsageError: There is no such adapter, or its values are on the meta device.
    """
    root, state = found_state(model)
    refresh(root, state)
    chosen, record = named(state, name)
    _refuse_lost(root, state)
    pieces = [_piece(root, state, record, chosen, target) for target in record.targets]
    adapter = adapter_of(
        pieces,
        {k: to_numpy(whole(v)).copy() for k, v in record.whole.items()},
        record.config,
        record.source,
        base_model=_base_model(root),
        labels=_labels(root, record),
        metadata=metadata,
    )
    buffers.warn_if_changed(root, state.buffers)
    return adapter


def to_numpy(tensor: Tensor) -> Array:
    """Returns the values of a tensor, in its own memory on the CPU; bfloat16 is ml_dtypes'."""
    values = tensor.detach().cpu().contiguous()
    if values.dtype == torch.bfloat16:
        return values.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return values.numpy()


def base_fingerprint(module: nn.Module, kind: LayerKind, name: str) -> Fingerprint | None:
    """Returns the fingerprint of a target's base weight; None where it is packed or quantised."""
    if not kind.holds_weight():
        return None
    stored = whole(_base_weight(module))
    return fingerprint(to_numpy(kind.canonical(stored)), name)


def _piece(root: nn.Module, state: State, record: Attached, chosen: str, target: str) -> Piece:
    module = cast("Adapted", module_of(root, target))
    kind = kind_of_adapted(module)
    _refuse_changed(state, module, kind, target)
    member = cast("Coefficients", module.fourier[chosen])
    alpha = record.alphas[target]
    basis = member.basis
    return Piece(
        name=target,
        kind=kind.kind,
        shape=basis.shape,
        entries=np.asarray(basis.entries),
        coefficients=_coefficients(member),
        alpha=None if alpha == record.config.alpha else float(alpha),
        sampling=_recipe(record, target, basis.shape),
        fingerprint=base_fingerprint(module, kind, target),
    )


def _coefficients(member: Coefficients) -> Array:
    values = whole(member.coefficients)
    if member.gain == 1:
        single = values if values.dtype != torch.float64 else values.float()
        return to_numpy(single)
    return to_numpy((values.double() * member.gain).float())


def _recipe(record: Attached, target: str, shape: tuple[int, int]) -> Any:
    if record.source is None:
        return recipe_of(record.config, shape)
    return record.source.entry_set(record.source.target(target)).sampling


def _refuse_changed(state: State, module: nn.Module, kind: LayerKind, target: str) -> None:
    then = state.witnesses.get(target)
    if then is None:
        return
    now = witness(kind.canonical(whole(_base_weight(module))))
    if now is None or not is_same(then, now):
        problem = "its base weight is not the one that the adapter was attached to"
        advice = "attach after the base is loaded, and train nothing else of it but modules_to_save"
        raise BaseMismatchError(Violation("E-BASE-MISMATCH", target, problem, advice=advice))


def _refuse_lost(root: nn.Module, state: State) -> None:
    """Refuse to leave out what is trained beside the adapter, or has no values."""
    own = {id(p) for record in state.adapters.values() for p in record.whole.values()}
    lost = [n for n, p in base_parameters(root) if p.requires_grad and id(p) not in own]
    if lost:
        problem = "this parameter of the base is trained, and would not be in the adapter"
        advice = "name its module in modules_to_save, or freeze it"
        raise BaseMismatchError(
            Violation("E-BASE-MISMATCH", name, problem, advice=advice) for name in lost
        )
    meta = [n for n, p in root.named_parameters() if p.device.type == "meta"]
    if meta:
        problem, advice = "it is on the meta device and has no values", "load the model first"
        raise UsageError(Violation("E-USAGE", meta[0], problem, advice=advice))


def _base_weight(module: nn.Module) -> Tensor:
    kept = module.fourier.kept if isinstance(module, Adapted) else None
    return weight_of(module) if kept is None else kept[0]


def _base_model(root: nn.Module) -> dict[str, str] | None:
    config = getattr(root, "config", None)
    stated = {
        "name": getattr(config, "_name_or_path", None),
        "model_type": getattr(config, "model_type", None),
    }
    return {k: v for k, v in stated.items() if isinstance(v, str) and v} or None


def _labels(root: nn.Module, record: Attached) -> tuple[str, ...] | None:
    names = getattr(getattr(root, "config", None), "id2label", None)
    if not record.whole or not isinstance(names, Mapping) or set(names) != set(range(len(names))):
        return None
    return tuple(str(names[k]) for k in range(len(names)))
