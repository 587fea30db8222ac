"""Cuts an encoder where training begins: below it nothing changes, so it is computed once.

Two exact savings. The states that frozen layers give are kept for every row (in eval mode: without
dropout). And a head that reads the first token alone needs nothing else of the last layer.
"""

from __future__ import annotations

import math
import types
from typing import Any

import torch
from torch import Tensor, nn

from experiments.cutting import Passed, read_by

_FIRST_TOKEN = ("BertLayer", "RobertaLayer")


def layers(model: nn.Module) -> nn.ModuleList:
    """Returns the encoder's layers, from the lowest."""
    found = model.base_model.encoder.layer  # type: ignore[union-attr]  # transformers' encoders
    assert isinstance(found, nn.ModuleList)
    return found


def cut(model: nn.Module, trained: int) -> None:
    """Make `model` start at its last `trained` layers: it takes their input as `inputs_embeds`.

    Modules keep their names. Of the last layer only the first token is computed.

    Raises:
        SystemExit: The encoder is neither BERT's nor RoBERTa's.
    """
    found = layers(model)
    kind = type(found[-1]).__name__
    if kind not in _FIRST_TOKEN:
        raise SystemExit(f"{kind} cannot be cut: set trained_layers to 0, which trains all layers")
    for number in range(len(found) - trained):
        found[number] = Passed()
    model.base_model.embeddings = Passed()  # type: ignore[union-attr]  # the same
    # On a CPU the backward pass of torch's fused attention took a third of a step.
    model.set_attn_implementation("eager")  # type: ignore[operator]  # transformers' own
    last = found[-1]
    last.forward = types.MethodType(_first_token, last)


def _first_token(
    layer: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any
) -> Tensor:
    """Returns what the layer gives for the first token: (rows, 1, width).

    `attention_mask` is (rows, 1, queries, tokens), added, of queries that are all alike.
    """
    self_attention = layer.attention.self
    first = hidden_states[:, :1]  # (rows, 1, width)

    def heads(states: Tensor) -> Tensor:  # (rows, tokens, width) -> (rows, heads, tokens, size)
        size = self_attention.attention_head_size
        split: Tensor = states.unflatten(-1, (-1, size))  # (rows, tokens, heads, size)
        return split.transpose(1, 2)

    query, keys = heads(self_attention.query(first)), heads(self_attention.key(hidden_states))
    scores = query @ keys.transpose(2, 3) / math.sqrt(query.shape[-1])  # (rows, heads, 1, tokens)
    if attention_mask is not None:
        scores = scores + attention_mask[:, :, :1]
    weights = self_attention.dropout(scores.softmax(-1, torch.float32).to(query.dtype))
    context = weights @ heads(self_attention.value(hidden_states))  # (rows, heads, 1, size)
    seen = layer.attention.output(context.transpose(1, 2).flatten(-2), first)
    result: Tensor = layer.output(layer.intermediate(seen), seen)
    return result


def lower_states(model: nn.Module, trained: int, batch: dict[str, Tensor]) -> Tensor:
    """Returns what the last `trained` layers of a whole model read: (rows, tokens, width)."""
    first = layers(model)[len(layers(model)) - trained]
    return read_by(first, lambda: model(**batch))
