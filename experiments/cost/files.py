"""The bytes of an adapter's file, written and looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.cost.benches import file_size
from experiments.trial import Json


def measured(
    width: int, layers: int, sizes: Sequence[int], ranks: Sequence[int], folder: Path
) -> Json:
    """Returns bytes of files for query and value of `layers` layers, all of one width.

    A .fft has fingerprints of the base and PEFT's configuration word for word; a LoRA's is PEFT's
    adapter_model.safetensors, without its configuration. All numbers are float32.
    """
    files = [
        {
            "kind": "fourier",
            "size": n,
            "bytes": file_size.file_bytes(file_size.adapter(layers, width, n, fingerprints=True)),
        }
        for n in sizes
    ]
    files += [
        {"kind": "lora", "size": rank, "bytes": _lora_bytes(width, layers, rank, folder)}
        for rank in ranks
    ]
    return {"targets": layers * len(file_size.MODULES), "files": files}


def _lora_bytes(width: int, layers: int, rank: int, folder: Path) -> int:
    from safetensors.numpy import save_file

    path = folder / "adapter_model.safetensors"
    shapes = {"lora_A": (rank, width), "lora_B": (width, rank)}
    tensors = {
        f"base_model.model.model.layers.{number}.self_attn.{module}.{factor}.weight": np.zeros(
            shape, np.float32
        )
        for number in range(layers)
        for module in file_size.MODULES
        for factor, shape in shapes.items()
    }
    save_file(tensors, path, {"format": "pt"})
    size = path.stat().st_size
    path.unlink()
    return size
