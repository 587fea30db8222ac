"""Trains what is given as functions, epoch by epoch, with a checkpoint after each.

The batches of an epoch hang on seed and epoch alone: all methods see the same ones, and a run that
was killed goes on as if it had not been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from experiments.fixed import WARM_UP
from experiments.locking import whole
from experiments.memory import peak_bytes, start_peak
from experiments.trial import Json

DIVERGED = -1e4  # below every score of a run that did not

Order = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Loop:
    """What is trained on what, and how it is scored.

    Attributes:
        epochs: How many; after each, `choose` is called.
        batches: Epoch from 1 -> the rows of each of its steps, as many in every epoch.
        loss: Rows -> the mean loss of these rows.
        choose: The score, higher is better, that tells which epoch was best; in eval mode. One that
            is not finite ends the run, as such a loss does.
        seed: Of what is drawn in training, such as dropout.
        told: What else the history is to hold of the epoch that has just ended.
    """

    epochs: int
    batches: Callable[[int], Sequence[Order]]
    loss: Callable[[Order], Tensor]
    choose: Callable[[], float]
    seed: int
    told: Callable[[], Json] = dict


def shuffled(rows: int, size: int, seed: int) -> Callable[[int], list[Order]]:
    """Returns what draws the batches of an epoch: all of `rows`, `size` at a time."""

    def batches(epoch: int) -> list[Order]:
        order = np.random.default_rng((seed, epoch)).permutation(rows)
        return [order[start : start + size] for start in range(0, rows, size)]

    return batches


def fit(
    model: nn.Module,
    groups: list[dict[str, Any]],
    loop: Loop,
    checkpoint: Path,
    step: Callable[[], None],
) -> Json:
    """Returns the history, and leaves the model with the parameters of its best epoch.

    The best epoch is the first with the highest score, for every method. AdamW, with a linear rise
    and a linear fall of the rates that `groups` have; they may have a weight decay, too. A run
    whose loss is no longer finite ends there, and says so under "diverged".
    """
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    total = loop.epochs * len(loop.batches(1))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: _rate(done, total))
    state: dict[str, Any] = {"history": [], "best": None, "diverged": None}
    device = next(model.parameters()).device
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=False)
        put(model, state["parameters"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    for epoch in range(len(state["history"]) + 1, loop.epochs + 1):
        if state["diverged"] is not None:
            break
        start_peak(device.type)
        seen = _epoch(model, optimizer, schedule, loop, epoch)
        peak = peak_bytes(device.type)
        model.eval()
        found = math.nan if seen["loss"] is None else loop.choose()
        if not math.isfinite(found):
            state["diverged"], found = epoch, DIVERGED
        state["history"].append({"epoch": epoch, **seen, "choose": found, "peak_bytes": peak})
        if state["best"] is None or found > state["best"]["choose"]:
            state["best"] = {"epoch": epoch, "choose": found, "parameters": trained(model)}
        state |= {
            "parameters": trained(model),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
        }
        with whole(checkpoint) as partial:
            torch.save(state, partial)
        step()
    put(model, state["best"]["parameters"])
    model.eval()
    return _told(state)


def _told(state: dict[str, Any]) -> Json:
    """Returns what a finished training says of itself."""
    best = state["best"]
    result = {
        "history": state["history"],
        "epoch": best["epoch"],
        "choose": best["choose"],
    }
    return result if state["diverged"] is None else result | {"diverged": state["diverged"]}


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """Returns the context of products in `precision`: "float32" or "bfloat16"."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device, getattr(torch, precision))


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    loop: Loop,
    epoch: int,
) -> Json:
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001  # torch names none
            module.eval()  # running statistics are no part of an adapter
    torch.manual_seed(loop.seed * 1000 + epoch)
    losses, rows = 0.0, 0
    start, start_cpu = time.perf_counter(), time.process_time()
    for chosen in loop.batches(epoch):
        loss = loop.loss(chosen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses += loss.item() * len(chosen)
        rows += len(chosen)
        if not math.isfinite(losses):
            break
    return {
        "loss": losses / rows if math.isfinite(losses) else None,
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - start_cpu, 2),
        **loop.told(),
    }


def _rate(done: int, total: int) -> float:
    """Returns the part of the rate at a step: a linear rise from zero, then a linear fall to it."""
    rise = WARM_UP * total
    return min(done / max(1.0, rise), (total - done) / (total - rise))


def trained(model: nn.Module) -> dict[str, Tensor]:
    """Returns copies of the parameters that are trained, by name."""
    named = model.named_parameters()
    return {name: value.detach().clone() for name, value in named if value.requires_grad}


@torch.no_grad()
def put(model: nn.Module, values: dict[str, Tensor]) -> None:
    """Set parameters by name."""
    parameters = dict(model.named_parameters())
    for name, value in values.items():
        parameters[name].copy_(value)
