"""Accelerate: `save_state` without the base.

    accelerator = Accelerator()
    model, optimizer, loader = accelerator.prepare(attach(model, config), optimizer, loader)
    trim_checkpoints(accelerator)
    ...
    accelerator.save_state("checkpoint")                 # and load_state("checkpoint")
    adapter = capture(model)                             # on every rank
    if accelerator.is_main_process:
        fourier_format.save(adapter, "adapter.fft")

Without it Accelerate works as well; its checkpoints then hold the whole model. A loop may also save
by itself what it needs:

    accelerator.save({"model": trained_state(model), "optimizer": optimizer.state_dict()}, path)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch

from fourier_trainers.torch.checkpoints import load_trained_state, trained_state
from fourier_trainers.torch.state import ATTRIBUTE

FILENAME: Final = "trained_state"


def trim_checkpoints(accelerator: Any) -> None:
    """Let `save_state` write coefficients, heads and biases of attached models, and no base.

    Optimizers, schedulers, random states and other models are saved as ever. Under Accelerate's own
    FSDP, checkpoints hold the whole model.

    Args:
        accelerator: An `accelerate.Accelerator`.
    """

    def save(models: list[Any], weights: list[Any], output_dir: str) -> None:
        attached = [k for k, model in enumerate(models) if _is_attached(model)] if weights else []
        states = {k: trained_state(models[k]) for k in attached}
        for k in reversed(attached):
            del weights[k]
        for number, k in enumerate(attached):
            accelerator.save(states[k], _path(output_dir, number))

    def load(models: list[Any], input_dir: str) -> None:
        attached = [k for k, model in enumerate(models) if _is_attached(model)]
        for number, k in enumerate(attached):
            saved = torch.load(_path(input_dir, number), map_location="cpu", weights_only=True)
            load_trained_state(models[k], saved)
        for k in reversed(attached):
            del models[k]

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)


def _is_attached(model: Any) -> bool:
    return any(ATTRIBUTE in module.__dict__ for module in model.modules())


def _path(folder: str, number: int) -> Path:
    return Path(folder) / f"{FILENAME}{f'_{number}' if number else ''}.bin"
