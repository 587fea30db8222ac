"""The states that frozen layers give, computed once for all trials and kept in a file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.locking import once
from experiments.text.cutting import lower_states
from experiments.text.models import Example, bucketed, new_model, padded, padding, tokens
from experiments.text.tasks import Rows, Task


def states(
    name: str, task: Task, rows: Rows, trained: int, length: int, shared: Path, device: str
) -> list[Example]:
    """Returns for each row what the last `trained` layers of model `name` read of it.

    Float32 arrays (tokens, width), views of one file that processes share.
    """
    found = tokens(name, rows, length)
    read = [{key: values.tolist() for key, values in example.items()} for example in found]
    text = repr((name, trained, read))
    path = shared / "states" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.npy"
    with once(path) as missing:
        if missing:
            _compute(path, new_model(name, task, seed=0).to(device), found, trained)
    together = np.load(path, mmap_mode="r")
    ends = np.cumsum([len(example["input_ids"]) for example in found])
    return [{"inputs_embeds": part} for part in np.split(together, ends[:-1])]


def _compute(path: Path, model: torch.nn.Module, found: list[Example], trained: int) -> None:
    config: Any = model.config
    starts = np.cumsum([0, *(len(example["input_ids"]) for example in found)])
    partial = path.with_suffix(f".{os.getpid()}.partial")
    shape = (int(starts[-1]), config.hidden_size)
    file = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
    device = next(model.parameters()).device
    token = padding(model)
    for chosen in bucketed(found, 64):
        batch = padded([found[row] for row in chosen], token)
        moved = {key: value.to(device) for key, value in batch.items()}
        given = lower_states(model, trained, moved).cpu().numpy()
        for row, states_of_row in zip(chosen, given, strict=True):
            first, last = starts[row], starts[row + 1]
            file[first:last] = states_of_row[: last - first]
    file.flush()
    partial.replace(path)
