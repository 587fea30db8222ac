"""Pretrained encoders: where they are, with a head that knows nothing, and their tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from experiments.fixed import ATTENTION_DROPOUT
from experiments.pretrained import pretrained
from experiments.text.tasks import Rows, Task

Batch = dict[str, Tensor]
Example = dict[str, npt.NDArray[Any]]
"""What a model reads of one row: name of an argument -> (tokens,) or (tokens, width)."""


def new_model(name: str, task: Task, seed: int) -> nn.Module:
    """Returns the model in eval mode, with a head for `task` that the seed alone decides."""
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    model: nn.Module = pretrained(
        AutoModelForSequenceClassification,
        name,
        num_labels=max(1, task.classes),
        dtype=torch.float32,
        attention_probs_dropout_prob=ATTENTION_DROPOUT,
    )
    return model.eval()


def tokens(name: str, rows: Rows, length: int) -> list[Example]:
    """Returns each row's tokens, at most `length` of them."""
    from transformers import AutoTokenizer

    tokenizer = pretrained(AutoTokenizer, name)
    found = tokenizer(rows.first, rows.second, truncation=True, max_length=length)
    names = [name for name in found if name != "attention_mask"]
    return [
        {name: np.asarray(found[name][row], np.int64) for name in names} for row in range(len(rows))
    ]


def padding(model: nn.Module) -> int:
    """Returns the token that a model is padded with."""
    config: Any = model.config
    return int(config.pad_token_id)


def padded(examples: list[Example], token: int) -> Batch:
    """Returns a batch, padded on the right, with its attention mask (rows, tokens)."""
    lengths = [len(next(iter(example.values()))) for example in examples]
    longest = max(lengths)
    batch: Batch = {}
    for name, first in examples[0].items():
        value = token if name == "input_ids" else 0
        shape = (len(examples), longest, *first.shape[1:])
        filled = np.full(shape, value, np.float32 if first.dtype.kind == "f" else np.int64)
        for row, example in enumerate(examples):
            filled[row, : lengths[row]] = example[name]
        batch[name] = torch.from_numpy(filled)
    mask = np.arange(longest) < np.array(lengths)[:, None]  # (rows, tokens)
    return batch | {"attention_mask": torch.from_numpy(mask.astype(np.int64))}


def bucketed(
    examples: list[Example], size: int, generator: np.random.Generator | None = None
) -> list[npt.NDArray[np.int64]]:
    """Returns batches of rows of about one length.

    Shuffled by `generator`, which gives the same batches whatever is trained; else the shortest
    come first.
    """
    lengths = np.array([len(next(iter(example.values()))) for example in examples], np.float64)
    if generator is None:
        order = np.argsort(lengths, kind="stable")
    else:
        order = np.argsort(lengths + generator.uniform(0, 8, len(lengths)), kind="stable")
    batches = [order[k : k + size] for k in range(0, len(order), size)]
    if generator is not None:
        generator.shuffle(batches)  # a list is shuffled in place
    return batches
