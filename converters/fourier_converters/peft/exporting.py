"""Adapter -> PEFT checkpoint, where PEFT can hold it.

PEFT has one seed, one scale and one draw for all layers, so everything else is refused by name:
a checkpoint that loads as a different model would be worse than none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fourier_converters.peft import directory as peft_directory
from fourier_converters.peft.checkpoint import (
    KEY_PREFIX,
    PEFT_TYPE,
    SPECTRUM_SUFFIX,
    frequencies_of,
)
from fourier_format import sampling
from fourier_format.adapter import Adapter, Array, Sampling
from fourier_format.errors import UnsupportedError, Violation


def to_peft(adapter: Adapter, directory: Path, *, overwrite: bool = False) -> None:
    """Write `adapter` as a PEFT checkpoint: adapter_config.json and adapter_model.safetensors.

    A config that came from PEFT is written back as it was, unless the adapter has changed since.

    Raises:
        UnsupportedError: PEFT cannot hold this adapter; all reasons are listed.
        OutputExistsError: `directory` exists and `overwrite` is false.
        FileAccessError: Writing failed.
    """
    reasons = list(_reasons(adapter))
    if reasons:
        raise UnsupportedError(reasons)
    config = _config_text(adapter)
    peft_directory.write_checkpoint(directory, config, _tensors(adapter), overwrite=overwrite)


def _reasons(adapter: Adapter) -> Iterator[Violation]:
    """Yields why PEFT cannot hold `adapter`."""
    if adapter.transform != "dft2":
        yield _reason("transform", "PEFT's FourierFT knows dft2 only", adapter.transform)
    for target in adapter.targets:
        if target.kind != "linear":
            yield _reason(target.name, "PEFT adapts linear layers only", target.kind)
        if adapter.alpha_of(target) != adapter.alpha:
            got = f"{target.alpha}, and {adapter.alpha} for the adapter"
            yield _reason(target.name, "PEFT has one scale for all layers", got)
    seeds = {_seed_of(adapter, s.sampling) for s in adapter.entry_sets}
    if len(seeds) > 1:
        yield _reason("entries", "PEFT has one seed for all layers", str(sorted(map(str, seeds))))
    for entry_set in adapter.entry_sets:
        seed = _seed_of(adapter, entry_set.sampling)
        generator = sampling.torch_generator(entry_set.shape)
        recipe = Sampling(method="torch-randperm", generator=generator, seed=seed)
        drawn = seed is not None and np.array_equal(
            sampling.draw(entry_set.shape, entry_set.count, recipe), entry_set.entries
        )
        if not drawn:
            method = entry_set.sampling.method if entry_set.sampling else "unknown"
            problem = "PEFT draws its entries by torch.randperm and cannot take others"
            yield _reason(f"entries/{entry_set.id}", problem, f"entries drawn by {method}")


def _seed_of(adapter: Adapter, recipe: Sampling | None) -> int | None:
    return adapter.seed if recipe is None or recipe.seed is None else recipe.seed


def _config_text(adapter: Adapter) -> str:
    """Returns adapter_config.json: the origin's text, or a new one where it no longer holds."""
    text = peft_directory.origin_text(adapter)
    config = {} if text is None else peft_directory.parsed(text)
    config = config if config.get("peft_type") == PEFT_TYPE else {}  # else of another sort
    if text is not None and _holds(config, adapter):
        return text
    selected = {"layers_to_transform", "layers_pattern", "exclude_modules"}
    kept = {key: value for key, value in config.items() if key not in selected}
    config = kept | _settings(adapter, config)
    if not _holds(config, adapter):
        problem = "PEFT's n_frequency_pattern cannot give each module its number of entries"
        raise UnsupportedError(_reason("targets", problem))
    return peft_directory.config_text(config)


def _holds(config: dict[str, Any], adapter: Adapter) -> bool:
    """Whether PEFT would build this very adapter from `config`."""
    (seed,) = {_seed_of(adapter, s.sampling) for s in adapter.entry_sets}
    return (
        config.get("peft_type") == PEFT_TYPE
        and config.get("scaling", 150.0) == adapter.alpha
        and config.get("random_loc_seed", 777) == seed
        and all(
            frequencies_of(t.name, config) == adapter.entry_set(t).count for t in adapter.targets
        )
    )


def _settings(adapter: Adapter, origin: dict[str, Any]) -> dict[str, Any]:
    counts = {t.name: adapter.entry_set(t).count for t in adapter.targets}
    ((usual, _),) = Counter(counts.values()).most_common(1)
    return {
        "peft_type": PEFT_TYPE,
        "n_frequency": usual,
        "n_frequency_pattern": {name: n for name, n in counts.items() if n != usual},
        "scaling": adapter.alpha,
        "random_loc_seed": _seed_of(adapter, adapter.entry_sets[0].sampling),
        "target_modules": "|".join(re.escape(name) for name in counts),  # a suffix could hit more
        "modules_to_save": peft_directory.saved_modules(adapter, origin),
        "base_model_name_or_path": (adapter.base_model or {}).get("name"),
        "inference_mode": True,
    }


def _tensors(adapter: Adapter) -> dict[str, Array]:
    spectra = {
        f"{KEY_PREFIX}{t.name}{SPECTRUM_SUFFIX}": adapter.coefficients(t) for t in adapter.targets
    }
    return spectra | peft_directory.replacement_tensors(adapter)


def _reason(where: str, problem: str, got: str | None = None) -> Violation:
    advice = "merge it into the base instead (--to onnx)"
    return Violation("E-PEFT-INEXPRESSIBLE", where, problem, got, advice=advice)
