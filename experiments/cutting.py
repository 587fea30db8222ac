"""What it takes to cut an encoder or a decoder: modules that pass on, and what a layer reads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn


class Passed(nn.Module):
    """Stands where frozen layers or embeddings were; gives what it gets."""

    def forward(self, states: Tensor | None = None, *_: Any, **named: Any) -> Any:
        """Returns `states`, which embeddings are given as `inputs_embeds`."""
        return named.get("inputs_embeds") if states is None else states


@torch.no_grad()
def read_by(layer: nn.Module, run: Callable[[], object]) -> Tensor:
    """Returns what `layer` reads as `run` runs its model: (rows, tokens, width).

    Neither it nor what stands above it is computed.
    """
    read: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        read.append(inputs[0])
        raise _Reached

    with layer.register_forward_pre_hook(keep), suppress(_Reached):
        run()
    return read[0]


class _Reached(Exception):  # noqa: N818  # not an error: the layers above are not wanted
    pass
