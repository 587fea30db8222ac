"""Trains an adapted encoder, epoch by epoch, with a checkpoint after each.

Order of batches, dropout and the start of the head are drawn from seed and epoch alone: all methods
see the same batches, and a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import math
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

from experiments.memory import peak_bytes, start_peak
from experiments.text.models import Example, bucketed, padded, padding
from experiments.text.scoring import Numbers, predictions, score
from experiments.trial import Json

WARM_UP = 0.06  # of all steps (arXiv 2405.03003, table 9)
_EVALUATED = 64  # rows at a time
_DIVERGED = -1.0  # below every score of a run that did not


@dataclass(frozen=True, slots=True)
class Set:
    """Rows as a model reads them, with their labels (rows,)."""

    examples: list[Example]
    labels: Numbers


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: How many; after each, the choosing split is scored.
        batch: Rows of a step.
        seed: Of the order of batches and the dropout.
        metric: Of scoring.score.
        precision: "float32", or "bfloat16" for products under autocast; parameters stay float32.
    """

    epochs: int
    batch: int
    seed: int
    metric: str
    precision: str


def logits(model: nn.Module, examples: list[Example]) -> Numbers:
    """Returns what the model answers in eval mode: (rows, classes) in the order of `examples`."""
    model.eval()
    found: dict[int, Numbers] = {}
    with torch.no_grad():
        for chosen in bucketed(examples, _EVALUATED):
            answered = model(**_batch(model, examples, chosen)).logits.double().cpu().numpy()
            found |= dict(zip(chosen.tolist(), answered, strict=True))
    return np.stack([found[row] for row in range(len(examples))])


def train(
    model: nn.Module,
    groups: list[dict[str, Any]],
    recipe: Recipe,
    train: Set,
    choose: Set,
    checkpoint: Path,
    step: Callable[[], None],
) -> Json:
    """Returns the history, and leaves the model with the parameters of its best epoch.

    The best epoch is the first with the highest score of the choosing split, for every method. A
    run whose loss is no longer finite ends there, and says so under "diverged".
    """
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    total = recipe.epochs * -(-len(train.labels) // recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: _rate(done, total))
    device = next(model.parameters()).device
    state: dict[str, Any] = {"history": [], "best": None, "diverged": None}
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=False)
        _put(model, state["parameters"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    start_peak(device.type)
    for epoch in range(len(state["history"]) + 1, recipe.epochs + 1):
        if state["diverged"] is not None:
            break
        seen = _epoch(model, optimizer, schedule, recipe, train, epoch)
        answered = logits(model, choose.examples)
        if seen["loss"] is None or not np.isfinite(answered).all():
            state["diverged"] = epoch
            found = _DIVERGED
        else:
            found = score(recipe.metric, predictions(answered), choose.labels)
        peak = peak_bytes(device.type)
        state["history"].append({"epoch": epoch, **seen, "choose": found, "peak_bytes": peak})
        if state["best"] is None or found > state["best"]["choose"]:
            state["best"] = {"epoch": epoch, "choose": found, "parameters": _trained(model)}
        state |= {
            "parameters": _trained(model),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
        }
        partial = checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(checkpoint)
        step()
    _put(model, state["best"]["parameters"])
    model.eval()
    result = {
        "history": state["history"],
        "epoch": state["best"]["epoch"],
        "choose": state["best"]["choose"],
    }
    return result if state["diverged"] is None else result | {"diverged": state["diverged"]}


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    recipe: Recipe,
    train: Set,
    epoch: int,
) -> Json:
    model.train()
    generator = np.random.default_rng((recipe.seed, epoch))
    torch.manual_seed(recipe.seed * 1000 + epoch)
    losses = []
    start, start_cpu = time.perf_counter(), time.process_time()
    for chosen in bucketed(train.examples, recipe.batch, generator):
        batch = _batch(model, train.examples, chosen)
        labels = torch.from_numpy(train.labels[chosen]).to(batch["attention_mask"].device)
        with _autocast(labels.device.type, recipe.precision):
            answered = model(**batch).logits.float()
        loss = _loss(answered, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item() * len(chosen))
        if not math.isfinite(losses[-1]):
            break
    mean = sum(losses) / len(train.labels)
    return {
        "loss": mean if math.isfinite(mean) else None,
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - start_cpu, 2),
    }


def _loss(answered: Tensor, labels: Tensor) -> Tensor:
    """Returns cross entropy of (rows, classes), or the mean squared error of (rows, 1)."""
    if answered.shape[1] == 1:
        return functional.mse_loss(answered[:, 0], labels.float())
    return functional.cross_entropy(answered, labels.long())


def _batch(model: nn.Module, examples: list[Example], chosen: Any) -> dict[str, Tensor]:
    device = next(model.parameters()).device
    batch = padded([examples[row] for row in chosen], padding(model))
    return {name: value.to(device) for name, value in batch.items()}


def _autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device, getattr(torch, precision))


def _rate(done: int, total: int) -> float:
    """Returns the part of the rate at a step: a linear rise, then a linear fall to zero."""
    rise = WARM_UP * total
    return min(done / rise if rise else 1.0, (total - done) / (total - rise))


def _trained(model: nn.Module) -> dict[str, Tensor]:
    named = model.named_parameters()
    return {name: value.detach().clone() for name, value in named if value.requires_grad}


@torch.no_grad()
def _put(model: nn.Module, values: dict[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for name, value in values.items():
        parameters[name].copy_(value)
