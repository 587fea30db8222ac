"""Measures the training of one adapted layer, all ways to adapt it in turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from experiments.cost.allocations import allocations
from experiments.cost.arms import Arm, Step, arms, layer
from experiments.cost.timing import in_turn
from experiments.trial import Context, Json
from fourier_trainers.torch.spectral import cost


def measured(
    width: int, tokens: int, sizes: Sequence[int], ranks: Sequence[int], rounds: int,
    context: Context,
) -> Json:  # fmt: skip
    """Returns for each arm seconds of each round, bytes, and the plan of computation.

    Args:
        width: Of the layer, (width, width).
        tokens: Of a step.
        sizes: n of FourierFT.
        ranks: Of LoRA.
        rounds: How often each arm is timed.
        context: Where it runs.
    """
    generator = torch.Generator().manual_seed(0)
    weight, x, gradient = (
        torch.randn(rows, width, generator=generator).to(context.device)
        for rows in (width, tokens, tokens)
    )
    weight /= width**0.5
    compared = arms(sizes, ranks)
    steps = {arm: Step(layer(arm, weight), x, gradient) for arm in compared}
    checkpoint: Path = context.folder / "rounds.json"
    seconds = in_turn(
        {arm.name: step for arm, step in steps.items()},
        rounds,
        checkpoint,
        context.step,
        wait=torch.cuda.synchronize if context.device == "cuda" else None,
    )
    found = [
        {
            "kind": arm.kind,
            "size": arm.size,
            "path": arm.path,
            "plan": _plan(arm, width, tokens, context.device),
            "seconds": seconds[arm.name],
            "bytes": allocations(arm, step, context.device),
        }
        for arm, step in steps.items()
    ]
    checkpoint.unlink()
    return {"arms": found}


def _plan(arm: Arm, width: int, tokens: int, device: str) -> list[str]:
    """Returns through what the three products go: output, gradients of input and coefficients."""
    if arm.kind != "fourier":
        return []
    routes = 2 * arm.size  # a cosine and a sine of each entry
    return list(
        cost.plan(
            arm.path, (width, width), routes, tokens, torch.device(device),
            x_gradient=True, separate=False,
        )
    )  # fmt: skip
