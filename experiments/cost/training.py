"""Measures the training of one adapted layer, all ways to adapt it in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from experiments.cost.allocations import allocations
from experiments.cost.arms import Arm, Step, arms, layer
from experiments.cost.timing import Job, in_turn
from experiments.trial import Context, Json


def measured(
    width: int, tokens: int, sizes: Sequence[int], ranks: Sequence[int], rounds: int,
    context: Context,
) -> Json:  # fmt: skip
    """Returns for each arm seconds of each round, bytes, and the plan of computation.

    `seconds` are those of forward and backward, `update` those of AdamW's step: once for each n.

    Args:
        width: Of the layer, (width, width).
        tokens: Of a step.
        sizes: n of FourierFT.
        ranks: Of LoRA.
        rounds: How often each arm is timed.
        context: Where it runs.
    """
    steps = _steps(width, tokens, arms(sizes, ranks), context.device)
    checkpoint: Path = context.folder / "rounds.json"
    jobs: dict[str, Job] = {arm.name: step for arm, step in steps.items()}
    for arm, step in steps.items():
        if step.trained and arm.path == "auto":  # the others train as many numbers
            jobs[_updating(arm)] = update(step)
    plans = {arm: plan_of(arm, step) for arm, step in steps.items()}
    wait = torch.cuda.synchronize if context.device == "cuda" else None
    timed = in_turn(jobs, rounds, checkpoint, context.step, wait=wait)
    found = [
        {
            **asdict(arm),
            "plan": plans[arm],
            "seconds": timed.seconds[arm.name],
            "update": timed.seconds.get(_updating(arm), []),
            "bytes": allocations(arm, step, context.device),
        }
        for arm, step in steps.items()
    ]
    checkpoint.unlink()
    return {"arms": found, **timed.around}


def _steps(width: int, tokens: int, compared: Sequence[Arm], device: str) -> dict[Arm, Step]:
    """Returns what is timed of each arm; all have one random weight, input and gradient."""
    generator = torch.Generator().manual_seed(0)
    weight, x, gradient = (
        torch.randn(rows, width, generator=generator).to(device) for rows in (width, tokens, tokens)
    )
    weight /= width**0.5
    return {arm: Step(layer(arm, weight), x, gradient) for arm in compared}


def update(step: Step) -> Job:
    """Returns AdamW's step on parameters of the shapes of `step`, of its own, with gradients."""
    own = [torch.nn.Parameter(p.detach().clone()) for p in step.trained]
    for parameter in own:
        parameter.grad = torch.ones_like(parameter)
    return torch.optim.AdamW(own, lr=1e-3).step


def _updating(arm: Arm) -> str:
    return f"{arm.name} update"


def plan_of(arm: Arm, step: Step) -> list[str]:
    """Returns through what the three products go: output, gradients of input and coefficients.

    It is the plan that a forward pass made and kept for its backward pass; of others nothing.
    """
    if arm.kind != "fourier":
        return []
    graph: Any = step.module(step.x).grad_fn
    return list(graph.plan)
