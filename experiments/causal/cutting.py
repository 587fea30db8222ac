"""Cuts a decoder where training begins, and keeps what the frozen layers below it give."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments import code
from experiments.causal.models import identity, kind, layers, new_model, width
from experiments.causal.rows import Row, batch, batches
from experiments.cutting import Passed, read_by
from experiments.states import Parts, States, kept_rows

_CUT = ("llama",)


def cut(model: nn.Module, trained: int) -> None:
    """Make `model` start at its last `trained` layers: it takes their input as `inputs_embeds`.

    Modules keep their names.

    Raises:
        SystemExit: The model is not of Llama's kind.
    """
    config: Any = model.config
    _refuse(str(config.model_type))
    found = layers(model)
    for number in range(len(found) - trained):
        found[number] = Passed()


def _refuse(kind: str) -> None:
    """Refuse a decoder that does more than its layers do to what it is given as `inputs_embeds`.

    GPT-2 adds the embeddings of positions to it.
    """
    if kind not in _CUT:
        raise SystemExit(f"a decoder of kind {kind!r} cannot be cut: set trained_layers to 0")


def states(name: str, rows: Sequence[Row], trained: int, shared: Path, device: str) -> list[States]:
    """Returns for each row what the last `trained` layers of model `name` read of it.

    Float32 arrays (tokens, width), views of one file that processes share.

    Raises:
        SystemExit: The model is not of Llama's kind.
    """
    _refuse(kind(name, shared))
    given = [(each.tokens.tolist(), each.part.tolist()) for each in rows]
    text = repr((identity(name, shared), trained, given, device, code.of(__file__)))
    path = shared / "states" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.npy"

    def compute() -> Parts:
        model: Any = new_model(name, shared).to(device)
        first = layers(model)[len(layers(model)) - trained]
        for chosen in batches(rows, 8):
            inputs = batch([rows[number] for number in chosen], torch.device(device)).inputs
            found = read_by(first, partial(model.base_model, **inputs, use_cache=False))
            yield chosen, found.cpu().numpy()

    return kept_rows(path, [len(each.tokens) for each in rows], width(name, shared), compute)
