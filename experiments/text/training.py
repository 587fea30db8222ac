"""Trains an adapted encoder on labelled rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.text.models import Example, bucketed, padded, padding
from experiments.text.scoring import Numbers, predictions, score
from experiments.training import Loop, autocast, fit
from experiments.trial import Json

_EVALUATED = 64  # rows at a time


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
    """Returns the history of training.fit, and leaves the model as it was after its best epoch."""

    def loss(chosen: Any) -> Tensor:
        batch = _batch(model, train.examples, chosen)
        labels = torch.from_numpy(train.labels[chosen]).to(batch["attention_mask"].device)
        with autocast(labels.device.type, recipe.precision):
            answered = model(**batch).logits.float()
        return _loss(answered, labels)

    def scored() -> float:
        answered = logits(model, choose.examples)
        if not np.isfinite(answered).all():
            return math.nan
        return score(recipe.metric, predictions(answered), choose.labels)

    def batches(epoch: int) -> list[Any]:
        return bucketed(train.examples, recipe.batch, np.random.default_rng((recipe.seed, epoch)))

    loop = Loop(recipe.epochs, batches, loss, scored, recipe.seed)
    return fit(model, groups, loop, checkpoint, step)


def _loss(answered: Tensor, labels: Tensor) -> Tensor:
    """Returns cross entropy of (rows, classes), or the mean squared error of (rows, 1)."""
    if answered.shape[1] == 1:
        return functional.mse_loss(answered[:, 0], labels.float())
    return functional.cross_entropy(answered, labels.long())


def _batch(model: nn.Module, examples: list[Example], chosen: Any) -> dict[str, Tensor]:
    device = next(model.parameters()).device
    batch = padded([examples[row] for row in chosen], padding(model))
    return {name: value.to(device) for name, value in batch.items()}
