"""What lies below the adapted layers of a Vision Transformer is computed once for all trials.

Two exact savings, as for encoders of text: the states that frozen layers give are kept for every
image, and of the last layer only the first token is computed, which alone the head reads.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments import code
from experiments.images.data import Images, values
from experiments.states import States, kept

_COMPUTED = 128  # images at a time


def layers(model: nn.Module) -> nn.ModuleList:
    """Returns the layers of a ViTForImageClassification, from the lowest."""
    found = model.vit.layers  # type: ignore[union-attr]  # transformers' name
    assert isinstance(found, nn.ModuleList)
    return found


def targets(model: nn.Module, trained: int) -> list[str]:
    """Returns the names of the query and value layers of the last `trained` layers."""
    first = len(layers(model)) - trained
    numbers = range(first, first + trained)
    return [f"vit.layers.{k}.attention.{part}_proj" for k in numbers for part in ("q", "v")]


def answer(model: Any, states: Tensor, trained: int) -> Tensor:
    """Returns the logits of states (images, tokens, width) that the last `trained` layers read.

    With 0 layers the states are those of the last one, and the first token is enough.
    """
    above = list(layers(model))[len(layers(model)) - trained :]
    for layer in above[:-1]:
        states = layer(states)
    if above:
        states = _first_token(above[-1], states)
    logits: Tensor = model.classifier(model.vit.layernorm(states)[:, 0])
    return logits


def _first_token(layer: Any, states: Tensor) -> Tensor:
    """Returns what a layer gives for the first token: (images, 1, width); without dropout."""
    attention = layer.attention
    normed = layer.layernorm_before(states)

    def heads(found: Tensor) -> Tensor:  # (images, tokens, width) -> (images, heads, tokens, size)
        split: Tensor = found.unflatten(-1, (-1, attention.head_dim))
        return split.transpose(1, 2)

    context = functional.scaled_dot_product_attention(
        heads(attention.q_proj(normed[:, :1])),
        heads(attention.k_proj(normed)),
        heads(attention.v_proj(normed)),
    )
    seen = states[:, :1] + attention.o_proj(context.transpose(1, 2).flatten(-2))
    result: Tensor = seen + layer.mlp(layer.layernorm_after(seen))
    return result


def states(model: nn.Module, images: Images, trained: int, shared: Path) -> States:
    """Returns (images, tokens, width) float32 that the last `trained` layers read of each image.

    A file in `shared`, mapped; base, images and this code are its name. With 0 layers the first
    token of the last layer's output.
    """
    path = shared / "states" / f"{_digest(model, images, trained)}.npy"
    config: Any = model.config
    tokens = 1 + (config.image_size // config.patch_size) ** 2 if trained else 1
    shape = (len(images), tokens, config.hidden_size)
    return kept(path, shape, lambda file: _compute(file, model, images, trained))


def _digest(model: nn.Module, images: Images, trained: int) -> str:
    digest = hashlib.sha256(f"{trained} {code.of(__file__)}".encode())
    for name, value in sorted(model.state_dict().items()):
        if not name.startswith("classifier."):
            digest.update(name.encode() + value.cpu().numpy().tobytes())
    digest.update(images.pixels.tobytes())
    return digest.hexdigest()[:16]


@torch.no_grad()
def _compute(file: States, model: Any, images: Images, trained: int) -> None:
    config = model.config
    device = next(model.parameters()).device
    for start in range(0, len(images), _COMPUTED):
        rows = np.arange(start, min(start + _COMPUTED, len(images)))
        given = values(images, rows, config.image_size, config.num_channels).to(device)
        found = model.vit.embeddings(given)  # (rows, tokens, width)
        for layer in list(layers(model))[: len(layers(model)) - trained]:
            found = layer(found)
        file[rows] = found[:, : file.shape[1]].cpu().numpy()
