"""The bytes of one training step of a layer: what is kept, what is saved, what comes and goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from experiments.cost.arms import Arm, Step
from experiments.memory import peak_bytes, start_peak
from experiments.trial import Json


def allocations(arm: Arm, step: Step, device: str) -> Json:
    """Returns bytes by kind, measured in steps of their own.

    `parameters`, `gradients` and `states` (AdamW's) are the trained numbers'. `shared` is what all
    targets with the same entries have in common. `saved` is kept from the forward to the backward
    pass, the layer's input too if it is. `peak` is the most that a step has at once on top of
    weights and input: output, gradient of the input, saved, temporary.
    """
    saved = _saved(step)
    trained = step.trained
    result = {
        "parameters": _bytes(trained),
        "gradients": _bytes(p.grad for p in trained if p.grad is not None),
        "states": _states(trained),
        "shared": _shared(arm, step),
        "saved": saved,
    }
    step.clear()
    return result | {"peak": _peak(step, device)}


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _saved(step: Step) -> int:
    """Returns what autograd keeps, weights and parameters left out; storages count once."""
    own = {p.untyped_storage().data_ptr() for p in step.module.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(kept.values())


def _states(trained: list[torch.nn.Parameter]) -> int:
    if not trained:
        return 0
    optimizer = torch.optim.AdamW(trained, lr=0.0)
    optimizer.step()
    return sum(_bytes(state.values()) for state in optimizer.state.values())


def _shared(arm: Arm, step: Step) -> int:
    if arm.kind != "fourier":
        return 0
    basis: Any = step.module.get_submodule("fourier.default").basis
    return _bytes(_tensors(basis.on(step.x.device, step.x.dtype)))


def _tensors(found: Any) -> Iterable[Tensor]:
    """Yields the tensors of nested tuples."""
    if isinstance(found, Tensor):
        yield found
        return
    for inner in found:
        yield from _tensors(inner)


def _peak(step: Callable[[], None], device: str) -> int:
    """Returns the most that torch holds at once during a step beyond what it held before."""
    if device == "cuda":
        start_peak(device)
        before = torch.cuda.memory_allocated()
        step()
        return peak_bytes(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    recorded: Any = profiled.profiler  # not typed; it has run
    events = recorded.kineto_results.events()
    moves = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = most = 0
    for _, size in moves:
        held += size
        most = max(most, held)
    return most
