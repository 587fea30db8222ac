"""Trains an adapted decoder, epoch by epoch, with a checkpoint after each.

The order of batches, and the dropout where a model has one, are drawn from seed and epoch alone:
all methods see the same batches, and a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.causal.cutting import States
from experiments.causal.methods import put, trained
from experiments.causal.rows import IGNORED, Row, batch, batches
from experiments.memory import peak_bytes, start_peak
from experiments.trial import Json

_DIVERGED = 1e4  # nats, above every loss of a run that did not
_WARM_UP = 0.06  # of all steps (arXiv 2405.03003, table 9)


@dataclass(frozen=True, slots=True)
class Set:
    """Rows, and what the trained layers read of each where those below were computed before."""

    rows: list[Row]
    states: States | None

    def batch(self, chosen: Any, device: Any) -> Any:
        """Returns the batch of these rows."""
        states = None if self.states is None else [self.states[number] for number in chosen]
        return batch([self.rows[number] for number in chosen], device, states)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Attributes:
        rate: The highest rate.
        epochs: How many; after each, the loss of the choosing rows is taken.
        batch: Rows of a step.
        seed: Of the order of batches and the dropout.
        precision: "float32", or "bfloat16" for products under autocast; parameters stay float32.
        decay: Of weights, AdamW's.
        smoothing: Of labels, in training alone.
    """

    rate: float
    epochs: int
    batch: int
    seed: int
    precision: str
    decay: float = 0.0
    smoothing: float = 0.0


def train(
    model: nn.Module,
    recipe: Recipe,
    rows: Set,
    choose: Set,
    checkpoint: Path,
    step: Callable[[], None],
) -> Json:
    """Returns the history, and leaves the model with the parameters of its best epoch.

    The best epoch is the first with the lowest loss of the choosing rows, for every method. A run
    whose loss is no longer finite ends there, and says so under "diverged".
    """
    optimizer = torch.optim.AdamW(
        [value for value in model.parameters() if value.requires_grad],
        lr=recipe.rate,
        weight_decay=recipe.decay,
    )
    total = recipe.epochs * -(-len(rows.rows) // recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: _rate(done, total))
    device = next(model.parameters()).device
    state: dict[str, Any] = {"history": [], "best": None, "diverged": None}
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=False)
        put(model, state["parameters"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    start_peak(device.type)
    for epoch in range(len(state["history"]) + 1, recipe.epochs + 1):
        if state["diverged"] is not None:
            break
        seen = _epoch(model, optimizer, schedule, recipe, rows, epoch)
        found = loss_of(model, choose, recipe.precision)
        if seen["loss"] is None or not math.isfinite(found):
            state["diverged"], found = epoch, _DIVERGED
        peak = peak_bytes(device.type)
        state["history"].append({"epoch": epoch, **seen, "choose": found, "peak_bytes": peak})
        if state["best"] is None or found < state["best"]["choose"]:
            state["best"] = {"epoch": epoch, "choose": found, "parameters": trained(model)}
        state |= {
            "parameters": trained(model),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
        }
        partial = checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(checkpoint)
        step()
    put(model, state["best"]["parameters"])
    model.eval()
    result = {
        "history": state["history"],
        "epoch": state["best"]["epoch"],
        "choose_loss": state["best"]["choose"],
        "peak_bytes": max(epoch["peak_bytes"] for epoch in state["history"]),
    }
    return result if state["diverged"] is None else result | {"diverged": state["diverged"]}


@torch.no_grad()
def loss_of(model: nn.Module, given: Set, precision: str) -> float:
    """Returns the mean negative log-likelihood of a token of the answers, in nats."""
    _evaluate(model)
    device = next(model.parameters()).device
    lost = counted = 0.0
    for chosen in batches(given.rows, 8):
        logits, labels = answers(model, given.batch(chosen, device), precision)
        lost += functional.cross_entropy(logits, labels, reduction="sum").item()
        counted += len(labels)
    return lost / counted


def _evaluate(model: nn.Module) -> None:
    """Put the model into eval mode, all but its 4-bit layers.

    On a CPU bitsandbytes packs those for inference when it sees that mode, and they would give no
    right gradient in the next epoch.
    """
    model.eval()
    for module in model.modules():
        if hasattr(getattr(module, "weight", None), "quant_state"):
            module.train()


def answers(model: Any, given: Any, precision: str) -> tuple[Tensor, Tensor]:
    """Returns logits (tokens, vocabulary) in float32 and labels (tokens,) of a batch's answers.

    Only they go through the head, which is a third of the cost of a small model.
    """
    wanted = given.labels != IGNORED
    with _autocast(given.labels.device.type, precision):
        states = model.base_model(**given.inputs, use_cache=False).last_hidden_state
        logits = model.get_output_embeddings()(states[wanted])
    return logits.float(), given.labels[wanted]


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    recipe: Recipe,
    rows: Set,
    epoch: int,
) -> Json:
    model.train()
    torch.manual_seed(recipe.seed * 1000 + epoch)
    device = next(model.parameters()).device
    order = batches(rows.rows, recipe.batch, np.random.default_rng((recipe.seed, epoch)))
    losses, times = [], []
    start, start_cpu = time.perf_counter(), time.process_time()
    for chosen in order:
        began = time.perf_counter()
        logits, labels = answers(model, rows.batch(chosen, device), recipe.precision)
        loss = functional.cross_entropy(logits, labels, label_smoothing=recipe.smoothing)
        if not math.isfinite(loss.item()):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())  # waits for the device
        times.append(time.perf_counter() - began)
    return {
        "loss": sum(losses) / len(losses) if len(losses) == len(order) else None,
        "losses": [round(each, 4) for each in losses],
        "steps": len(losses),
        "step_seconds": round(statistics.median(times or [0.0]), 4),
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - start_cpu, 2),
    }


def _autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device, getattr(torch, precision))


def _rate(done: int, total: int) -> float:
    """Returns the part of the rate at a step: a linear rise, then a linear fall to zero."""
    rise = _WARM_UP * total
    return min((done + 1) / rise if rise else 1.0, (total - done) / (total - rise))
