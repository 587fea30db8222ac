"""How much of a .fft is not coefficients and entries: LLaMA-2-7B, query and value of 32 layers.

    python benchmarks/file_size.py [--layers 32] [--n 1000]

No weights are needed: a file's size follows from shapes and names. The numbers in it are random.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from measure import Json, at_most, finish, rounded

import fourier_format
from fourier_format import Adapter, EntrySet, Fingerprints, Sampling, Target, sampling

AIMS: Final = {"without_fingerprints": 1.05, "with_fingerprints": 1.10}
LORA_RANK: Final = 8
MODULES: Final = ("q_proj", "v_proj")
ALPHA: Final = 300.0
SEED: Final = 2024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--n", type=int, default=1000)
    arguments = parser.parse_args()
    layers, width, n = arguments.layers, arguments.width, arguments.n
    targets = layers * len(MODULES)
    content = targets * n * 4 + n * 2 * 4  # float32 coefficients, int32 (u, v) once
    lora = targets * LORA_RANK * 2 * width * 4
    results: Json = {
        "layout": {"targets": targets, "shape": [width, width], "n": n, "dtype": "float32"},
        "coefficients_and_entries_bytes": content,
        "lora": {"rank": LORA_RANK, "dtype": "float32", "tensor_bytes": lora},
    }
    for name, aim in AIMS.items():
        size = file_bytes(adapter(layers, width, n, fingerprints=name == "with_fingerprints"))
        results[name] = {
            "file_bytes": size,
            "over_content": at_most(size / content, aim),
            "share_of_lora": rounded(size / lora),
        }
    finish("file_size", results, ("numpy",))


def file_bytes(of: Adapter) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.fft"
        fourier_format.save(of, path)
        return path.stat().st_size


def adapter(layers: int, width: int, n: int, *, fingerprints: bool) -> Adapter:
    """An adapter as `fourier-convert` makes it of a PEFT checkpoint."""
    rng = np.random.default_rng(0)
    shape, id_ = (width, width), f"{width}x{width}"
    names = [f"model.layers.{i}.self_attn.{module}" for i in range(layers) for module in MODULES]
    recipe = Sampling(method="torch-randperm", generator=sampling.torch_generator(shape))
    entry_set = EntrySet(
        id=id_,
        shape=shape,
        entries=sampling.draw(shape, n, recipe, SEED),
        coefficients=rng.standard_normal((len(names), n), np.float32),
        sampling=recipe,
        fingerprints=_fingerprints(rng, len(names)) if fingerprints else None,
    )
    return Adapter(
        alpha=ALPHA,
        seed=SEED,
        target_modules=MODULES,
        base_model={"name": "meta-llama/Llama-2-7b-hf"},
        producer={"name": "fourier-format", "version": fourier_format.__version__},
        entry_sets=(entry_set,),
        targets=tuple(
            Target(name=name, kind="linear", shape=shape, entries=id_, row=row)
            for row, name in enumerate(names)
        ),
        origin={"format": "peft", "text": _peft_config(n)},
    )


def _fingerprints(rng: np.random.Generator, targets: int) -> Fingerprints:
    return Fingerprints(
        dtype="F16",
        samples=rng.standard_normal((targets, 32)).astype(np.float16).astype(np.float32),
        norm=rng.uniform(50, 150, targets),
        sha256=rng.integers(0, 256, (targets, 32)).astype(np.uint8),
    )


def _peft_config(n: int) -> str:
    """The text of PEFT 0.21's adapter_config.json, which the file keeps word for word."""
    fields: Json = {
        "auto_mapping": None,
        "base_model_name_or_path": "meta-llama/Llama-2-7b-hf",
        "bias": "none",
        "exclude_modules": None,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_weights": False,
        "layers_pattern": None,
        "layers_to_transform": None,
        "modules_to_save": None,
        "n_frequency": n,
        "n_frequency_pattern": {},
        "peft_type": "FOURIERFT",
        "peft_version": "0.21.2",
        "random_loc_seed": SEED,
        "revision": None,
        "scaling": ALPHA,
        "target_modules": list(MODULES),
        "task_type": "CAUSAL_LM",
    }
    return json.dumps(fields, indent=2)


if __name__ == "__main__":
    main()
