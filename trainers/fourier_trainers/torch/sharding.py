"""Parameters that are sharded over ranks (DTensor): seen whole, and given values."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, distributed, nn

from fourier_format.errors import UsageError, Violation


def whole(tensor: Tensor) -> Tensor:
    """Returns all of a tensor, detached; of a sharded one, every rank has to ask for it."""
    full = getattr(tensor, "full_tensor", None)
    return tensor.detach() if full is None else cast("Tensor", full()).detach()


def is_sharded(module: nn.Module) -> bool:
    """Whether a parameter of `module` is sharded over ranks."""
    return any(is_distributed(parameter) for parameter in module.parameters())


def refuse_sharded(model: nn.Module) -> None:
    """Refuse to attach to a sharded model: its gradients would be no one's to add up.

    Raises:
        UsageError: A parameter is sharded.
    """
    if is_sharded(model):
        problem = "its parameters are sharded over ranks already"
        advice = "attach before fully_shard(model)"
        raise UsageError(Violation("E-USAGE", type(model).__name__, problem, advice=advice))


def may_be_sharded() -> bool:
    """Whether there are other processes to shard over; in a forward, tensors do not show it."""
    return distributed.is_available() and distributed.is_initialized()


def is_distributed(tensor: Tensor) -> bool:
    """Whether a tensor is one rank's part of a whole."""
    return hasattr(tensor, "full_tensor")


def shard_like(value: Tensor, parameter: nn.Parameter) -> Tensor:
    """Returns a whole `value` as `parameter` is: or the rank's part of rank 0's."""
    placed = whole(value).to(device=parameter.device, dtype=parameter.dtype)
    if not is_distributed(parameter):
        return placed
    from torch.distributed.tensor import distribute_tensor

    like = cast("Any", parameter)
    return distribute_tensor(placed, like.device_mesh, like.placements)
