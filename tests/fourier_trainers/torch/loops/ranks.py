"""What each rank runs under torchrun: python -m torch.distributed.run ... ranks.py FOLDER.

Rank 0 leaves what came of it in FOLDER, one file for each way.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as checkpoint_state
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import fourier_format
from fourier_format.errors import UsageError
from fourier_trainers.torch import (
    active,
    attach,
    capture,
    load_trained_state,
    parameter_groups,
    set_active,
    trained_state,
)
from fourier_trainers.torch.coefficients import Adapters
from tests.fourier_trainers.torch.loops import small

STEPS, AT = 8, 3


class Loop:
    """One loop for one process and for several: each rank takes its part of a batch."""

    def __init__(self, model: Any, part: slice = slice(None)) -> None:
        self.model, self.part = model, part
        self.optimizer = torch.optim.AdamW(parameter_groups(model, lr=0.05), eps=1e-6)

    def steps(self, first: int, last: int) -> None:
        for tokens, labels in itertools.islice(small.batches(), first, last):
            self.optimizer.zero_grad()
            logits = self.model(tokens[self.part])
            torch.autograd.backward(nn.functional.cross_entropy(logits, labels[self.part]))
            self.optimizer.step()

    def outputs(self) -> Tensor:
        """Return what the model computes for all rows when it is used."""
        with torch.no_grad():
            y: Tensor = self.model(small.rows()[0])
        return y

    def results(self) -> dict[str, Any]:
        """Return all that is compared; every rank has to call it."""
        adapter = fourier_format.to_bytes(capture(self.model))  # first: it asks no other for help
        state = trained_state(self.model)
        self.model.eval()
        return {"state": state, "adapter": adapter, "outputs": self.outputs()}


def alone() -> dict[str, Any]:
    """Return what one process makes of whole batches."""
    loop = Loop(small.attached())
    loop.steps(0, STEPS)
    return loop.results()


def sharded(model: Any) -> Any:
    """Return the model, sharded block by block."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def replicated(model: Any) -> Any:
    return DistributedDataParallel(model)


def straight(wrap: Callable[[Any], Any]) -> dict[str, Any]:
    loop = Loop(wrap(small.attached()), _part())
    loop.steps(0, STEPS)
    return loop.results()


def interrupted(wrap: Callable[[Any], Any]) -> dict[str, Any]:
    """Train, save, and go on with another model and optimizer."""
    before = Loop(wrap(small.attached()), _part())
    before.steps(0, AT)
    state = trained_state(before.model)
    optimizer = checkpoint_state.get_optimizer_state_dict(before.model, before.optimizer)

    after = Loop(wrap(small.attached()), _part())
    load_trained_state(after.model, state)
    checkpoint_state.set_optimizer_state_dict(after.model, after.optimizer, optimizer)
    after.steps(AT, STEPS)
    return after.results()


def used_between() -> dict[str, Any]:
    """Use the model between steps that it takes in eval mode, where sums are cached."""
    loop = Loop(sharded(small.attached()).eval(), _part())
    loop.steps(0, AT)
    stale = loop.outputs()
    loop.steps(AT, STEPS)
    outputs = loop.outputs()
    assert not torch.allclose(stale, outputs)
    held = [m for m in loop.model.modules() if isinstance(m, Adapters) and m._cache is not None]
    return loop.results() | {"outputs": outputs, "held": len(held)}


def from_meta() -> dict[str, Any]:
    """Attach without any values, shard, and only then load the base: coefficients start alone."""
    with torch.device("meta"):
        model: Any = small.Classifier()
    sharded(attach(model, small.CONFIG))
    model.to_empty(device="cpu")
    torch.manual_seed(0)
    base = small.Classifier().state_dict()
    options = checkpoint_state.StateDictOptions(full_state_dict=True, strict=False)
    checkpoint_state.set_model_state_dict(model, base, options=options)
    loop = Loop(model, _part())
    loop.steps(0, STEPS)
    return loop.results()


def refusals() -> dict[str, Any]:
    """Return what is said about what cannot be done to a sharded model."""
    model = sharded(attach(small.attached(), small.CONFIG, "second"))
    torch.manual_seed(0)
    plain = sharded(small.Classifier())
    set_active(model, "second")
    return {
        "set_active": _said(lambda: set_active(model, "default")),
        "attach": _said(lambda: attach(plain, small.CONFIG)),
        "active": active(model),
    }


def _said(act: Callable[[], Any]) -> str:
    try:
        act()
    except UsageError as error:
        return str(error)
    return "nothing"


WAYS: dict[str, Callable[[], dict[str, Any]]] = {
    "ddp": lambda: straight(replicated),
    "ddp-interrupted": lambda: interrupted(replicated),
    "fsdp": lambda: straight(sharded),
    "fsdp-interrupted": lambda: interrupted(sharded),
    "fsdp-used": used_between,
    "fsdp-meta": from_meta,
    "refusals": refusals,
}


def _part() -> slice:
    size = 8 // dist.get_world_size()
    return slice(dist.get_rank() * size, (dist.get_rank() + 1) * size)


def main(folder: Path) -> None:
    """Go all ways."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    for name, way in WAYS.items():
        results = way()
        if dist.get_rank() == 0:
            torch.save(results, folder / f"{name}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
