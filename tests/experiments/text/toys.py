"""A small BERT and rows for it."""

from __future__ import annotations

import numpy as np
import torch
import transformers
from torch import nn

from experiments.text.training import Set


def model(seed: int = 0, classes: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=32,
        num_labels=classes,
    )
    made: nn.Module = transformers.BertForSequenceClassification(config)
    return made


def rows(count: int = 40) -> Set:
    """Returns rows whose first token says the class."""
    drawn = np.random.default_rng(0)
    labels = drawn.integers(0, 2, count)
    examples = [
        {"input_ids": np.array([label + 5, *drawn.integers(10, 40, drawn.integers(2, 12))])}
        for label in labels
    ]
    return Set(examples, labels.astype(np.float64))


TARGETS = [
    f"bert.encoder.layer.{number}.attention.self.{name}"
    for number in (0, 1)
    for name in ("query", "value")
]
