"""A trained Vision Transformer in ONNX Runtime: its base exported, the adapter merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import fourier_format
from experiments.exporting import Compared, Numbers, compared, export, remove, runner
from experiments.images.data import Images, values
from experiments.trial import Json
from fourier_converters.onnx import to_onnx

_ANSWERED = 256  # images at a time


def served(adapter: Path, base: nn.Module, images: Images, theirs: Numbers) -> Json:
    """Returns how ONNX Runtime's answers compare with torch's logits `theirs`, (images, classes).

    The base, with the head that it had before training, is exported whole, whatever part of it was
    computed beforehand in training.
    """
    config: Any = base.config
    plain, merged = adapter.with_name("base.onnx"), adapter.with_name("merged.onnx")

    def batch(rows: Any) -> Any:
        return {"pixel_values": values(images, rows, config.image_size, config.num_channels)}

    export(base, batch(np.arange(2)), {0: "batch"}, plain)
    try:
        to_onnx(fourier_format.load(adapter), plain, merged, overwrite=True)
        run = runner(merged)
        found, right = Compared(), 0
        for start in range(0, len(images), _ANSWERED):
            rows = np.arange(start, min(start + _ANSWERED, len(images)))
            ours = run(batch(rows))
            ids = images.ids[rows].tolist()
            found += compared(ours, theirs[rows], ids, np.ones(len(rows), bool))
            right += int((ours.argmax(1) == images.labels[rows]).sum())
    finally:
        remove(plain)
        remove(merged)
    torch_right = float((theirs.argmax(1) == images.labels).mean())
    return found.json | {"accuracy": right / len(images), "torch": torch_right}
