"""What a model of any sort answers, and how good that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.architectures.examples import IGNORED, Examples
from experiments.trial import Json

_ANSWERED = 16  # rows at a time


def batches(examples: Examples) -> Iterator[Examples]:
    """Gives all examples, 16 at a time."""
    for start in range(0, len(examples), _ANSWERED):
        yield examples.at(np.arange(start, min(start + _ANSWERED, len(examples))))


def logits(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """Returns (rows, classes) or (rows, tokens, classes), float32.

    Models take their inputs by name; transformers wraps the answer.
    """
    device = next(model.parameters()).device
    given = {name: value.to(device) for name, value in inputs.items()}
    found = model(**given)
    answered: Tensor = getattr(found, "logits", found)
    return answered.float()


def loss(model: nn.Module, examples: Examples) -> Tensor:
    """Returns the mean cross entropy of what counts."""
    answered = logits(model, examples.inputs)
    labels = examples.labels.to(answered.device).flatten()
    return functional.cross_entropy(answered.flatten(0, -2), labels, ignore_index=IGNORED)


@torch.no_grad()
def scores(model: nn.Module, examples: Examples) -> Json:
    """Returns mean cross entropy in nats and accuracy, of rows or of their next tokens."""
    model.eval()
    total, right, count = 0.0, 0, 0
    for batch in batches(examples):
        answered = logits(model, batch.inputs).flatten(0, -2)  # (answers, classes)
        labels = batch.labels.to(answered.device).flatten()
        total += functional.cross_entropy(
            answered, labels, ignore_index=IGNORED, reduction="sum"
        ).item()
        right += int((answered.argmax(1) == labels).sum())
        count += int((labels != IGNORED).sum())
    return {"loss": total / count, "accuracy": right / count}


def answers(model: nn.Module, batch: Examples) -> npt.NDArray[np.float64]:
    """Returns the logits of a batch in eval mode, without gradients."""
    model.eval()
    with torch.no_grad():
        return logits(model, batch.inputs).double().cpu().numpy()
