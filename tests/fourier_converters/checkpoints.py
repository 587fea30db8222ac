"""Files as PEFT and transformers write them, small and made by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fourier_format.adapter import Array
from fourier_format.containers.safetensors import encode_plain

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
PREFIX = "base_model.model."
SPECTRUM = ".fourierft_spectrum"


def config(**changed: Any) -> dict[str, Any]:
    """Returns an adapter_config.json with n = 5."""
    return {
        "peft_type": "FOURIERFT",
        "n_frequency": 5,
        "n_frequency_pattern": {},
        "scaling": 10.0,
        "random_loc_seed": 777,
        "target_modules": ["query"],
        "base_model_name_or_path": "tests/tiny",
    } | changed


def spectrum(module: str, n: int = 5, dtype: Any = np.float32, seed: int = 1) -> dict[str, Array]:
    values = np.random.default_rng(seed).standard_normal(n).astype(dtype)
    return {f"{PREFIX}{module}{SPECTRUM}": values}


def write_peft(
    folder: Path, tensors: Mapping[str, Array], settings: Mapping[str, Any] | str | None = None
) -> Path:
    """Write a checkpoint; `settings` is the config, or its text."""
    folder.mkdir(parents=True, exist_ok=True)
    text = settings if isinstance(settings, str) else json.dumps(settings or config(), indent=2)
    (folder / "adapter_config.json").write_bytes(text.encode())
    (folder / "adapter_model.safetensors").write_bytes(encode_plain(tensors, {"format": "pt"}))
    return folder


def write_base(folder: Path, tensors: Mapping[str, Array], model_type: str | None = "bert") -> Path:
    """Write model.safetensors, with a config.json beside it unless `model_type` is None."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    path.write_bytes(encode_plain(tensors, {"format": "pt"}))
    if model_type is not None:
        text = json.dumps({"model_type": model_type, "_name_or_path": "tests/base"})
        (folder / "config.json").write_text(text)
    return path


def read_tensors(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Returns each tensor's dtype, shape and bytes, by the few lines that safetensors needs."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        found[name] = (entry["dtype"], entry["shape"], data[start + begin : start + end])
    return found
