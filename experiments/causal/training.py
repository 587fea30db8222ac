"""Trains an adapted decoder on prompts and their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.causal.rows import IGNORED, Integers, Row, batch, batches
from experiments.states import States
from experiments.training import Loop, autocast, fit
from experiments.trial import Json


@dataclass(frozen=True, slots=True)
class Set:
    """Rows, and what the trained layers read of each where those below were computed before."""

    rows: list[Row]
    states: list[States] | None

    def batch(self, chosen: Any, device: Any) -> Any:
        """Returns the batch of these rows."""
        states = None if self.states is None else [self.states[number] for number in chosen]
        return batch([self.rows[number] for number in chosen], device, states)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Attributes:
        rate: The highest rate.
        epochs: How many; after each, the loss of the choosing rows is taken, in float32.
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
    """Returns the history of training.fit, with the number of steps and the loss of each.

    "choose" is the mean loss of the choosing rows, negated, and "choose_loss" the lowest such loss.
    """
    device = next(model.parameters()).device
    losses: list[Tensor] = []

    def loss(chosen: Any) -> Tensor:
        logits, labels = answers(model, rows.batch(chosen, device), recipe.precision)
        found = functional.cross_entropy(logits, labels, label_smoothing=recipe.smoothing)
        losses.append(found.detach())
        return found

    def told() -> Json:
        each = [round(float(value), 4) for value in losses if value.isfinite()]
        losses.clear()
        return {"losses": each, "steps": len(each)}

    parameters = [value for value in model.parameters() if value.requires_grad]
    groups = [{"params": parameters, "lr": recipe.rate, "weight_decay": recipe.decay}]
    loop = Loop(
        recipe.epochs,
        _shuffled(rows.rows, recipe),
        loss,
        lambda: -loss_of(model, choose),
        recipe.seed,
        told,
    )
    result = fit(model, groups, loop, checkpoint, step)
    return result | {"choose_loss": -result["choose"]}


def _shuffled(rows: Sequence[Row], recipe: Recipe) -> Callable[[int], list[Integers]]:
    """Returns what draws the batches of an epoch, of rows of about one length."""

    def of_epoch(epoch: int) -> list[Integers]:
        return batches(rows, recipe.batch, np.random.default_rng((recipe.seed, epoch)))

    return of_epoch


@torch.no_grad()
def loss_of(model: nn.Module, given: Set) -> float:
    """Returns the mean negative log-likelihood of a token of the answers, in nats, in float32."""
    _evaluate(model)
    device = next(model.parameters()).device
    lost = counted = 0.0
    for chosen in batches(given.rows, 8):
        logits, labels = answers(model, given.batch(chosen, device), "float32")
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
    with autocast(given.labels.device.type, precision):
        states = model.base_model(**given.inputs, use_cache=False).last_hidden_state
        logits = model.get_output_embeddings()(states[wanted])
    return logits.float(), given.labels[wanted]
