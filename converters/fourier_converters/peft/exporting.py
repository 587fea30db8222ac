"""Adapter -> PEFT checkpoint, where PEFT can hold it.

PEFT has one seed, one scale and one draw for all layers, so everything else is refused by name:
a checkpoint that loads as a different model would be worse than none.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fourier_converters.peft import directory as peft_directory
from fourier_converters.peft.checkpoint import KEY_PREFIX
from fourier_converters.peft.methods import (
    WAVEFT,
    Method,
    family_of,
    frequencies_of,
    is_proportional,
    method_for,
    proportional_counts,
    transform_of,
)
from fourier_format import sampling
from fourier_format.adapter import Adapter, Array, Sampling
from fourier_format.errors import FourierFormatError, UnsupportedError, Violation
from fourier_format.sampling.budget import Budget, BudgetSpentError
from fourier_format.validation import MAX_REDRAWING_STEPS


def to_peft(
    adapter: Adapter, directory: str | os.PathLike[str], *, overwrite: bool = False
) -> None:
    """Write `adapter` as a PEFT checkpoint: adapter_config.json and adapter_model.safetensors.

    A config that came from PEFT is written back as it was, unless the adapter has changed since.

    Raises:
        UnsupportedError: PEFT cannot hold this adapter; all reasons are listed.
        OutputExistsError: `directory` exists and `overwrite` is false.
        FileAccessError: Writing failed.
    """
    directory = Path(directory)
    method = method_for(adapter.transform)
    reasons = list(_reasons(adapter))
    if method is None or reasons:
        raise UnsupportedError(reasons)
    config = _config_text(adapter, method)
    tensors = _tensors(adapter, method)
    peft_directory.write_checkpoint(directory, config, tensors, overwrite=overwrite)


def _reasons(adapter: Adapter) -> Iterator[Violation]:
    """Yields why PEFT cannot hold `adapter`."""
    if method_for(adapter.transform) is None:
        problem = "PEFT has dft2 as FourierFT and dwt2 as WaveFT, and no other"
        yield _reason("transform", problem, adapter.transform)
    for target in adapter.targets:
        if target.kind != "linear":
            yield _reason(target.name, "PEFT adapts linear layers only", target.kind)
        if adapter.alpha_of(target) != adapter.alpha:
            got = f"{target.alpha}, and {adapter.alpha} for the adapter"
            yield _reason(target.name, "PEFT has one scale for all layers", got)
    seeds = {_seed_of(adapter, s.sampling) for s in adapter.entry_sets}
    if len(seeds) > 1:
        yield _reason("entries", "PEFT has one seed for all layers", str(sorted(map(str, seeds))))
    budget = Budget(MAX_REDRAWING_STEPS)
    for entry_set in adapter.entry_sets:
        seed = _seed_of(adapter, entry_set.sampling)
        generator = sampling.torch_generator(entry_set.shape)
        recipe = Sampling(method="torch-randperm", generator=generator, seed=seed)
        try:
            drawn = seed is not None and np.array_equal(
                sampling.draw(entry_set.shape, entry_set.count, recipe, budget=budget),
                entry_set.entries,
            )
        except BudgetSpentError:
            problem = "its shapes are too many or too large to see whether PEFT draws their entries"
            yield _reason(f"entries/{entry_set.id}", problem, str(entry_set.shape))
            continue
        if not drawn:
            method = entry_set.sampling.method if entry_set.sampling else "unknown"
            problem = "PEFT draws its entries by torch.randperm and cannot take others"
            yield _reason(f"entries/{entry_set.id}", problem, f"entries drawn by {method}")


def _seed_of(adapter: Adapter, recipe: Sampling | None) -> int | None:
    return adapter.seed if recipe is None or recipe.seed is None else recipe.seed


def _config_text(adapter: Adapter, method: Method) -> str:
    """Returns adapter_config.json: the origin's text, or a new one where it no longer holds."""
    text = peft_directory.origin_text(adapter)
    config = {} if text is None else peft_directory.parsed(text)
    config = config if config.get("peft_type") == method.peft_type else {}  # else another sort
    if text is not None and _holds(config, adapter, method):
        return text
    selected = {"layers_to_transform", "layers_pattern", "exclude_modules"}
    kept = {key: value for key, value in config.items() if key not in selected}
    config = kept | _settings(adapter, method, config)
    if not _holds(config, adapter, method):
        problem = "PEFT's n_frequency_pattern cannot give each module its number of entries"
        raise UnsupportedError(_reason("targets", problem))
    return peft_directory.config_text(config)


def _holds(config: dict[str, Any], adapter: Adapter, method: Method) -> bool:
    """Whether PEFT would build this very adapter from `config`."""
    (seed,) = {_seed_of(adapter, s.sampling) for s in adapter.entry_sets}
    return (
        config.get("peft_type") == method.peft_type
        and config.get("scaling", method.scaling) == adapter.alpha
        and config.get("random_loc_seed", 777) == seed
        and _same_transform(config, adapter)
        and _counts(config, adapter)
        == {t.name: adapter.entry_set(t).count for t in adapter.targets}
    )


def _same_transform(config: dict[str, Any], adapter: Adapter) -> bool:
    try:
        return transform_of(config, "origin") == adapter.transform
    except FourierFormatError:
        return False


def _counts(config: dict[str, Any], adapter: Adapter) -> dict[str, Any]:
    """Returns the number of coefficients that PEFT would give to each target."""
    if is_proportional(config):
        sizes = {t.name: t.shape[0] * t.shape[1] for t in adapter.targets}
        return proportional_counts(config, sizes)
    return {t.name: frequencies_of(t.name, config) for t in adapter.targets}


def _settings(adapter: Adapter, method: Method, origin: dict[str, Any]) -> dict[str, Any]:
    counts = {t.name: adapter.entry_set(t).count for t in adapter.targets}
    ((usual, _),) = Counter(counts.values()).most_common(1)
    wavelet = {
        "wavelet_family": family_of(adapter.transform),
        "use_idwt": True,
        "proportional_parameters": False,
    }
    return (wavelet if method is WAVEFT else {}) | {
        "peft_type": method.peft_type,
        "n_frequency": usual,
        "n_frequency_pattern": {name: n for name, n in counts.items() if n != usual},
        "scaling": adapter.alpha,
        "random_loc_seed": _seed_of(adapter, adapter.entry_sets[0].sampling),
        "target_modules": "|".join(re.escape(name) for name in counts),  # a suffix could hit more
        "modules_to_save": peft_directory.saved_modules(adapter, origin),
        "base_model_name_or_path": (adapter.base_model or {}).get("name"),
        "inference_mode": True,
    }


def _tensors(adapter: Adapter, method: Method) -> dict[str, Array]:
    spectra = {
        f"{KEY_PREFIX}{t.name}{method.suffix}": adapter.coefficients(t) for t in adapter.targets
    }
    return spectra | peft_directory.replacement_tensors(adapter)


def _reason(where: str, problem: str, got: str | None = None) -> Violation:
    advice = "merge it into the base instead (--to onnx)"
    return Violation("E-PEFT-INEXPRESSIBLE", where, problem, got, advice=advice)
